//! The cluster's slurm.conf.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{KILL_WAIT_SECONDS, LONE, NODES, machine};

/// Each job has a TMPDIR of its own, as at sites that give one on a local disk: what this prints Slurm adds to its variables.
const TASK_PROLOG: &str = r#"#!/bin/sh
mkdir -p "ROOT/tmp/$SLURM_JOB_ID" && echo "export TMPDIR=ROOT/tmp/$SLURM_JOB_ID"
"#;

/// Slurm ends with a job what it finds below the job's processes. A shim is not there: it outlives who has started it. Sites have the
/// cgroup plugin for that, which this machine's cgroups do not allow, or an epilog like this.
const EPILOG: &str = r#"#!/bin/sh
# Ends what a job has left: whatever says that it is of this job.
for process in $(grep -lzx -e "SLURM_JOB_ID=$SLURM_JOB_ID" -e "TMPDIR=ROOT/tmp/$SLURM_JOB_ID" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3); do
    [ "$process" = $$ ] || kill -9 "$process" 2>/dev/null
done
rm -rf "ROOT/tmp/$SLURM_JOB_ID"
exit 0
"#;

/// Writes it, with ports for slurmctld and each slurmd.
pub(super) fn write(root: &Path, ports: [u16; NODES + 1]) -> Result<()> {
    for (name, text) in [("task-prolog.sh", TASK_PROLOG), ("epilog.sh", EPILOG)] {
        let (path, text) = (root.join(name), text.replace("ROOT", &root.display().to_string()));
        std::fs::write(&path, text)
            .and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot write {name}"))?;
    }
    let [controller, machines @ ..] = ports;
    let uname = rustix::system::uname();
    let host = uname.nodename().to_str().context("the name of this host is not UTF-8")?;
    let root = root.display();
    let mut text = format!(
        "ClusterName=vkcmd\n\
         # slurmctld runs where its host's name says, and nowhere else.\n\
         SlurmctldHost={host}(127.0.0.1)\n\
         SlurmctldPort={controller}\n\
         SlurmUser=root\n\
         SlurmdUser=root\n\
         AuthType=auth/munge\n\
         CredType=cred/munge\n\
         # A job that is requeued waits for as long as its credentials are valid: two minutes, if nobody says otherwise.\n\
         AuthInfo=socket={root}/munge.socket,cred_expire=5\n\
         StateSaveLocation={root}/state\n\
         SlurmdSpoolDir={root}/spool.%n\n\
         SlurmctldPidFile={root}/slurmctld.pid\n\
         SlurmdPidFile={root}/slurmd.%n.pid\n\
         SlurmctldLogFile={root}/log/slurmctld.log\n\
         SlurmdLogFile={root}/log/slurmd.%n.log\n\
         SlurmctldDebug=verbose\n\
         SlurmdDebug=verbose\n\
         # This machine's cgroups are those of version 1.\n\
         ProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\n\
         JobAcctGatherType=jobacct_gather/none\n\
         AccountingStorageType=accounting_storage/none\n\
         JobCompType=jobcomp/none\n\
         MpiDefault=none\n\
         SwitchType=switch/none\n\
         SelectType=select/cons_tres\n\
         SelectTypeParameters=CR_Core\n\
         # What is said of the machines below is believed: this one has fewer processors.\n\
         SlurmdParameters=config_overrides\n\
         KillWait={KILL_WAIT_SECONDS}\n\
         Epilog={root}/epilog.sh\n\
         TaskProlog={root}/task-prolog.sh\n\
         # A machine that is not heard from is down after this long.\n\
         SlurmdTimeout=10\n\
         ReturnToService=2\n\
         SchedulerType=sched/backfill\n\
         SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=2,bf_interval=2\n\
         JobRequeue=1\n"
    );
    for (number, port) in machines.iter().enumerate() {
        let name = machine(number);
        text.push_str(&format!(
            "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=1000 State=UNKNOWN\n"
        ));
    }
    let shared: Vec<String> = (0..LONE).map(machine).collect();
    text.push_str(&format!("PartitionName=all Nodes={} Default=YES MaxTime=INFINITE State=UP\n", shared.join(",")));
    text.push_str(&format!("PartitionName=lone Nodes={} MaxTime=INFINITE State=UP\n", machine(LONE)));
    std::fs::write(format!("{root}/slurm.conf"), text).context("cannot write slurm.conf")
}
