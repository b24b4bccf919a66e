//! The script that a pilot is, for the gateway's `/bin/sh`: assignments made of the launcher, the functions of its batch system,
//! and the frame that all have in common. And the script that each node of its allocation runs.
//!
//! Whatever comes from an object stands in single quotes: nothing of it is read by a shell but what is meant for one (`setup` and the
//! commands of `command`).

use std::fmt::Write as _;

use vk_cmd_crds::labels;
use vk_cmd_crds::launcher::{Condor, Layout, NodeProgram, Pbs, Slurm};

use super::launcher::{System, ValidLauncher};
use super::name::PilotName;

const FRAME: &str = include_str!("script/frame.sh");
const SLURM: &str = include_str!("script/slurm.sh");
const PBS: &str = include_str!("script/pbs.sh");
const CONDOR: &str = include_str!("script/condor.sh");
const COMMAND: &str = include_str!("script/command.sh");

/// What a vk-node would take for its settings and what belongs to the pilot's own pod: batch systems hand the variables of whoever
/// submits on to what they run.
const STRANGE: &str = "unset JOBNAME NODENAME KUBECONFIG KUBELET_PORT VKUBELET_POD_IP JIRIAF_WALLTIME JIRIAF_SITE JIRIAF_NODETYPE \
                       VK_NODE_CONFIG VK_NODE_HOSTPIPE VK_NODE_RECORDS VK_NODE_CGROUP VK_NODE_SITE VK_NODE_BOOTSTRAP_KUBECONFIG \
                       VK_CMD_TERMINATION_LOG TRACEPARENT KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT";

/// The words for a shell that stand for `text` and nothing else.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The script of a pilot of this launcher.
pub fn of_pilot(launcher: &ValidLauncher<'_>, name: &PilotName) -> String {
    let mut text = String::from("#!/bin/sh\n");
    let mut set = |variable: &str, value: &str| {
        let _ = writeln!(text, "{variable}={value}");
    };
    set("PILOT", &quoted(name.as_str()));
    set("PILOT_NAME", &quoted(name.in_batch_system()));
    set("PILOT_NODES", &launcher.nodes_per_pilot.to_string());
    set("PILOT_SECONDS", &launcher.walltime.as_secs().to_string());
    set("PILOT_POLL", &launcher.poll_seconds.to_string());
    match launcher.directory {
        Some(directory) => set("PILOT_DIRECTORY", &quoted(directory)),
        None => set("PILOT_DIRECTORY", "${HOME:?}/.vk-cmd/pilots"),
    }
    for (name, value) in launcher.environment {
        set(&format!("export {name}"), &quoted(value));
    }
    set("PILOT_TEXT", &quoted(&of_node(launcher, name)));
    match &launcher.system {
        System::Slurm(slurm) => {
            text.push_str(SLURM);
            let _ = writeln!(text, "\nsubmit() {{\n    {}\n}}\n", sbatch(launcher, slurm));
        }
        System::Pbs(pbs) => {
            text.push_str(PBS);
            let _ = writeln!(text, "\nsubmit() {{\n    {}\n}}\n", qsub(launcher, pbs));
        }
        System::Condor(condor) => {
            let _ = writeln!(text, "PILOT_LINES={}", quoted(&lines(condor)));
            text.push_str(CONDOR);
        }
        System::Command(commands) => {
            let find = commands.find.as_deref().unwrap_or_default();
            let all = [
                ("SUBMIT", &*commands.submit),
                ("STATE", &commands.state),
                ("CANCEL", &commands.cancel),
                ("FIND", find),
            ];
            for (variable, value) in all {
                let _ = writeln!(text, "PILOT_{variable}={}", quoted(value));
            }
            text.push_str(COMMAND);
        }
    }
    text.push_str(FRAME);
    text
}

fn sbatch(launcher: &ValidLauncher<'_>, slurm: &Slurm) -> String {
    let option = |name: &str, value: &Option<String>| value.as_ref().map(|value| quoted(&format!("--{name}={value}")));
    // Slurm counts in minutes.
    let minutes = launcher.minutes();
    let nodes = launcher.nodes_per_pilot;
    let mut words = vec![
        "sbatch --parsable --export=ALL --open-mode=append".to_owned(),
        "--job-name=\"$PILOT_NAME\" --chdir=\"$PILOT_HOME\" --output=\"$PILOT_LOG\"".to_owned(),
        format!("--time={minutes}"),
        if slurm.requeue { "--requeue" } else { "--no-requeue" }.to_owned(),
    ];
    match (nodes, slurm.layout) {
        (1, _) => words.push("--nodes=1 --ntasks=1".to_owned()),
        (_, Layout::Allocation) => words.push(format!("--nodes={nodes} --ntasks={nodes} --ntasks-per-node=1")),
        (_, Layout::Array) => words.push(format!("--nodes=1 --ntasks=1 --array=0-{}", nodes.saturating_sub(1))),
    }
    if slurm.signal_seconds > 0 {
        // B: only the batch shell gets it, which has become vk-node by then, or srun, which hands it on.
        words.push(format!("--signal=B:USR1@{}", slurm.signal_seconds));
    }
    let named = [
        ("partition", &slurm.partition),
        ("account", &slurm.account),
        ("qos", &slurm.qos),
        ("constraint", &slurm.constraint),
    ];
    words.extend(named.into_iter().filter_map(|(name, value)| option(name, value)));
    words.extend(slurm.extra_args.iter().flatten().map(|word| quoted(word)));
    words.push("\"$PILOT_SCRIPT\"".to_owned());
    words.join(" \\\n        ")
}

