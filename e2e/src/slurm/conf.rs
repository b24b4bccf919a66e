//! The cluster's slurm.conf.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Contested, KILL_WAIT_SECONDS, LONE, NODES, SHARED, machine};

/// Each job has a TMPDIR of its own on each machine, as at sites that give one on a local disk: what this prints Slurm adds to its
/// variables.
const TASK_PROLOG: &str = r#"#!/bin/sh
mkdir -p "ROOT/tmp/$SLURMD_NODENAME/$SLURM_JOB_ID" && echo "export TMPDIR=ROOT/tmp/$SLURMD_NODENAME/$SLURM_JOB_ID"
"#;

/// Each machine's prolog fails if somebody has said so: see [`super::Slurm::prolog_fails`].
const PROLOG: &str = r#"#!/bin/sh
[ ! -e "ROOT/prolog-fails.$SLURMD_NODENAME" ]
"#;

/// Slurm ends with a job what it finds below the job's processes. A shim is not there: it outlives who has started it. Sites have the
/// cgroup plugin for that, which this machine's cgroups do not allow, or an epilog like this.
///
/// All machines of this cluster are one host. So it looks for what is of this job on *this* machine of *this* cluster: by the job's number alone it
/// would also end the epilog of the job's other machines, which Slurm takes for broken machines then and drains, and whatever else on
/// the host says that it is in a job of that number.
const EPILOG: &str = r#"#!/bin/sh
# Ends what a job has left on this machine.
here=$(grep -lzx "SLURMD_NODENAME=$SLURMD_NODENAME" /proc/[0-9]*/environ 2>/dev/null)
own=$(grep -lzx "SLURM_JOB_ID=$SLURM_JOB_ID" $here /dev/null 2>/dev/null)
placed=$(grep -lzx "TMPDIR=ROOT/tmp/$SLURMD_NODENAME/$SLURM_JOB_ID" /proc/[0-9]*/environ 2>/dev/null)
for process in $(printf '%s\n' $own $placed | cut -d / -f 3); do
    [ "$process" = $$ ] || kill -9 "$process" 2>/dev/null
done
rm -rf "ROOT/tmp/$SLURMD_NODENAME/$SLURM_JOB_ID"
exit 0
"#;

/// Writes it, with ports for slurmctld and each slurmd.
pub(super) fn write(root: &Path, ports: [u16; NODES + 1]) -> Result<()> {
    for (name, text) in [("task-prolog.sh", TASK_PROLOG), ("prolog.sh", PROLOG), ("epilog.sh", EPILOG)] {
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
         # A job that is requeued waits for as long as its credentials are valid: two minutes, if nobody says otherwise. On a machine\n\
         # with other things to do, what is launched must get there in that time.\n\
         AuthInfo=socket={root}/munge.socket,cred_expire=15\n\
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
         Prolog={root}/prolog.sh\n\
         Epilog={root}/epilog.sh\n\
         TaskProlog={root}/task-prolog.sh\n\
         # A machine that is not heard from is down after this long. One that is down is asked again every 20 pings only, each a\n\
         # third of this apart: on a busy host one that is only slow must not be taken for down.\n\
         SlurmdTimeout=30\n\
         MessageTimeout=25\n\
         TCPTimeout=10\n\
         BatchStartTimeout=60\n\
         UnkillableStepTimeout=150\n\
         ReturnToService=2\n\
         # Jobs of a partition of a higher tier take the place of those of a lower one, in the partitions that say how.\n\
         PreemptType=preempt/partition_prio\n\
         PreemptMode=REQUEUE\n\
         SlurmctldParameters=preempt_send_user_signal\n\
         SchedulerType=sched/backfill\n\
         SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=2,bf_interval=2\n\
         JobRequeue=1\n"
    );
    for (number, port) in machines.iter().enumerate() {
        let name = machine(number);
        text.push_str(&format!(
            "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=1000 Features=cpu State=UNKNOWN\n"
        ));
    }
    let shared: Vec<String> = (0..SHARED).map(machine).collect();
    let mut partition = |name: &str, machines: &str, more: &str| {
        text.push_str(&format!("PartitionName={name} Nodes={machines} MaxTime=INFINITE State=UP {more}\n"));
    };
    partition("all", &shared.join(","), "Default=YES PreemptMode=OFF");
    partition("lone", &machine(LONE), "PreemptMode=OFF");
    partition(super::FAULTY, &machine(super::FAULTY_MACHINE), "PreemptMode=OFF");
    for Contested { machine: number, low, high, mode } in super::CONTESTED {
        partition(low, &machine(number), &format!("PriorityTier=1 {mode}"));
        partition(high, &machine(number), "PriorityTier=2 PreemptMode=OFF");
    }
    std::fs::write(format!("{root}/slurm.conf"), text).context("cannot write slurm.conf")
}
