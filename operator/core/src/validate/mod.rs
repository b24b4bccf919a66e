//! Reads a CmdJob once: either everything about it is right from here on, or all that is wrong is said at once.
//!
//! The API server has checked most of it already (the CEL rules in `crds`). What is left is what CEL cannot see, and
//! objects that were stored before a rule existed.

mod goal;
mod problem;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, VolumeMount};
use vk_cmd_crds::cmdjob::DEFAULT_SHELL;
use vk_cmd_crds::labels;
use vk_cmd_crds::{After, CmdJob, OnUnknown, PodFailurePolicy, Resources, Volume};

use crate::trace::Trace;

pub use self::goal::{Completions, SuccessRule, Target};
pub use self::problem::{Invalid, Problem};

/// How many hexadecimal digits of a CmdJob's UID go into the names of its pods.
pub const UID_DIGITS: usize = 10;

/// A CmdJob that can be acted on. Borrows its texts: a script may be half a megabyte.
#[derive(Clone, Debug)]
pub struct ValidJob<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// The UID.
    pub uid: &'a str,
    /// The first [`UID_DIGITS`] hexadecimal digits of the UID.
    pub short_uid: String,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// When the object was made.
    pub created: Option<Timestamp>,
    /// The generation of the spec.
    pub generation: Option<i64>,
    /// Whether the object is being deleted.
    pub deleting: bool,
    /// Whether the object has our finalizer.
    pub held: bool,
    /// All finalizers of the object.
    pub finalizers: &'a [String],
    /// Where to run.
    pub target: Target<'a>,
    /// What to run.
    pub run: Run<'a>,
    /// Environment variables.
    pub env: &'a [EnvVar],
    /// Where more of them come from.
    pub env_from: &'a [EnvFromSource],
    /// The directory to run in.
    pub working_dir: Option<&'a str>,
    /// The image to run it in; none runs it on the host itself.
    pub image: Option<&'a str>,
    /// What it may use, and what the node must have free for it.
    pub resources: Option<&'a Resources>,
    /// Files for it.
    pub volumes: &'a [Volume],
    /// Where it sees them.
    pub volume_mounts: &'a [VolumeMount],
    /// How many successes are asked for.
    pub completions: Completions,
    /// How many attempts may be alive at a time.
    pub parallelism: u32,
    /// Whether each success has an index of its own that the user knows.
    pub indexed: bool,
    /// How many failed attempts are followed by another one.
    pub backoff_limit: u32,
    /// The same for each index, which then fails alone.
    pub backoff_limit_per_index: Option<u32>,
    /// With more failed indexes than this the job fails at once.
    pub max_failed_indexes: Option<u32>,
    /// What is done about failed attempts, by how they failed.
    pub pod_failure_policy: Option<&'a PodFailurePolicy>,
    /// When the job has succeeded though not every index has; none: when every one has.
    pub success_policy: Vec<SuccessRule>,
    /// What an unknown end means.
    pub on_unknown: OnUnknown,
    /// The longest that one attempt may take.
    pub walltime: Option<SignedDuration>,
    /// The annotation [`labels::WARNING_SIGNAL`], for its pods; the node reads it.
    pub warning_signal: Option<&'a str>,
    /// The jobs that it waits for.
    pub after: &'a [After],
    /// Which of two jobs of a namespace comes first: the one of the higher number.
    pub priority: i32,
    /// How long the job may be active.
    pub deadline: Option<SignedDuration>,
    /// How long after its end it is deleted.
    pub ttl: Option<SignedDuration>,
    /// Whether nothing of it shall run.
    pub suspend: bool,
    /// The time between TERM and KILL, in seconds.
    pub grace_seconds: i64,
}

impl ValidJob<'_> {
    /// Whether the status shows which indexes have succeeded.
    pub fn shows_indexes(&self) -> bool {
        self.indexed || self.completions == Completions::EveryNode
    }
}

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run<'a> {
    /// `SHELL FILE`, where FILE holds the text.
    Shell {
        /// The absolute path of the shell.
        shell: &'a str,
        /// The script.
        text: &'a str,
    },
    /// FILE itself, where FILE holds the text, which begins with `#!`.
    Shebang {
        /// The script.
        text: &'a str,
    },
    /// A program without a shell.
    Command {
        /// The program and its first arguments; not empty.
        command: &'a [String],
        /// More arguments.
        args: &'a [String],
    },
}

