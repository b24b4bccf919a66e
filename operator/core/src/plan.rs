//! What to do next about one CmdJob.
//!
//! ```text
//!                    ┌────────── back-off, node missing, cordoned … ◄─────────┐
//!                    ▼                                                        │ failed, attempts left
//!  (new) ───────► Waiting ──create pod──► Pending ──► Running ────────────────┤
//!                    │ ▲                     │           │                    ├──► Complete ──┐
//!            suspend │ │ resume      suspend, deadline,  │                    │               ├─ttl─► deleted
//!                    ▼ │                  deletion       │                    └──► Failed ────┘
//!                 Suspended ◄──────────── Terminating ◄──┘                           ▲
//!                                              └────────────── deadline ─────────────┘
//! ```
//!
//! Two rules keep this safe whatever is lost on the way:
//! - *Names are locks.* The pod of an attempt has one name; making it twice is refused by the API server.
//! - *Written down first.* A decision that the world does not show afterwards (this process was ended because of the
//!   suspension; the deadline has passed) goes into the status before it is acted on, and an attempt is followed by the next
//!   one only when its end is in the status as it was read.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use vk_cmd_crds::{Attempt, AttemptState, CmdJobStatus, ConditionType, Reason};

use crate::attempts::{self, whole_seconds};
use crate::backoff;
use crate::seen::{Life, NodeSeen, PodSeen, Seen, Sight};
use crate::validate::ValidJob;
use crate::words;
use crate::{pod, status};

/// What to do, and what to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// In how long to look again though nothing has happened.
    pub look_again: Option<SignedDuration>,
    /// How the job stands.
    pub verdict: Verdict,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// When it was taken up.
    pub start_time: Option<Timestamp>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make the pod of an attempt. If there is one of that name already and it is the job's own, that is as good.
    CreatePod {
        /// The number of the attempt.
        attempt: u32,
        /// The pod.
        pod: Box<Pod>,
    },
    /// Delete a pod, if it still has this UID.
    DeletePod {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Delete the CmdJob, if it is still the object that was decided on, unchanged.
    DeleteJob,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is finished, and the status says so already.
    Finished,
    /// It cannot go on for now.
    Waiting(Reason, String),
    /// It can go on: the pod of this attempt is being made.
    Starting(u32),
    /// A pod is there; what keeps it from starting, if somebody has said so.
    Active(Option<String>),
    /// Processes are being ended.
    Terminating(Reason, String),
    /// It is decided that the job fails, for this reason; processes are being ended.
    Failing(Reason, String),
    /// Suspended, and nothing is left of it.
    Suspended,
    /// It has succeeded.
    Complete(String),
    /// It has failed.
    Failed(Reason, String),
}

/// Decides.
pub fn plan(job: &ValidJob<'_>, recorded: &CmdJobStatus, seen: &Seen, now: Timestamp) -> Plan {
    Planner { job, recorded, seen, now }.plan()
}

struct Planner<'a> {
    job: &'a ValidJob<'a>,
    recorded: &'a CmdJobStatus,
    seen: &'a Seen,
    now: Timestamp,
}

