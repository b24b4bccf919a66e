//! What to do next about one CmdJob.
//!
//! ```text
//!                    ┌────── dependency, back-off, no node, no room … ◄───────┐
//!                    ▼                                                        │ more is wanted
//!  (new) ───────► Waiting ──create pods─► Pending ──► Running ────────────────┤
//!                    │ ▲                     │           │                    ├──► Complete ──┐
//!            suspend │ │ resume      suspend, deadline,  │                    │               ├─ttl─► deleted
//!                    ▼ │             policy, deletion    │                    └──► Failed ────┘
//!                 Suspended ◄──────────── Terminating ◄──┘                           ▲
//!                                              └────── Complete | Failed ────────────┘
//! ```
//!
//! Three rules keep this safe whatever is lost on the way:
//! - *Names are locks.* The pod of an attempt has one name; making it twice is refused by the API server.
//! - *A pod leaves only after it was counted* (see [`crate::ledger`]), and a job only after its pods. A job that is finished or
//!   suspended and its pods are held by nobody: who deletes them, their namespace or the whole API needs no operator for that.
//! - *Written down first.* A decision that the world does not show afterwards (this process was ended because of the
//!   suspension; the deadline has passed) goes into the status before it is acted on, and an attempt is followed by the next
//!   one only when its end is in the status as it was read.

mod leave;
mod starts;
mod verdict;

use jiff::{SignedDuration, Timestamp};
use vk_cmd_crds::{Attempt, CmdJobStatus, ConditionType, Reason};

use crate::attempts;
use crate::ledger::Counted;
use crate::seen::{Life, PodSeen, Seen};
use crate::status;
use crate::survey::{Survey, stop_reason};
use crate::validate::ValidJob;
use crate::words;

pub use self::leave::{Leave, leave};
pub use self::starts::Start;

/// What to do, and what to say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// The attempts to make after that, the most wanted first, as far as there is room for them.
    pub starts: Vec<Start>,
    /// In how long to look again though nothing has happened.
    pub look_again: Option<SignedDuration>,
    /// How the job stands.
    pub verdict: Verdict,
    /// What has been counted.
    pub counted: Counted,
    /// How many pods are in which state.
    pub tally: Tally,
    /// The attempts to show, by index and attempt.
    pub attempts: Vec<Attempt>,
    /// The node that cannot say what its processes do, in words, if there is one.
    pub unheard: Option<String>,
    /// What keeps a pod that is made from starting, if somebody has said so.
    pub obstacle: Option<String>,
    /// Of a job for every node: the nodes, by index.
    pub nodes: Vec<String>,
    /// When it was taken up.
    pub start_time: Option<Timestamp>,
}

impl Plan {
    /// Whether it is said that nothing of the job runs.
    pub fn says_still(&self) -> bool {
        match self.verdict {
            Verdict::Suspended | Verdict::Complete(..) | Verdict::Failed(..) => true,
            Verdict::Finished
            | Verdict::Waiting(..)
            | Verdict::Active
            | Verdict::Terminating(..)
            | Verdict::Failing(..)
            | Verdict::Succeeding(..) => false,
        }
    }
}

/// How many pods are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Neither ended nor being ended.
    pub active: u32,
    /// Of these, the ones that say they are ready.
    pub ready: u32,
    /// Being ended.
    pub terminating: u32,
}

