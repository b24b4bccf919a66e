//! Reads a CmdJob once: either everything about it is right from here on, or all that is wrong is said at once.
//!
//! The API server has checked most of it already (the CEL rules in `crds`). What is left is what CEL cannot see, and
//! objects that were stored before a rule existed.

mod goal;
mod job;
mod problem;
mod run;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use vk_cmd_crds::{CmdJob, labels};

use self::run::{image, run};
use crate::object::Object;
use crate::trace::Trace;

pub use self::goal::{Completions, SuccessRule, Target};
pub use self::job::ValidJob;
pub use self::problem::{Invalid, Problem};
pub use self::run::Run;

/// How many hexadecimal digits of a CmdJob's UID go into the names of its pods.
pub const UID_DIGITS: usize = 10;

/// Reads a CmdJob, or says all that is wrong with it.
pub fn validate(job: &CmdJob) -> Result<ValidJob<'_>, Invalid> {
    let mut problems = Problems(Vec::new());
    let (meta, spec) = (&job.metadata, &job.spec);

    let object = problems.ok(Object::of(meta).map_err(Problem::Metadata));
    let short_uid = meta.uid.as_deref().and_then(|uid| problems.ok(short_uid(uid)));
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

    match (object, short_uid, goal, run) {
        (Some(object), Some(short_uid), Some(goal), Some(run)) if problems.0.is_empty() => Ok(ValidJob {
            object,
            short_uid,
            trace: trace(object.uid, meta.annotations.as_ref()),
            created: meta.creation_timestamp.as_ref().map(|time| time.0),
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
        }),
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