/// Reads a CmdJob, or says all that is wrong with it.
pub fn validate(job: &CmdJob) -> Result<ValidJob<'_>, Invalid> {
    let mut problems = Problems(Vec::new());
    let (meta, spec) = (&job.metadata, &job.spec);

    let namespace = problems.some(meta.namespace.as_deref(), Problem::Metadata("namespace"));
    let name = problems.some(meta.name.as_deref(), Problem::Metadata("name"));
    let uid = problems.some(meta.uid.as_deref(), Problem::Metadata("uid"));
    let short_uid = uid.and_then(|uid| problems.ok(short_uid(uid)));
    let goal = goal::read(spec, &mut problems);
    let run = run(job, &mut problems);

    let env = spec.env.as_deref().unwrap_or_default();
    for var in env {
        if var.name.is_empty() || !var.name.chars().all(|c| (' '..='~').contains(&c) && c != '=') {
            problems.0.push(Problem::EnvName(var.name.clone()));
        }
        if var.value.as_deref().is_some_and(has_nul) {
            problems.0.push(Problem::Nul(format!("the value of {} in spec.env", var.name)));
        }
    }
    if let Some(dir) = spec.working_dir.as_deref() {
        problems.path("spec.workingDir", dir);
    }

    image(job, &mut problems);

    // A pod with 0 is removed by the API server at once, before its node has ended the process.
    problems.least("spec.terminationGracePeriodSeconds", spec.termination_grace_period_seconds, 1);
    if let Some(seconds) = spec.active_deadline_seconds {
        problems.least("spec.activeDeadlineSeconds", seconds, 0);
    }
    if let Some(seconds) = spec.ttl_seconds_after_finished {
        problems.least("spec.ttlSecondsAfterFinished", seconds.into(), 0);
    }

    match (namespace, name, uid, short_uid, goal, run) {
        (Some(namespace), Some(name), Some(uid), Some(short_uid), Some(goal), Some(run)) if problems.0.is_empty() => {
            Ok(ValidJob {
                namespace,
                name,
                uid,
                short_uid,
                trace: trace(uid, meta.annotations.as_ref()),
                created: meta.creation_timestamp.as_ref().map(|time| time.0),
                generation: meta.generation,
                deleting: meta.deletion_timestamp.is_some(),
                finalizers: meta.finalizers.as_deref().unwrap_or_default(),
                held: meta.finalizers.iter().flatten().any(|finalizer| finalizer == labels::FINALIZER),
                target: goal.target,
                run,
                env,
                env_from: spec.env_from.as_deref().unwrap_or_default(),
                working_dir: spec.working_dir.as_deref(),
                image: spec.image.as_deref(),
                resources: spec.resources.as_ref(),
                volumes: spec.volumes.as_deref().unwrap_or_default(),
                volume_mounts: spec.volume_mounts.as_deref().unwrap_or_default(),
                completions: goal.completions,
                parallelism: goal.parallelism,
                indexed: goal.indexed,
                backoff_limit: goal.backoff_limit,
                backoff_limit_per_index: goal.backoff_limit_per_index,
                max_failed_indexes: goal.max_failed_indexes,
                pod_failure_policy: spec.pod_failure_policy.as_ref(),
                success_policy: goal.success_policy,
                on_unknown: spec.on_unknown,
                warning_signal: annotation(meta.annotations.as_ref(), labels::WARNING_SIGNAL),
                walltime: spec.walltime_seconds.map(SignedDuration::from_secs),
                after: spec.after.as_deref().unwrap_or_default(),
                priority: spec.priority,
                deadline: spec.active_deadline_seconds.map(SignedDuration::from_secs),
                ttl: spec.ttl_seconds_after_finished.map(|s| SignedDuration::from_secs(s.into())),
                suspend: spec.suspend,
                grace_seconds: spec.termination_grace_period_seconds,
            })
        }
        _ => Err(Invalid(problems.0)),
    }
}

/// The problems found so far.
struct Problems(Vec<Problem>);