impl Tally {
    /// Of pods that are not over.
    fn of(open: &[&PodSeen]) -> Self {
        let count = |pods: usize| u32::try_from(pods).unwrap_or(u32::MAX);
        let active = || open.iter().filter(|pod| !pod.deleting);
        let is_ready =
            |pod: &&&PodSeen| pod.conditions.iter().any(|(kind, status)| kind == "Ready" && status == "True");
        let is_ending = |pod: &&&PodSeen| pod.deleting;
        Self {
            active: count(active().count()),
            ready: count(active().filter(is_ready).count()),
            terminating: count(open.iter().filter(is_ending).count()),
        }
    }
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Give the CmdJob its finalizer, so that it stays until its processes are gone.
    HoldJob,
    /// Delete a pod, if it still has this UID.
    DeletePod {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// Its resource version, where it must not have changed either: a pod of a job that is deleted may have been taken from it
        /// (`kubectl delete --cascade=orphan`), and then goes on.
        version: Option<u64>,
    },
    /// Take the finalizer from a pod, if it still has this UID: it has been counted, and is to be deleted, or the job is finished or suspended.
    ReleasePod {
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
    },
    /// Delete the CmdJob, if it is still the object that was decided on, unchanged.
    DeleteJob,
    /// Take the finalizer from the CmdJob: nothing of it runs any more, nor will. Only if no pod of the job with a finalizer may be there that
    /// the caches do not know.
    ReleaseJob,
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is finished, and the status says so already.
    Finished,
    /// It cannot go on for now.
    Waiting(Reason, String),
    /// It goes on: pods are there or about to be.
    Active,
    /// Processes are being ended.
    Terminating(Reason, String),
    /// It is decided that the job fails, for this reason; processes are being ended.
    Failing(Reason, String),
    /// It is decided that the job succeeds, for this reason; processes are being ended.
    Succeeding(Reason, String),
    /// Suspended, and nothing is left of it.
    Suspended,
    /// It has succeeded.
    Complete(Reason, String),
    /// It has failed.
    Failed(Reason, String),
}

impl Verdict {
    /// What is decided about the job for good, and why.
    pub(crate) fn decided(&self) -> Option<(Reason, &str)> {
        match self {
            Self::Failing(reason, message)
            | Self::Failed(reason, message)
            | Self::Succeeding(reason, message)
            | Self::Complete(reason, message) => Some((*reason, message)),
            Self::Finished | Self::Waiting(..) | Self::Active | Self::Terminating(..) | Self::Suspended => None,
        }
    }
}

/// Decides.
pub fn plan(job: &ValidJob<'_>, recorded: &CmdJobStatus, seen: &Seen, now: Timestamp) -> Plan {
    if let Some(finished) = status::finished_at(recorded) {
        return Planner::new(job, recorded, seen, now).finished(finished);
    }
    Planner::new(job, recorded, seen, now).unfinished()
}

struct Planner<'a> {
    job: &'a ValidJob<'a>,
    recorded: &'a CmdJobStatus,
    seen: &'a Seen,
    now: Timestamp,
    survey: Survey<'a>,
    /// Of a job for every node: its nodes, by index, and whether they are written down.
    nodes: Vec<String>,
}

/// A verdict, what to start, and until when nothing will change by itself.
struct Course {
    verdict: Verdict,
    starts: Vec<Start>,
    until: Option<Timestamp>,
}

impl Course {
    fn of(verdict: Verdict) -> Self {
        Self { verdict, starts: Vec::new(), until: None }
    }
}

impl<'a> Planner<'a> {
    fn new(job: &'a ValidJob<'a>, recorded: &'a CmdJobStatus, seen: &'a Seen, now: Timestamp) -> Self {
        let survey = Survey::of(job, recorded, seen, now);
        Self { job, recorded, seen, now, survey, nodes: recorded.nodes.clone() }
    }

    fn unfinished(mut self) -> Plan {
        let start_time = self.start_time();
        let deadline = self.job.deadline.zip(start_time).map(|(length, start)| later(start, length));
        let course = self.course(deadline);
        // What is past has been decided on, and asks for no look: there would be no end of them until the processes are gone.
        let until =
            [course.until, deadline, self.survey.lost_at].into_iter().flatten().filter(|at| *at > self.now).min();
        let steps = self.steps(&course);
        Plan {
            steps,
            look_again: until.map(|time| self.until(time)),
            tally: Tally::of(&self.survey.open),
            attempts: self.shown(&course.verdict),
            unheard: words::unheard(&self.survey.open, &self.seen.nodes),
            obstacle: self.obstacle(),
            verdict: course.verdict,
            starts: course.starts,
            counted: self.survey.after,
            nodes: self.nodes,
            start_time,
        }
    }

    /// The job is finished: nothing remains but to leave nothing behind, to let it go, and to delete it when its time is over.
    fn finished(self, finished: Timestamp) -> Plan {
        let due = self.job.ttl.map(|ttl| later(finished, ttl)).filter(|_| !self.job.object.deleting);
        let mut steps = self.leave();
        let look_again = match due {
            Some(due) if due <= self.now => {
                // It is let go when it is being deleted: in another version it would not be deleted now.
                steps.retain(|step| *step != Step::ReleaseJob);
                steps.push(Step::DeleteJob);
                None
            }
            due => due.map(|due| self.until(due)),
        };
        Plan {
            steps,
            starts: Vec::new(),
            look_again,
            verdict: Verdict::Finished,
            tally: Tally::default(),
            attempts: self.recorded.attempts.clone(),
            unheard: None,
            obstacle: None,
            counted: self.survey.before,
            nodes: self.nodes,
            start_time: self.recorded.start_time.as_ref().map(|time| time.0),
        }
    }

