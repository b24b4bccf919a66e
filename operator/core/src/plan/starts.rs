//! What to start, what to end because fewer are wanted, and what is in the way. From the Job controller's `manageJob`; but an
//! attempt is only ever replaced when it has ended (its `podReplacementPolicy: Failed`).

use std::collections::BTreeSet;

use jiff::Timestamp;
use vk_cmd_crds::Reason;

use super::{Course, Planner, Verdict, later};
use crate::backoff;
use crate::seen::{EndKind, Life, PodSeen};
use crate::survey::is_beyond;
use crate::validate::Completions;
use crate::words;

/// How many attempts are made in one look. From the Job controller (`MaxPodCreateDeletePerSync`).
const AT_ONCE: usize = 500;

/// An attempt to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The index that it works on.
    pub index: u32,
    /// Its number at that index.
    pub attempt: u32,
    /// Its node, where it must be a certain one.
    pub node: Option<String>,
}

impl Planner<'_> {
    /// Starts what is wanted, ends what is not.
    pub(super) fn start(&mut self) -> Course {
        let (beyond, within): (Vec<&PodSeen>, Vec<&PodSeen>) =
            self.survey.active().partition(|pod| is_beyond(self.job, pod));
        let wanted = self.wanted(within.len());
        if !beyond.is_empty() || within.len() > wanted {
            beyond.iter().for_each(|pod| self.survey.after.stopping.insert(pod.index));
            self.scale_down(within, wanted);
            return Course::of(Verdict::Active);
        }
        let room = wanted.saturating_sub(self.survey.open.len()).min(AT_ONCE);
        if self.job.completions == Completions::EveryNode {
            if self.nodes.is_empty() {
                return self.unless_active(Reason::NoNodes, words::no_nodes(&self.job.target), None);
            }
            if self.recorded.nodes.is_empty() {
                return self.unless_active(
                    Reason::Recording,
                    "the nodes to run on are being written down".to_owned(),
                    None,
                );
            }
        }
        if room == 0 {
            if self.survey.open.is_empty() && self.job.parallelism == 0 {
                let message = "spec.parallelism is 0: raise it to start the job".to_owned();
                return self.unless_active(Reason::NoParallelism, message, None);
            }
            return Course::of(Verdict::Active);
        }
        if let Some((until, why)) = self.back_off() {
            return self.unless_active(Reason::BackOff, why, Some(until));
        }
        self.pick(room)
    }

    /// How many attempts are to be alive.
    fn wanted(&self, active: usize) -> usize {
        let after = &self.survey.after;
        let left = match self.total() {
            Some(total) => total.saturating_sub(after.done.len()).saturating_sub(after.failed.len()),
            // One success is enough: what runs goes on, and nothing follows it.
            None if after.succeeded > 0 => return active,
            None => u32::MAX,
        };
        usize::try_from(left.min(self.job.parallelism)).unwrap_or(usize::MAX)
    }

    /// Ends all but so many: first those that have not started, then those of the highest indexes.
    fn scale_down(&mut self, mut pods: Vec<&PodSeen>, wanted: usize) {
        let surplus = pods.len().saturating_sub(wanted);
        pods.sort_by_key(|pod| (matches!(pod.life, Life::Running(_)), std::cmp::Reverse(pod.index)));
        pods.iter().take(surplus).for_each(|pod| self.survey.after.stopping.insert(pod.index));
    }

    /// Until when nothing is started after failures, where they count for the job as a whole. From batch/v1 Job: the pause
    /// doubles with each failure since the last success.
    fn back_off(&self) -> Option<(Timestamp, String)> {
        if self.job.backoff_limit_per_index.is_some() {
            return None;
        }
        let ends = self.survey.last_ends(self.recorded);
        let failed: Vec<_> = ends
            .iter()
            .take_while(|attempt| attempt.state != vk_cmd_crds::AttemptState::Succeeded)
            .filter(|attempt| words::is_failure(attempt))
            .collect();
        let last = failed.first()?;
        let count = u32::try_from(failed.len()).unwrap_or(u32::MAX);
        let until = later(last.finished_at.as_ref()?.0, backoff::after_attempt(count));
        (until > self.now).then(|| {
            let message = format!(
                "{}; the next attempt starts at {until} ({} failed so far, spec.backoffLimit is {})",
                words::ending(self.job, last),
                self.survey.after.failures,
                self.job.backoff_limit
            );
            (until, message)
        })
    }

    fn pick(&self, room: usize) -> Course {
        let (before, after) = (&self.survey.before, &self.survey.after);
        let open: BTreeSet<u32> = self.survey.open.iter().map(|pod| pod.index).collect();
        let mut over = after.done.clone();
        after.failed.iter().for_each(|index| over.insert(index));
        let mut starts = Vec::new();
        let (mut recording, mut pause, mut refused) = (false, None::<Timestamp>, None::<(Timestamp, String)>);
        for index in over.missing_below(self.total().unwrap_or(u32::MAX)).filter(|index| !open.contains(index)) {
            if starts.len() >= room {
                break;
            }
            if before.next(index) != after.next(index) {
                recording = true;
                continue;
            }
            if let Some(until) = self.back_off_at(index) {
                pause = Some(pause.map_or(until, |sooner| sooner.min(until)));
                continue;
            }
            if let Some((until, why)) = self.after_refusals(index) {
                pause = Some(pause.map_or(until, |sooner| sooner.min(until)));
                refused.get_or_insert((until, why));
                continue;
            }
            let node = usize::try_from(index).ok().and_then(|index| self.nodes.get(index)).cloned();
            starts.push(Start { index, attempt: after.next(index), node });
        }
        let verdict = if !starts.is_empty() || !self.survey.open.is_empty() {
            Verdict::Active
        } else if recording {
            Verdict::Waiting(Reason::Recording, "what has ended is being written down".to_owned())
        } else if let Some((until, why)) = refused {
            Verdict::Waiting(Reason::NoRoom, format!("{why}; it is tried again at {until}"))
        } else if let Some(until) = pause {
            Verdict::Waiting(Reason::BackOff, format!("attempts have failed; the next one starts at {until}"))
        } else {
            Verdict::Active
        };
        Course { verdict, starts, until: pause }
    }

    /// Until when an index is left alone after its failures, where each counts its own.
    fn back_off_at(&self, index: u32) -> Option<Timestamp> {
        self.job.backoff_limit_per_index?;
        let failures = self.survey.after.failures_at(index);
        let last = self.survey.after.next(index).checked_sub(1)?;
        let Life::Ended(end) = &self.seen.pods.get(&(index, last))?.life else { return None };
        let until = later(end.finished_at?, backoff::after_attempt(failures));
        (failures > 0 && until > self.now).then_some(until)
    }

    /// Until when an index is left alone whose last attempts nodes have refused for lack of room, and how that was. They count
    /// for nothing and are tried again for as long as it takes: what is in use there is known soon.
    fn after_refusals(&self, index: u32) -> Option<(Timestamp, String)> {
        let next = self.survey.after.next(index);
        let is_refused = |attempt: &u32| {
            let pod = self.seen.pods.get(&(index, *attempt));
            pod.is_some_and(|pod| matches!(&pod.life, Life::Ended(end) if end.kind == EndKind::Refused))
        };
        let count = (0..next).rev().take_while(is_refused).count();
        let last = next.checked_sub(1).filter(|_| count > 0)?;
        let ends = self.survey.last_ends(self.recorded);
        // The time is the operator's. One that is shown no longer has been waited for long enough.
        let shown = ends.iter().find(|end| (end.index, end.attempt) == (index.cast_signed(), last.cast_signed()))?;
        let pause = backoff::after_refusal(u32::try_from(count).unwrap_or(u32::MAX));
        let until = later(shown.finished_at.as_ref()?.0, pause);
        (until > self.now).then(|| (until, words::ending(self.job, shown)))
    }

    /// Nothing can be started now. What runs goes on.
    fn unless_active(&self, reason: Reason, message: String, until: Option<Timestamp>) -> Course {
        let verdict = if self.survey.open.is_empty() { Verdict::Waiting(reason, message) } else { Verdict::Active };
        Course { verdict, starts: Vec::new(), until }
    }
}
