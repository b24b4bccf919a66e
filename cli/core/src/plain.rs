//! A job in plain words.

use jiff::Timestamp;
use vk_cmd_crds::{CmdJob, CmdJobStatus, Reason, State};

/// Why a job is where it is: the operator's own words where it has said some.
#[must_use]
pub fn reason(job: &CmdJob) -> String {
    let status = job.status.as_ref();
    let (told, state) = (status.and_then(|status| status.reason.as_deref()), status.and_then(|status| status.state));
    let said = status.and_then(|status| status.message.as_deref()).filter(|message| !message.is_empty());
    if job.metadata.deletion_timestamp.is_some() {
        return match said.filter(|_| told == Some("Deleting")) {
            Some(message) => message.to_owned(),
            None => "it is being cancelled, and goes when its processes are gone".to_owned(),
        };
    }
    if let Some(manager) = &job.spec.managed_by {
        return said.map_or_else(|| format!("it is {manager}'s affair (spec.managedBy)"), str::to_owned);
    }
    match (said, told.and_then(|reason| reason.parse().ok()), state) {
        (Some(message), _, _) => message.to_owned(),
        (None, Some(reason), _) => of_reason(reason).to_owned(),
        (None, None, Some(state)) => of_state(state).to_owned(),
        (None, None, None) => "the operator has not looked at it yet".to_owned(),
    }
}

/// For an operator that says a reason and nothing else.
fn of_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::NodeMissing => "there is no node of that name",
        Reason::NodeNotReady => "its node is not ready",
        Reason::NodeCordoned => "its node takes no new work",
        Reason::BackOff => "the last attempt failed, and the next one starts after a pause",
        Reason::PodRefused => "the API server does not take its pod",
        Reason::NameTaken => "its pod's name is taken",
        Reason::Recording => "what has ended is being written down",
        Reason::Dependency => "it waits for another job",
        Reason::DependencyCycle => "it waits for itself, by way of others",
        Reason::NoNodes => "there is no node where it shall run",
        Reason::NoRoom => "it waits for its turn",
        Reason::NoNodeFits => "no node can take it as it is",
        Reason::NoParallelism => "its parallelism is 0",
        Reason::PodPending => "its node has not started it yet",
        Reason::ProcessRunning => "its process runs",
        Reason::NodeUnreachable => "its node is not heard from",
        Reason::Suspending => "it is being held, and what runs of it is being ended",
        Reason::Deleting => "it is being cancelled, and goes when its processes are gone",
        Reason::JobSuspended => "it is held: release it to start it",
        Reason::JobResumed => "it is released",
        Reason::CompletionsReached => "it has succeeded",
        Reason::SuccessPolicy => "enough of it has succeeded",
        Reason::BackoffLimitExceeded => "it has failed as often as it may",
        Reason::DeadlineExceeded => "it took longer than it may",
        Reason::PodFailurePolicy => "it has failed by a rule of its own",
        Reason::FailedIndexes => "some of its tasks have failed",
        Reason::MaxFailedIndexesExceeded => "more of its tasks have failed than may",
        Reason::DependencyNeverSatisfied => "what it waits for cannot come any more",
        Reason::UnknownEnd => "nobody knows how it ended",
        Reason::Invalid => "it says something that cannot be done",
    }
}

fn of_state(state: State) -> &'static str {
    match state {
        State::Waiting => "it waits",
        State::Pending => "its node has not started it yet",
        State::Running => "its process runs",
        State::Terminating => "it is being ended",
        State::Suspended => "it is held: release it to start it",
        State::Complete => "it has succeeded",
        State::Failed => "it has failed",
        State::Invalid => "it says something that cannot be done",
    }
}

/// The state in one word.
#[must_use]
pub fn state(job: &CmdJob) -> String {
    let state = job.status.as_ref().and_then(|status| status.state);
    match (job.metadata.deletion_timestamp.is_some(), state) {
        (true, _) => "Terminating".to_owned(),
        (false, Some(state)) => state.to_string(),
        (false, None) => "New".to_owned(),
    }
}

/// Whether nothing more will happen to a job.
#[must_use]
pub fn is_over(job: &CmdJob) -> bool {
    job.status.as_ref().is_some_and(has_ended)
}

/// The same of its status. An Invalid one is over until somebody changes it.
#[must_use]
pub fn has_ended(status: &CmdJobStatus) -> bool {
    matches!(status.state, Some(State::Complete | State::Failed | State::Invalid))
}

/// When it ended: by its conditions.
#[must_use]
pub fn ended_at(status: &CmdJobStatus) -> Option<Timestamp> {
    let is_end = |kind: &str| kind == "Complete" || kind == "Failed";
    let end = status.conditions.iter().find(|condition| is_end(&condition.type_) && condition.status == "True");
    end.map(|condition| condition.last_transition_time.0)
}

/// The name of a job.
#[must_use]
pub fn name(job: &CmdJob) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

/// Whether it has tasks that are told apart.
#[must_use]
pub fn is_array(job: &CmdJob) -> bool {
    use vk_cmd_crds::CompletionMode;
    let many = job.spec.parallelism.is_some_and(|n| n > 1) || job.spec.completions.is_some_and(|n| n > 1);
    job.spec.every_node || job.spec.completion_mode == CompletionMode::Indexed || many
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};
    use strum::VariantArray;

    use super::*;

    /// A CmdJob with this spec and status.
    pub(crate) fn job(name: &str, spec: &Value, status: &Value) -> CmdJob {
        let mut whole = json!({"target": {"node": "vk-a"}, "script": "hostname"});
        if let (Value::Object(whole), Value::Object(spec)) = (&mut whole, spec) {
            whole.extend(spec.clone());
        }
        let metadata =
            json!({"name": name, "namespace": "lab", "uid": "u1", "creationTimestamp": "2026-01-02T03:04:05Z"});
        let object = json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "metadata": metadata, "spec": whole, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn there_are_always_words() {
        assert_eq!(reason(&job("a", &json!({}), &json!(null))), "the operator has not looked at it yet");
        for known in Reason::VARIANTS {
            let said = reason(&job("a", &json!({}), &json!({"reason": known.to_string()})));
            assert!(said.contains(' '), "{known}: {said}");
        }
        for state in ["Waiting", "Running", "Complete", "Invalid"] {
            assert!(reason(&job("a", &json!({}), &json!({"state": state}))).contains("it"));
        }
        let new_word = json!({"state": "Waiting", "reason": "SomethingNew"});
        assert_eq!(reason(&job("a", &json!({}), &new_word)), "it waits");
        let said = json!({"state": "Waiting", "reason": "NoRoom", "message": "no room, for now"});
        assert_eq!(reason(&job("a", &json!({}), &said)), "no room, for now");
        let managed = job("a", &json!({"managedBy": "kueue.x-k8s.io/multikueue"}), &json!(null));
        assert!(reason(&managed).contains("multikueue"));
    }

    #[test]
    fn one_that_is_being_cancelled_says_so() {
        let mut going = job("a", &json!({}), &json!({"state": "Running", "message": "the process runs on vk-a"}));
        going.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
        assert_eq!((state(&going), reason(&going).contains("cancelled")), ("Terminating".to_owned(), true));
    }
}