    /// When the job was taken up: now, if it has not been; never, while it is suspended. From batch/v1 Job: the time is
    /// cleared by a suspension and set anew by the resumption.
    fn start_time(&self) -> Option<Timestamp> {
        let recorded = self.recorded.start_time.as_ref().map(|time| time.0);
        if self.job.suspend { None } else { recorded.or_else(|| Some(attempts::whole_seconds(self.now))) }
    }

    fn steps(&self, course: &Course) -> Vec<Step> {
        if self.job.object.deleting || self.is_at_rest(course) {
            return self.leave();
        }
        let leaving = self.survey.to_release.iter().filter(|pod| pod.deleting);
        let mut steps: Vec<Step> = leaving.filter_map(|pod| release(pod)).collect();
        // Of a suspended job that was let go a pod may come late, made by who was the leader before.
        let runs = !course.starts.is_empty() || !self.survey.open.is_empty();
        if runs && !self.job.object.is_held() {
            steps.push(Step::HoldJob);
        }
        // Only what is recorded, not what has just been decided: see "written down first" above.
        let is_final = |kind| status::find(self.recorded, kind).is_some_and(|condition| condition.status == "True");
        let all = is_final(ConditionType::FailureTarget) || is_final(ConditionType::SuccessCriteriaMet);
        let to_end = self.survey.active().filter(|pod| all || self.survey.before.stopping.contains(pod.index));
        steps.extend(to_end.map(|pod| delete(pod, None)));
        steps
    }

    /// Whether the job is suspended, nothing of it is left that runs or is still to be counted, and all of that is written down.
    fn is_at_rest(&self, course: &Course) -> bool {
        let is_recorded =
            status::find(self.recorded, ConditionType::Suspended).is_some_and(|said| said.status == "True");
        course.verdict == Verdict::Suspended && is_recorded && self.survey.counted_now.is_empty()
    }

    fn leave(&self) -> Vec<Step> {
        leave(&self.job.object, &self.seen.pods, &self.seen.nodes).steps
    }

    fn shown(&self, verdict: &Verdict) -> Vec<Attempt> {
        // Whoever is still open when all is decided is being ended for that reason.
        let all = verdict.decided().map(|(reason, _)| <&str>::from(reason));
        let open = self.survey.open.iter().map(|pod| {
            let stopping = self.survey.is_stopping(pod).then(|| stop_reason(self.job)).or(all);
            attempts::open(pod, stopping)
        });
        attempts::shown(self.recorded, self.survey.counted_now.clone(), open.collect())
    }

    fn obstacle(&self) -> Option<String> {
        self.survey.open.iter().find_map(|pod| match (&pod.life, pod.deleting) {
            (_, true) => Some(format!("its pod {} is being deleted, and the node is ending the process", pod.name)),
            (Life::Pending(obstacle), false) => obstacle.clone(),
            (Life::Running(_) | Life::Lost(_) | Life::Ended(_), false) => None,
        })
    }

    fn until(&self, time: Timestamp) -> SignedDuration {
        time.duration_since(self.now).max(SignedDuration::ZERO)
    }
}

fn delete(pod: &PodSeen, version: Option<u64>) -> Step {
    Step::DeletePod { name: pod.name.clone(), uid: pod.uid.clone(), version }
}

/// A pod that has been counted is let go when it is to be deleted, or with all others when the job is finished: until then, one of a
/// job of many costs no write of its own while there are others to start.
fn release(pod: &PodSeen) -> Option<Step> {
    pod.held.then(|| Step::ReleasePod { name: pod.name.clone(), uid: pod.uid.clone() })
}

/// `time` + `length`, or the end of time.
fn later(time: Timestamp, length: SignedDuration) -> Timestamp {
    time.checked_add(length).unwrap_or(Timestamp::MAX)
}
