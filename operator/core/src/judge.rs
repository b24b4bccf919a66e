//! What the end of an attempt means for its job: `podFailurePolicy`, `backoffLimitPerIndex`, `onUnknown`, `successPolicy`.
//! Rules and words are batch/v1 Job's (kubernetes.io/docs/concepts/workloads/controllers/job).

use vk_cmd_crds::{ExitCodeOperator, OnUnknown, PodFailurePolicyAction, PodFailurePolicyRule, Reason, labels};

use crate::indexes::IndexSet;
use crate::ledger::{Counted, Entry};
use crate::seen::{End, EndKind, PodSeen};
use crate::validate::{SuccessRule, ValidJob};
use crate::words;

/// What an end means.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// What it counts for.
    pub entry: Entry,
    /// Why the whole job fails, if it does.
    pub fails_job: Option<(Reason, String)>,
}

/// By whose doing an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Its own, or somebody's who is not the operator.
    Own,
    /// The operator's, because it is not to run now.
    Stopped,
    /// The operator's, because its job fails.
    JobFails,
    /// The operator's, because its job has succeeded without it.
    JobSucceeds,
}

/// Judges the end of an attempt. What the operator has ended is judged by why it did so, and not by how the process took its
/// leave: one that saves its state and ends with exit code 0 when it is told to is not done.
pub fn judge(job: &ValidJob<'_>, before: &Counted, pod: &PodSeen, end: &End, doing: Doing) -> Judgement {
    let of = |entry| Judgement { entry, fails_job: None };
    match (doing, end.kind) {
        (Doing::Stopped | Doing::JobSucceeds, _) => of(Entry::Nothing),
        // The node had no room after all: nothing has run, and another node or another time may do.
        (Doing::Own | Doing::JobFails, EndKind::Refused) => of(Entry::Nothing),
        (Doing::JobFails, EndKind::Succeeded | EndKind::Failed | EndKind::Unknown) => of(Entry::Failure),
        (Doing::Own, EndKind::Succeeded) => of(Entry::Success),
        (Doing::Own, EndKind::Failed | EndKind::Unknown) => match matching(job, pod, end) {
            Some((PodFailurePolicyAction::Ignore, _)) => of(Entry::Nothing),
            Some((PodFailurePolicyAction::FailIndex, _)) => of(Entry::FailsIndex),
            Some((PodFailurePolicyAction::FailJob, why)) => {
                Judgement { entry: counted(job, before, pod.index), fails_job: Some((Reason::PodFailurePolicy, why)) }
            }
            Some((PodFailurePolicyAction::Count, _)) => of(counted(job, before, pod.index)),
            None if end.kind == EndKind::Unknown && job.on_unknown == OnUnknown::Fail => unknown(job, pod),
            None => of(counted(job, before, pod.index)),
        },
    }
}

/// A failure, and the last one of its index if there were too many.
fn counted(job: &ValidJob<'_>, before: &Counted, index: u32) -> Entry {
    match job.backoff_limit_per_index {
        Some(limit) if before.failures_at(index) >= limit => Entry::FailsIndex,
        Some(_) | None => Entry::Failure,
    }
}

/// Nobody knows how it ended, so it is not run again unasked.
fn unknown(job: &ValidJob<'_>, pod: &PodSeen) -> Judgement {
    if job.backoff_limit_per_index.is_some() {
        return Judgement { entry: Entry::FailsIndex, fails_job: None };
    }
    let why = format!(
        "{} ended in a way that nobody knows; it is not run again unasked: see at the node what it has done, and make a new \
         CmdJob if it shall run again (or set spec.onUnknown: Retry)",
        words::attempt(job, pod)
    );
    Judgement { entry: Entry::Failure, fails_job: Some((Reason::UnknownEnd, why)) }
}

/// The first rule of the policy that an end matches, and how a failed job says so.
fn matching(job: &ValidJob<'_>, pod: &PodSeen, end: &End) -> Option<(PodFailurePolicyAction, String)> {
    let rules = job.pod_failure_policy.iter().flat_map(|policy| policy.rules.iter()).enumerate();
    rules.filter_map(|(n, rule)| Some((rule.action, matched(rule, n, job, pod, end)?))).next()
}

fn matched(rule: &PodFailurePolicyRule, n: usize, job: &ValidJob<'_>, pod: &PodSeen, end: &End) -> Option<String> {
    let (namespace, name) = (job.object.namespace, &pod.name);
    if let Some(codes) = &rule.on_exit_codes {
        // What nobody returned matches nothing.
        let code = end.exit_code.filter(|code| *code != 0 && end.kind == EndKind::Failed)?;
        let is_in = codes.values.contains(&code);
        let matches = match codes.operator {
            ExitCodeOperator::In => is_in,
            ExitCodeOperator::NotIn => !is_in,
        };
        return matches.then(|| {
            format!(
                "Container {} for pod {namespace}/{name} failed with exit code {code} matching {} rule at index {n}",
                labels::MAIN_CONTAINER,
                rule.action
            )
        });
    }
    let wanted = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let has = |wanted: &vk_cmd_crds::OnPodCondition| {
        pod.conditions.iter().any(|(kind, status)| *kind == wanted.type_ && *status == wanted.status)
    };
    let met = wanted.iter().find(|wanted| has(wanted))?;
    Some(format!("Pod {namespace}/{name} has condition {} matching {} rule at index {n}", met.type_, rule.action))
}

/// Whether a rule of the success policy is met; then how the job says so.
pub fn success(rules: &[SuccessRule], done: &IndexSet) -> Option<String> {
    // Before the first success no rule is met, and one about no index at all never is (`matchSuccessPolicy`).
    let met = |rule: &SuccessRule| match &rule.indexes {
        _ if done.is_empty() => false,
        Some(indexes) if indexes.is_empty() => false,
        Some(indexes) => {
            let common = indexes.common(done);
            common == indexes.len() || rule.count.is_some_and(|count| common >= count)
        }
        None => rule.count.is_some_and(|count| done.len() >= count),
    };
    let n = rules.iter().position(met)?;
    Some(format!("Matched rules at index {n}"))
}
