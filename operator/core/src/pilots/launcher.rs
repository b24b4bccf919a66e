//! A launcher, read once: right from then on.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use sha2::{Digest, Sha256};
use vk_cmd_crds::amounts::Amounts;
use vk_cmd_crds::labels;
use vk_cmd_crds::launcher::{Commands, Condor, Launcher, NodeProgram, Pbs, Slurm};

use vk_cmd_crds::cmdfleet::FLEET_NAME_MAX;

/// A launcher that can be used.
#[derive(Clone, Debug)]
pub struct ValidLauncher<'a> {
    /// The name of its fleet.
    pub fleet: &'a str,
    /// The UID of its fleet.
    pub fleet_uid: &'a str,
    /// The node from which the batch system is spoken to.
    pub gateway: &'a str,
    /// Where the pilots' CmdJobs are.
    pub namespace: &'a str,
    /// The batch system.
    pub system: System<'a>,
    /// How long an allocation is asked for.
    pub walltime: SignedDuration,
    /// How many nodes a pilot brings; at least 1.
    pub nodes_per_pilot: u32,
    /// What a node has, if it is said.
    pub node_resources: Option<Amounts>,
    /// Whether the batch system may run an allocation again: nodes that have gone may come back.
    pub comes_back: bool,
    /// What runs in the allocation.
    pub node: &'a NodeProgram,
    /// Where pilots keep what they know.
    pub directory: Option<&'a str>,
    /// Variables.
    pub environment: &'a BTreeMap<String, String>,
    /// How many pilots there may be.
    pub max_pilots: Option<u32>,
    /// How many of them may wait.
    pub max_pending_pilots: u32,
    /// How long a node stays that nobody uses.
    pub idle: SignedDuration,
    /// How long a cancelled allocation may take.
    pub cancel_seconds: i64,
    /// The longest pause between two questions to the batch system.
    pub poll_seconds: i64,
    /// A digest of all that a pilot is made by: pilots of another launcher say nothing about this one.
    pub digest: String,
}

/// A batch system.
#[derive(Clone, Copy, Debug)]
pub enum System<'a> {
    /// Slurm.
    Slurm(&'a Slurm),
    /// PBS.
    Pbs(&'a Pbs),
    /// HTCondor.
    Condor(&'a Condor),
    /// What the site's own commands make of it.
    Command(&'a Commands),
}

static NO_VARIABLES: BTreeMap<String, String> = BTreeMap::new();

impl<'a> ValidLauncher<'a> {
    /// Reads the launcher of a fleet. All that is wrong, in plain words.
    ///
    /// # Errors
    /// What the API server's own checks have let by: they cannot say all of it, and may be older than this.
    pub fn read(fleet: &'a str, fleet_uid: &'a str, launcher: &'a Launcher) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let system = match (&launcher.slurm, &launcher.pbs, &launcher.condor, &launcher.command) {
            (Some(slurm), None, None, None) => Some(System::Slurm(slurm)),
            (None, Some(pbs), None, None) => Some(System::Pbs(pbs)),
            (None, None, Some(condor), None) => Some(System::Condor(condor)),
            (None, None, None, Some(commands)) => Some(System::Command(commands)),
            _ => {
                problems.push("name the batch system: exactly one of slurm, pbs, condor and command".to_owned());
                None
            }
        };
        if fleet.len() > FLEET_NAME_MAX {
            problems.push(format!(
                "the fleet's name has {} characters, and its pilots' nodes are named after it: with a launcher, use at most \
                 {FLEET_NAME_MAX}",
                fleet.len()
            ));
        }
        let positive = |value: i32| u32::try_from(value).ok().filter(|value| *value > 0);
        let nodes_per_pilot = positive(launcher.nodes_per_pilot);
        if nodes_per_pilot.is_none() {
            problems.push("nodesPerPilot is 1 or more".to_owned());
        }
        if launcher.walltime_seconds < 60 {
            problems.push("walltimeSeconds is 60 or more".to_owned());
        }
        problems.extend(controls(launcher));
        let is_variable = |name: &&String| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            name.bytes().all(is_part) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        };
        let is_line = |name: &&String| {
            let plain = name.strip_prefix('+').unwrap_or(name);
            !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
        };
        let lines = launcher.condor.iter().flat_map(|condor| condor.submit.iter().flatten()).map(|(name, _)| name);
        let wrong = lines.filter(|name| !is_line(name));
        problems.extend(
            wrong.map(|name| format!("condor.submit: {name:?} is not the name of a line of a submit description")),
        );
        let variables = launcher.environment.iter().flatten().map(|(name, _)| name);
        let strange = variables.filter(|name| !is_variable(name));
        problems.extend(strange.map(|name| format!("environment: no shell has a variable of the name {name:?}")));
        match (system, nodes_per_pilot) {
            (Some(system), Some(nodes_per_pilot)) if problems.is_empty() => Ok(Self {
                fleet,
                fleet_uid,
                gateway: &launcher.gateway.node,
                namespace: &launcher.namespace,
                system,
                walltime: SignedDuration::from_secs(launcher.walltime_seconds),
                nodes_per_pilot,
                comes_back: matches!(system, System::Slurm(slurm) if slurm.requeue),
                node_resources: launcher.node_resources.as_ref().map(Amounts::read),
                node: &launcher.node,
                directory: launcher.directory.as_deref(),
                environment: launcher.environment.as_ref().unwrap_or(&NO_VARIABLES),
                max_pilots: launcher.max_pilots.map(|most| u32::try_from(most).unwrap_or_default()),
                max_pending_pilots: positive(launcher.max_pending_pilots).unwrap_or(1),
                idle: SignedDuration::from_secs(launcher.idle_seconds.max(0)),
                cancel_seconds: launcher.cancel_seconds.max(1),
                poll_seconds: launcher.poll_seconds.max(1),
                digest: digest(launcher),
            }),
            _ => Err(problems),
        }
    }

    /// The labels that its nodes will have, as far as that is known.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let own = [(labels::NODE_TYPE, labels::NODE_TYPE_VALUE), (labels::FLEET, self.fleet)];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.node.labels.clone().unwrap_or_default().into_iter().chain(own).collect()
    }

    /// How long an allocation is asked for, in whole minutes.
    pub fn minutes(&self) -> i64 {
        self.walltime.as_secs().saturating_add(59).checked_div(60).unwrap_or(1)
    }
}