impl Problems {
    fn say(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    fn some<T>(&mut self, value: Option<T>, problem: Problem) -> Option<T> {
        if value.is_none() {
            self.0.push(problem);
        }
        value
    }

    fn ok<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.0.push(problem)).ok()
    }

    fn least(&mut self, field: &'static str, value: i64, least: i64) {
        if value < least {
            self.0.push(Problem::TooSmall { field, value, least });
        }
    }

    fn path(&mut self, field: &'static str, path: &str) {
        if !path.starts_with('/') {
            self.0.push(Problem::NotAbsolute { field, path: path.to_owned() });
        }
        if has_nul(path) {
            self.0.push(Problem::Nul(field.to_owned()));
        }
    }
}

fn has_nul(text: &str) -> bool {
    text.contains('\0')
}

fn trace(uid: &str, annotations: Option<&BTreeMap<String, String>>) -> Trace {
    Trace::of_job(uid, annotation(annotations, labels::TRACE_PARENT))
}

fn annotation<'a>(all: Option<&'a BTreeMap<String, String>>, name: &str) -> Option<&'a str> {
    all.and_then(|all| all.get(name)).map(String::as_str)
}

fn short_uid(uid: &str) -> Result<String, Problem> {
    let digits: String =
        uid.chars().filter(char::is_ascii_hexdigit).take(UID_DIGITS).map(|c| c.to_ascii_lowercase()).collect();
    if digits.len() == UID_DIGITS { Ok(digits) } else { Err(Problem::Uid(uid.to_owned())) }
}

fn run<'a>(job: &'a CmdJob, problems: &mut Problems) -> Option<Run<'a>> {
    let spec = &job.spec;
    let args = spec.args.as_deref().unwrap_or_default();
    if spec.command.is_none() && !args.is_empty() {
        problems.0.push(Problem::ArgsWithoutCommand);
    }
    if spec.command.is_some() && spec.shell.is_some() {
        problems.0.push(Problem::ShellWithCommand);
    }
    if let Some(shell) = spec.shell.as_deref() {
        problems.path("spec.shell", shell);
    }
    match (spec.script.as_deref(), spec.command.as_deref()) {
        (None, None) => problems.some(None, Problem::NothingToRun),
        (Some(_), Some(_)) => problems.some(None, Problem::ScriptAndCommand),
        (Some(text), None) => {
            if text.is_empty() {
                problems.0.push(Problem::Empty("spec.script"));
            }
            if has_nul(text) {
                problems.0.push(Problem::Nul("spec.script".to_owned()));
            }
            Some(match spec.shell.as_deref() {
                None if text.starts_with("#!") => Run::Shebang { text },
                shell => Run::Shell { shell: shell.unwrap_or(DEFAULT_SHELL), text },
            })
        }
        (None, Some(command)) => {
            if command.first().is_none_or(String::is_empty) {
                problems.0.push(Problem::Empty("the first entry of spec.command"));
            }
            if command.iter().chain(args).any(|arg| has_nul(arg)) {
                problems.0.push(Problem::Nul("an entry of spec.command or spec.args".to_owned()));
            }
            Some(Run::Command { command, args })
        }
    }
}