impl Planner<'_> {
    fn plan(&self) -> Plan {
        if let Some(finished) = status::finished_at(self.recorded) {
            return self.finished(finished);
        }
        let mut attempts = attempts::current(self.recorded, self.seen, &self.job.target, self.now);
        let alive = attempts.iter().any(|attempt| !attempt.state.is_final());
        let start_time = self.start_time();
        let deadline = self.job.deadline.zip(start_time).map(|(length, start)| later(start, length));

        let (verdict, look_again) = if self.job.deleting {
            (Verdict::Terminating(Reason::Deleting, "the CmdJob is being deleted".to_owned()), None)
        } else if let Some((reason, message)) = self.failing() {
            (failing(&mut attempts, reason, message), None)
        } else if let Some(verdict) = self.ended(&attempts) {
            (verdict, None)
        } else if self.job.suspend {
            (self.suspended(&mut attempts), None)
        } else if let Some(stopping) = attempts.iter().find(|a| a.state == AttemptState::Stopping) {
            let message = format!("resumed, but attempt {} is still being ended", stopping.attempt);
            (Verdict::Terminating(Reason::Suspending, message), None)
        } else if deadline.is_some_and(|deadline| deadline <= self.now) {
            (self.overdue(&mut attempts), None)
        } else if alive {
            (Verdict::Active(self.hint()), deadline)
        } else {
            let (verdict, until) = self.start(&attempts);
            (verdict, [deadline, until].into_iter().flatten().min())
        };

        Plan {
            steps: self.steps(&verdict, &attempts),
            look_again: look_again.map(|time| self.until(time)),
            verdict,
            attempts,
            start_time,
        }
    }

    /// The job is finished: nothing remains but to leave nothing behind, and to delete it when its time is over.
    fn finished(&self, finished: Timestamp) -> Plan {
        let due = self.job.ttl.map(|ttl| later(finished, ttl)).filter(|_| !self.job.deleting);
        let (steps, look_again) = match due {
            Some(due) if due <= self.now => (vec![Step::DeleteJob], None),
            Some(due) => (self.leftovers(), Some(self.until(due))),
            None => (self.leftovers(), None),
        };
        Plan {
            steps,
            look_again,
            verdict: Verdict::Finished,
            attempts: self.recorded.attempts.clone(),
            start_time: self.recorded.start_time.as_ref().map(|time| time.0),
        }
    }

    /// Pods of a finished job that are not at their end. There are none, unless the operator was stopped between making one
    /// and writing that down, and its cache had not seen it yet when the deadline passed.
    fn leftovers(&self) -> Vec<Step> {
        let alive = self.ours().filter(|(_, pod)| !pod.deleting && !matches!(pod.life, Life::Ended(_)));
        alive.map(|(_, pod)| Step::DeletePod { name: pod.name.clone(), uid: pod.uid.clone() }).collect()
    }

    /// When the job was taken up: now, if it has not been; never, while it is suspended. From batch/v1 Job: the time is
    /// cleared by a suspension and set anew by the resumption.
    fn start_time(&self) -> Option<Timestamp> {
        let recorded = self.recorded.start_time.as_ref().map(|time| time.0);
        if self.job.suspend { None } else { recorded.or_else(|| Some(whole_seconds(self.now))) }
    }

    /// It is written down already that the job fails, and why.
    fn failing(&self) -> Option<(Reason, String)> {
        let target = status::find(self.recorded, ConditionType::FailureTarget).filter(|c| c.status == "True")?;
        Some((target.reason.parse().unwrap_or(Reason::DeadlineExceeded), target.message.clone()))
    }

    /// What the attempts that have ended make of the job.
    fn ended(&self, attempts: &[Attempt]) -> Option<Verdict> {
        if let Some(done) = attempts.iter().find(|a| a.state == AttemptState::Succeeded) {
            return Some(Verdict::Complete(words::ending(done)));
        }
        if let Some(unknown) = attempts.iter().find(|a| a.state == AttemptState::Unknown) {
            let message = format!(
                "{}; it is not run again unasked: see at the node what it has done, and make a new CmdJob if it shall run again",
                words::ending(unknown)
            );
            return Some(Verdict::Failed(Reason::UnknownEnd, message));
        }
        let last = attempts.iter().rev().find(|a| attempts::is_failure(a))?;
        let limit = self.job.backoff_limit;
        (attempts::failures(self.recorded, attempts) > limit).then(|| {
            let message = match limit {
                0 => format!("{}; spec.backoffLimit is 0, so it is not run again", words::ending(last)),
                _ => format!(
                    "{}; spec.backoffLimit allows {limit} more after the first, and they are used up",
                    words::ending(last)
                ),
            };
            Verdict::Failed(Reason::BackoffLimitExceeded, message)
        })
    }

    fn suspended(&self, attempts: &mut [Attempt]) -> Verdict {
        attempts.iter_mut().for_each(|attempt| attempts::stop(attempt, attempts::SUSPENDED));
        match attempts.iter().find(|attempt| !attempt.state.is_final()) {
            Some(alive) => Verdict::Terminating(
                Reason::Suspending,
                format!("spec.suspend is true: attempt {} on {} is being ended", alive.attempt, alive.node),
            ),
            None => Verdict::Suspended,
        }
    }

    fn overdue(&self, attempts: &mut [Attempt]) -> Verdict {
        let seconds = self.job.deadline.unwrap_or_default().as_secs();
        let message = format!("the job was active for longer than spec.activeDeadlineSeconds ({seconds} s)");
        failing(attempts, Reason::DeadlineExceeded, message)
    }

    /// No attempt is alive, and one more is wanted: make it, or say what is in the way and until when.
    fn start(&self, attempts: &[Attempt]) -> (Verdict, Option<Timestamp>) {
        let number = attempts.last().map_or(0, |last| last.attempt.cast_unsigned().saturating_add(1));
        let last_failure = attempts.iter().rev().find(|a| attempts::is_failure(a));
        if let Some((failure, ended)) = last_failure.and_then(|a| Some((a, a.finished_at.as_ref()?.0))) {
            let failures = attempts::failures(self.recorded, attempts);
            let until = later(ended, backoff::after_attempt(failures));
            if until > self.now {
                let message = format!(
                    "{}; attempt {number} starts at {until} ({failures} failed so far, spec.backoffLimit is {})",
                    words::ending(failure),
                    self.job.backoff_limit
                );
                return (Verdict::Waiting(Reason::BackOff, message), Some(until));
            }
        }
        if number != attempts::next_number(self.recorded) || self.recorded.attempts.iter().any(|a| !a.state.is_final())
        {
            let message = "the end of the last attempt is being written down".to_owned();
            return (Verdict::Waiting(Reason::Recording, message), None);
        }
        let node = &self.job.target;
        let waiting = |reason, message| (Verdict::Waiting(reason, message), None);
        match &self.seen.node {
            NodeSeen::Missing => waiting(
                Reason::NodeMissing,
                format!(
                    "no vk-cmd node has the name {node}: start it at the site with \"vk-node run --node-name {node}\"; if the \
                     name is wrong, make a new CmdJob with another spec.target.node (kubectl get nodes -l type=virtual-kubelet \
                     lists them)"
                ),
            ),
            NodeSeen::NotReady(why) => waiting(
                Reason::NodeNotReady,
                format!(
                    "node {node} is not ready{}: the job starts when it is; see at the site whether \"vk-node run --node-name \
                     {node}\" is running",
                    why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
                ),
            ),
            NodeSeen::Cordoned => waiting(
                Reason::NodeCordoned,
                format!(
                    "node {node} is cordoned and takes no new work: the job starts after \"kubectl uncordon {node}\""
                ),
            ),
            NodeSeen::Ready => (Verdict::Starting(number), None),
        }
    }

    /// What the pods of living attempts say about not running.
    fn hint(&self) -> Option<String> {
        self.ours().find_map(|(_, pod)| match (&pod.life, pod.deleting) {
            (Life::Ended(_), _) => None,
            (_, true) => Some(format!("its pod {} is being deleted, and the node is ending the process", pod.name)),
            (Life::Pending(obstacle), false) => obstacle.clone(),
            (Life::Running(_), false) => None,
        })
    }

    fn ours(&self) -> impl Iterator<Item = (u32, &PodSeen)> {
        self.seen.pods.iter().filter_map(|(number, sight)| match sight {
            Sight::Ours(pod) => Some((*number, pod)),
            Sight::Foreign | Sight::Gone => None,
        })
    }

    fn steps(&self, verdict: &Verdict, attempts: &[Attempt]) -> Vec<Step> {
        if let Verdict::Starting(number) = verdict {
            return vec![Step::CreatePod { attempt: *number, pod: Box::new(pod::build(self.job, *number)) }];
        }
        // Only what is recorded as being ended, not what has just been marked: see "written down first" above.
        let recorded = |a: &Attempt| {
            self.recorded.attempts.iter().any(|r| r.pod_uid == a.pod_uid && r.state == AttemptState::Stopping)
        };
        attempts
            .iter()
            .filter(|attempt| attempt.state == AttemptState::Stopping && recorded(attempt))
            .filter(|attempt| self.ours().any(|(_, pod)| pod.uid == attempt.pod_uid && !pod.deleting))
            .map(|attempt| Step::DeletePod { name: attempt.pod.clone(), uid: attempt.pod_uid.clone() })
            .collect()
    }

    fn until(&self, time: Timestamp) -> SignedDuration {
        time.duration_since(self.now).max(SignedDuration::ZERO)
    }
}

/// The job fails for this reason, as soon as nothing of it is left.
fn failing(attempts: &mut [Attempt], reason: Reason, message: String) -> Verdict {
    attempts.iter_mut().for_each(|attempt| attempts::stop(attempt, reason.into()));
    if attempts.iter().all(|attempt| attempt.state.is_final()) {
        Verdict::Failed(reason, message)
    } else {
        Verdict::Failing(reason, message)
    }
}

/// `time` + `length`, or the end of time.
fn later(time: Timestamp, length: SignedDuration) -> Timestamp {
    time.checked_add(length).unwrap_or(Timestamp::MAX)
}