/// What has characters that no argument and no line of a submit description may have.
fn controls(launcher: &Launcher) -> Vec<String> {
    let Launcher { slurm, pbs, condor, node, environment, directory, .. } = launcher;
    let mut all: Vec<(&str, &str)> = vec![("node.program", &node.program)];
    all.extend(node.config.as_deref().map(|text| ("node.config", text)));
    all.extend(directory.as_deref().map(|text| ("directory", text)));
    all.extend(node.args.iter().flatten().map(|text| ("node.args", &**text)));
    all.extend(
        node.labels.iter().flatten().flat_map(|(key, value)| [("node.labels", &**key), ("node.labels", &**value)]),
    );
    all.extend(environment.iter().flatten().map(|(_, value)| ("environment", &**value)));
    if let Some(slurm) = slurm {
        let one = [
            ("slurm.partition", &slurm.partition),
            ("slurm.account", &slurm.account),
            ("slurm.qos", &slurm.qos),
            ("slurm.constraint", &slurm.constraint),
        ];
        all.extend(one.into_iter().filter_map(|(what, text)| Some((what, text.as_deref()?))));
        all.extend(slurm.extra_args.iter().flatten().map(|text| ("slurm.extraArgs", &**text)));
    }
    if let Some(pbs) = pbs {
        let one = [("pbs.queue", &pbs.queue), ("pbs.account", &pbs.account), ("pbs.chunk", &pbs.chunk)];
        all.extend(one.into_iter().filter_map(|(what, text)| Some((what, text.as_deref()?))));
        all.extend(pbs.extra_args.iter().flatten().map(|text| ("pbs.extraArgs", &**text)));
    }
    let lines = condor.iter().flat_map(|condor| condor.submit.iter().flatten());
    all.extend(lines.flat_map(|(key, value)| [("condor.submit", &**key), ("condor.submit", &**value)]));
    let strange = all.into_iter().filter(|(_, text)| text.chars().any(char::is_control));
    strange
        .map(|(what, text)| {
            format!("{what} has a line break or another control character in {text:?}: write it on one line")
        })
        .collect()
}

/// How much of each node is wanted, how many there may be and how long they stay says nothing about whether pilots work.
fn digest(launcher: &Launcher) -> String {
    let mut told = launcher.clone();
    (told.max_pilots, told.max_pending_pilots, told.idle_seconds) = (None, 1, 0);
    // What cannot be written as JSON was not read from it.
    let text = serde_json::to_string(&told).unwrap_or_default();
    Sha256::digest(text).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}