fn qsub(launcher: &ValidLauncher<'_>, pbs: &Pbs) -> String {
    let chunk = pbs.chunk.as_ref().map(|chunk| format!(":{chunk}")).unwrap_or_default();
    let mut words = vec![
        "qsub -V -j oe -N \"$PILOT_NAME\" -o \"$PILOT_LOG\"".to_owned(),
        format!("-l {} -l walltime={}", quoted(&format!("select=1{chunk}")), launcher.walltime.as_secs()),
    ];
    if launcher.nodes_per_pilot > 1 {
        words.push(format!("-J 0-{}", launcher.nodes_per_pilot.saturating_sub(1)));
    }
    words.extend(pbs.queue.as_ref().map(|queue| format!("-q {}", quoted(queue))));
    words.extend(pbs.account.as_ref().map(|account| format!("-A {}", quoted(account))));
    words.extend(pbs.extra_args.iter().flatten().map(|word| quoted(word)));
    words.push("\"$PILOT_SCRIPT\"".to_owned());
    words.join(" \\\n        ")
}

fn lines(condor: &Condor) -> String {
    let all = condor.submit.iter().flatten();
    all.map(|(name, value)| format!("{name} = {value}\n")).collect()
}

/// What each node of the allocation runs. It is vk-node itself that it becomes, so that signals reach that.
fn of_node(launcher: &ValidLauncher<'_>, name: &PilotName) -> String {
    let mut text = String::from(STRANGE);
    text.push('\n');
    for (name, value) in launcher.environment {
        let _ = writeln!(text, "export {name}={}", quoted(value));
    }
    text.push_str(&index(launcher));
    let NodeProgram { program, config, labels: more, args, setup } = launcher.node;
    if let Some(setup) = setup {
        let _ = writeln!(text, "{}", setup.trim_end());
    }
    let mut words = vec![format!("exec {} run", quoted(program))];
    words.extend(config.as_ref().map(|config| format!("--config {}", quoted(config))));
    words.push(format!("--node-name {}\"-$PILOT_INDEX\"", quoted(&name.node_prefix())));
    words.push("--hostpipe \"$PILOT_HOME/node-$PILOT_INDEX\"".to_owned());
    let label = |key: &str, value: &str| format!("--label {}", quoted(&format!("{key}={value}")));
    words.push(label(labels::FLEET, launcher.fleet));
    words.push(label(labels::PILOT, name.as_str()));
    words.extend(more.iter().flatten().map(|(key, value)| label(key, value)));
    words.extend(args.iter().flatten().map(|word| quoted(word)));
    let _ = writeln!(text, "{}", words.join(" \\\n    "));
    text
}

/// Which node of the pilot this is.
fn index(launcher: &ValidLauncher<'_>) -> String {
    let nodes = launcher.nodes_per_pilot;
    match &launcher.system {
        System::Slurm(Slurm { layout: Layout::Array, .. }) => "PILOT_INDEX=${SLURM_ARRAY_TASK_ID:-0}\n".to_owned(),
        System::Slurm(_) if nodes == 1 => "PILOT_INDEX=0\n".to_owned(),
        // The batch shell runs on the first node only. One node's end is not that of the others.
        System::Slurm(_) => format!(
            "if [ -z \"${{PILOT_STEP:-}}\" ]; then\n    export PILOT_STEP=1\n    exec srun --ntasks={nodes} --ntasks-per-node=1 \
             --kill-on-bad-exit=0 --wait=0 \"$PILOT_HOME/node.sh\"\nfi\nPILOT_INDEX=${{SLURM_PROCID:-0}}\n"
        ),
        System::Pbs(_) => "PILOT_INDEX=${PBS_ARRAY_INDEX:-0}\n".to_owned(),
        System::Condor(_) => "PILOT_INDEX=${1:-0}\n".to_owned(),
        System::Command(_) => "PILOT_INDEX=${PILOT_INDEX:-0}\n".to_owned(),
    }
}
