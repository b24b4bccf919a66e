//! What is open of a job, and what has ended since it was last counted.

use jiff::{SignedDuration, Timestamp};
use vk_cmd_crds::{Attempt, CmdJobStatus, ConditionType, Reason};

use crate::attempts;
use crate::judge::{Doing, judge};
use crate::ledger::Counted;
use crate::seen::{Absence, End, EndKind, Life, PodSeen, Seen};
use crate::status;
use crate::validate::{Completions, ValidJob};

/// How long after Kubernetes gave a pod up, its node being gone, its end counts as unknown. Until then the node may come back
/// and tell. Twice the time that a machine takes to boot, generously.
pub(crate) const LOST_AFTER: SignedDuration = SignedDuration::from_mins(10);

/// A job's pods, put in order.
pub(crate) struct Survey<'a> {
    /// What is counted in the status as it was read.
    pub(crate) before: Counted,
    /// What is counted with this look.
    pub(crate) after: Counted,
    /// The pods that have not ended, by index.
    pub(crate) open: Vec<&'a PodSeen>,
    /// Those that have been counted before and wait for nothing but to be let go.
    pub(crate) to_release: Vec<&'a PodSeen>,
    /// The attempts that are counted with this look.
    pub(crate) counted_now: Vec<Attempt>,
    /// Why the job fails by what has ended, if it does.
    pub(crate) fails_job: Option<(Reason, String)>,
    /// When a pod that is lost will have been so for too long.
    pub(crate) lost_at: Option<Timestamp>,
}

impl<'a> Survey<'a> {
    /// Puts them in order.
    pub(crate) fn of(job: &ValidJob<'_>, recorded: &CmdJobStatus, seen: &'a Seen, now: Timestamp) -> Self {
        let before = Counted::read(job, recorded).fitted(job.completions, seen.pods.keys().copied());
        let mut survey = Self {
            after: before.clone(),
            before,
            open: Vec::new(),
            to_release: Vec::new(),
            counted_now: Vec::new(),
            fails_job: None,
            lost_at: None,
        };
        let decided = |kind| status::find(recorded, kind).filter(|c| c.status == "True").map(|c| &*c.reason);
        let (failing, succeeding) = (decided(ConditionType::FailureTarget), decided(ConditionType::SuccessCriteriaMet));
        let mut ends: Vec<(&PodSeen, End)> = Vec::new();
        for pod in seen.pods.values().map(|pod| &**pod) {
            if survey.before.has(pod.index, pod.attempt) && pod_is_over(pod) {
                survey.to_release.push(pod);
            } else if let Some(end) = survey.end_of(pod, seen, now) {
                ends.push((pod, end));
            } else {
                survey.open.push(pod);
            }
        }
        // In the order in which they happened, so that the first failure that fails the job is the reason.
        ends.sort_by_key(|(pod, end)| (end.finished_at, pod.index, pod.attempt));
        for (pod, end) in ends {
            let is_stopped = survey.before.stopping.contains(pod.index);
            let (doing, why) = match (failing, succeeding) {
                _ if is_beyond(job, pod) => (Doing::Stopped, Some(attempts::SCALED_DOWN)),
                // It may have succeeded before it was told to end.
                _ if is_stopped && (pod.deleting || end.kind != EndKind::Succeeded) => {
                    (Doing::Stopped, Some(stop_reason(job)))
                }
                (Some(reason), _) if pod.deleting => (Doing::JobFails, Some(reason)),
                (None, Some(reason)) if pod.deleting => (Doing::JobSucceeds, Some(reason)),
                _ => (Doing::Own, None),
            };
            let judgement = judge(job, &survey.after, pod, &end, doing);
            survey.counted_now.push(attempts::ended(pod, &end, judgement.entry, why, now));
            survey.after.count(pod.index, pod.attempt, judgement.entry);
            survey.fails_job = survey.fails_job.or(judgement.fails_job);
        }
        survey
    }

    /// How a pod has ended, if it has.
    fn end_of(&mut self, pod: &PodSeen, seen: &Seen, now: Timestamp) -> Option<End> {
        match &pod.life {
            Life::Ended(end) => Some(end.clone()),
            Life::Lost(since) if seen.nodes.get(&*pod.node) == Some(&Absence::Gone) => {
                let over = since.checked_add(LOST_AFTER).unwrap_or(Timestamp::MAX);
                if over <= now {
                    return Some(lost());
                }
                self.lost_at = Some(self.lost_at.map_or(over, |at| at.min(over)));
                None
            }
            Life::Lost(_) | Life::Pending(_) | Life::Running(_) => None,
        }
    }

    /// The pods that are neither ended nor being ended.
    pub(crate) fn active(&self) -> impl Iterator<Item = &'a PodSeen> {
        self.open.iter().copied().filter(|pod| !pod.deleting)
    }

    /// Whether the pod's end counts for nothing, being the operator's own doing.
    pub(crate) fn is_stopping(&self, pod: &PodSeen) -> bool {
        self.after.stopping.contains(pod.index)
    }

    /// How the attempts that have ended last did so, the last one first.
    pub(crate) fn last_ends(&self, recorded: &CmdJobStatus) -> Vec<Attempt> {
        let mut ended = attempts::shown(recorded, self.counted_now.clone(), Vec::new());
        ended.sort_by_key(|attempt| (attempt.finished_at.clone(), attempt.index, attempt.attempt));
        ended.reverse();
        ended
    }
}

/// Whether the process of a pod is over, as far as anybody will ever know.
fn pod_is_over(pod: &PodSeen) -> bool {
    matches!(pod.life, Life::Ended(_) | Life::Lost(_))
}

/// Whether a pod is of an index that is no longer asked for.
pub(crate) fn is_beyond(job: &ValidJob<'_>, pod: &PodSeen) -> bool {
    matches!(job.completions, Completions::Of(total) if pod.index >= total)
}

/// Why the operator ends attempts that are not to count.
pub(crate) fn stop_reason(job: &ValidJob<'_>) -> &'static str {
    if job.suspend { attempts::SUSPENDED } else { attempts::SCALED_DOWN }
}

fn lost() -> End {
    End {
        kind: EndKind::Unknown,
        exit_code: None,
        signal: None,
        reason: Some("NodeLost".to_owned()),
        message: Some("its node is gone, and has not come back to say how it ended".to_owned()),
        started_at: None,
        finished_at: None,
    }
}