fn image(job: &CmdJob, problems: &mut Problems) {
    let spec = &job.spec;
    if spec.image.as_deref().is_some_and(str::is_empty) {
        problems.0.push(Problem::Empty("spec.image"));
    }
    let (volumes, mounts) =
        (spec.volumes.as_deref().unwrap_or_default(), spec.volume_mounts.as_deref().unwrap_or_default());
    for volume in volumes {
        if volume.kinds() != 1 {
            problems.say(Problem::VolumeKinds(volume.name.clone()));
        }
        if let Some(host) = &volume.host_path {
            problems.path("spec.volumes[].hostPath.path", &host.path);
        }
    }
    for mount in mounts {
        if mount.mount_path.is_empty() {
            problems.say(Problem::Empty("spec.volumeMounts[].mountPath"));
        }
        if !volumes.iter().any(|volume| volume.name == mount.name) {
            problems.0.push(Problem::NoVolume(mount.name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(spec: &str) -> CmdJob {
        let yaml = format!(
            "{{apiVersion: vk-cmd.io/v1alpha1, kind: CmdJob, metadata: {{namespace: lab, name: hello, uid: \
             1a2b3c4d-5e6f-4000-8000-000000000000}}, spec: {{{spec}}}}}"
        );
        serde_yaml_ng::from_str(&yaml).unwrap()
    }

    #[test]
    fn says_what_is_run() {
        let valid = |spec: &str| {
            let job = job(spec);
            format!("{:?}", validate(&job).unwrap().run)
        };
        let node = "target: {node: vk-a}";
        assert_eq!(valid(&format!("{node}, script: x")), r#"Shell { shell: "/bin/sh", text: "x" }"#);
        assert_eq!(valid(&format!("{node}, script: '#!x', shell: /b")), r##"Shell { shell: "/b", text: "#!x" }"##);
        assert_eq!(valid(&format!("{node}, script: '#!x'")), r##"Shebang { text: "#!x" }"##);
        assert_eq!(valid(&format!("{node}, command: [a], args: [b]")), r#"Command { command: ["a"], args: ["b"] }"#);
    }

    #[test]
    fn says_all_that_is_wrong_at_once() {
        for (spec, problems) in [
            ("target: {}", vec!["name the node", "nothing to run"]),
            (
                "target: {node: a}, script: x, command: [x]",
                vec!["does not begin with \"vk-\"", "both script and command"],
            ),
            (
                "target: {node: vk-a}, script: '', args: [x], shell: b",
                vec!["spec.args", "spec.shell \"b\"", "spec.script is empty"],
            ),
            ("target: {node: vk-a}, command: [''], shell: /b", vec!["spec.shell belongs", "first entry"]),
            (
                "target: {node: vk-a}, script: \"\\0\", env: [{name: A, value: \"\\0\"}]",
                vec!["spec.script contains a NUL", "value of A"],
            ),
            (
                "target: {node: vk-a}, script: x, volumes: [{name: v, hostPath: {path: v}}], \
                 volumeMounts: [{name: w, mountPath: ''}]",
                vec!["path \"v\"", "mountPath is empty", "the volume \"w\""],
            ),
            (
                "target: {node: vk-a}, script: x, completionMode: Indexed, completions: 100001, parallelism: 100001, \
                 backoffLimitPerIndex: 1, maxFailedIndexes: 100001",
                vec![
                    "parallelism of an Indexed job is at most 100000",
                    "maxFailedIndexes is at most completions",
                    "maxFailedIndexes must be set, to 10000",
                    "parallelism is at most 10000",
                ],
            ),
            (
                "target: {node: vk-a}, script: x, maxFailedIndexes: 1, successPolicy: {rules: []}, podFailurePolicy: {rules: \
                 [{action: FailIndex, onExitCodes: {operator: In, values: [1]}}]}",
                vec!["maxFailedIndexes needs", "successPolicy is for", "FailIndex"],
            ),
            ("target: {node: vk-a}, script: x, volumes: [{name: v}]", vec!["the volume \"v\" must be exactly one"]),
            (
                "target: {node: vk-a}, script: x, completionMode: Indexed, completions: 3, successPolicy: {rules: \
                 [{succeededIndexes: '2,1'}, {succeededIndexes: '1-3'}, {succeededIndexes: '0,2', succeededCount: 3}]}",
                vec!["rules[0].succeededIndexes: 1 comes after 2", "there is no index 3", "succeededCount is 3"],
            ),
            ("target: {node: vk-a}, script: x, image: ''", vec!["spec.image is empty"]),
            (
                "target: {node: vk-a}, script: x, backoffLimit: -1, activeDeadlineSeconds: -1, ttlSecondsAfterFinished: -1, \
                 terminationGracePeriodSeconds: 0",
                vec!["backoffLimit is -1", "GracePeriodSeconds is 0", "DeadlineSeconds is -1", "AfterFinished is -1"],
            ),
        ] {
            let job = job(spec);
            let invalid = validate(&job).unwrap_err();
            assert_eq!(invalid.0.len(), problems.len(), "{spec}: {invalid}");
            let said = invalid.to_string();
            for problem in problems {
                assert!(said.contains(problem), "{spec}: {said:?} does not contain {problem:?}");
            }
        }
    }

    #[test]
    fn wants_an_object_from_an_api_server() {
        let mut job = job("target: {node: vk-a}, script: x");
        job.metadata.uid = Some("short".into());
        job.metadata.namespace = None;
        let said = validate(&job).unwrap_err().to_string();
        assert!(said.contains("metadata.namespace is missing") && said.contains("hexadecimal"), "{said}");
    }
}
