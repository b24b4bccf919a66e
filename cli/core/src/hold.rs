//! `hold`, `release` and `requeue`: what is to be written, if anything.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use vk_cmd_crds::{CmdJob, State};

use crate::plain;

/// What to do about a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Write this merge patch. It names the version of the job that was looked at, so that it is refused if that has changed.
    Patch(Value),
    /// Nothing: it is so already. What to say.
    Already(String),
    /// It cannot be. Why, and what to do.
    Refuse(String),
}

fn suspend(job: &CmdJob, suspend: bool) -> Deed {
    Deed::Patch(json!({"metadata": {"resourceVersion": job.metadata.resource_version}, "spec": {"suspend": suspend}}))
}

/// Why nothing can be changed about a job any more.
fn over(job: &CmdJob) -> Option<String> {
    let name = plain::name(job);
    if job.metadata.deletion_timestamp.is_some() {
        return Some(format!("{name} is being cancelled"));
    }
    let is_over = matches!(job.status.as_ref()?.state, Some(State::Complete | State::Failed));
    is_over.then(|| format!("{name} has ended ({})", plain::state(job)))
}

/// How many of its attempts are there.
fn alive(job: &CmdJob) -> i32 {
    job.status.as_ref().map(|status| status.active.saturating_add(status.terminating)).unwrap_or_default()
}

/// To hold it. What runs is not ended unless that is wanted.
#[must_use]
pub fn hold(job: &CmdJob, end_running: bool) -> Deed {
    let name = plain::name(job);
    match (over(job), alive(job)) {
        (Some(over), _) => Deed::Refuse(format!("{over}, and cannot be held any more")),
        (None, _) if job.spec.suspend => Deed::Already(format!("{name} is held already")),
        (None, 1..) if !end_running => Deed::Refuse(format!(
            "{name} has begun ({}): holding it would end what runs; --end-running does that, and `kubectl cmdjob release {name}` starts \
             it anew",
            plain::reason(job)
        )),
        (None, _) => suspend(job, true),
    }
}

/// To let it start.
#[must_use]
pub fn release(job: &CmdJob) -> Deed {
    match over(job) {
        Some(over) => Deed::Refuse(format!("{over}, and cannot be released any more")),
        None if !job.spec.suspend => Deed::Already(format!("{} is not held", plain::name(job))),
        None => suspend(job, false),
    }
}

/// To start it anew: first it is held, and when nothing of it is left it is released.
#[must_use]
pub fn requeue(job: &CmdJob) -> Deed {
    let name = plain::name(job);
    match over(job) {
        Some(over) => Deed::Refuse(format!(
            "{over}, and cannot start again: `kubectl cmdjob requeue {name} --to NEW` makes another with the same spec"
        )),
        None if job.spec.suspend => Deed::Already(format!("{name} is held: `kubectl cmdjob release {name}` starts it")),
        None if alive(job) == 0 => Deed::Already(format!("{name} has not begun: it is in the queue")),
        None => suspend(job, true),
    }
}

/// Whether a job that was held has nothing left that runs.
#[must_use]
pub fn is_held(job: &CmdJob) -> bool {
    let status = job.status.as_ref();
    let has_seen = status.and_then(|status| status.observed_generation) >= job.metadata.generation;
    job.spec.suspend && has_seen && status.and_then(|status| status.state) == Some(State::Suspended)
}

/// Another job with the same spec.
#[must_use]
pub fn copy(job: &CmdJob, name: &str) -> CmdJob {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: job.metadata.labels.clone(),
        annotations: job.metadata.annotations.clone().map(|mut all| {
            // That of `kubectl apply` is about the other object.
            all.retain(|key, _| key != "kubectl.kubernetes.io/last-applied-configuration");
            all
        }),
        ..ObjectMeta::default()
    };
    CmdJob { metadata, spec: job.spec.clone(), status: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::tests::job;

    fn of(spec: &Value, status: &Value) -> CmdJob {
        let mut job = job("a", spec, status);
        job.metadata.resource_version = Some("7".to_owned());
        job.metadata.generation = Some(2);
        job
    }

    fn patch(suspend: bool) -> Deed {
        Deed::Patch(json!({"metadata": {"resourceVersion": "7"}, "spec": {"suspend": suspend}}))
    }

    fn says(deed: Deed, word: &str) {
        match deed {
            Deed::Already(text) | Deed::Refuse(text) => assert!(text.contains(word), "{text}"),
            Deed::Patch(patch) => panic!("{patch}"),
        }
    }

    #[test]
    fn what_runs_is_ended_only_if_that_is_wanted() {
        let waits = of(&json!({}), &json!({"state": "Waiting"}));
        let runs = of(&json!({}), &json!({"state": "Running", "active": 1}));
        let held = of(&json!({"suspend": true}), &json!({"state": "Suspended"}));
        let ended = of(&json!({}), &json!({"state": "Complete"}));
        assert_eq!(hold(&waits, false), patch(true));
        says(hold(&runs, false), "--end-running");
        assert_eq!(hold(&runs, true), patch(true));
        says(hold(&held, false), "held already");
        says(hold(&ended, true), "has ended (Complete)");

        assert_eq!(release(&held), patch(false));
        says(release(&runs), "not held");
        says(release(&ended), "cannot be released");

        assert_eq!(requeue(&runs), patch(true));
        says(requeue(&waits), "in the queue");
        says(requeue(&held), "release a");
        says(requeue(&ended), "--to NEW");
    }

    #[test]
    fn held_is_what_the_operator_says_of_this_very_spec() {
        let held = |observed: i64, state: &str| {
            is_held(&of(&json!({"suspend": true}), &json!({"state": state, "observedGeneration": observed})))
        };
        assert!(held(2, "Suspended") && !held(1, "Suspended") && !held(2, "Terminating"));
        assert!(!is_held(&of(&json!({}), &json!({"state": "Suspended", "observedGeneration": 2}))));
    }

    #[test]
    fn a_copy_is_the_spec_and_what_people_have_written_on_it() {
        let mut old = of(&json!({"priority": 7}), &json!({"state": "Failed"}));
        let notes = [("kubectl.kubernetes.io/last-applied-configuration", "x"), ("a", "b")];
        old.metadata.annotations = Some(notes.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let new = json!(copy(&old, "b"));
        assert_eq!(new["metadata"], json!({"name": "b", "annotations": {"a": "b"}}));
        assert_eq!((&new["spec"]["priority"], new.get("status")), (&json!(7), None));
    }
}
