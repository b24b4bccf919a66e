//! How a job stands. The order of the questions is that of the Job controller (`syncJob`): what is decided already, failures,
//! successes, suspension, and only then what to start.

use jiff::Timestamp;
use vk_cmd_crds::{After, ConditionType, Reason, When};
use vk_words::counted;

use super::{Course, Planner, Verdict};
use crate::seen::Dependency;
use crate::validate::Completions;
use crate::{judge, status, words};

impl Planner<'_> {
    pub(super) fn course(&mut self, deadline: Option<Timestamp>) -> Course {
        if self.job.object.deleting {
            return Course::of(Verdict::Terminating(Reason::Deleting, words::DELETING.to_owned()));
        }
        if let Some((reason, message)) = self.decided(ConditionType::FailureTarget) {
            return Course::of(self.failing(reason, message));
        }
        if let Some((reason, message)) = self.decided(ConditionType::SuccessCriteriaMet) {
            return Course::of(self.succeeding(reason, message));
        }
        if let Some((reason, message)) = self.failure(deadline) {
            return Course::of(self.failing(reason, message));
        }
        if let Some(message) = judge::success(&self.job.success_policy, &self.survey.after.done) {
            return Course::of(self.succeeding(Reason::SuccessPolicy, message));
        }
        if self.is_complete() {
            return Course::of(self.succeeding(Reason::CompletionsReached, self.completed()));
        }
        if self.job.suspend {
            return Course::of(self.suspended());
        }
        self.take_nodes();
        if let Some(course) = self.dependencies() {
            return course;
        }
        self.start()
    }

    /// It is written down already what becomes of the job, and why.
    fn decided(&self, kind: ConditionType) -> Option<(Reason, String)> {
        let target = status::find(self.recorded, kind).filter(|condition| condition.status == "True")?;
        // A reason that is not ours was not written by us; what the condition says stands all the same.
        Some((target.reason.parse().unwrap_or(Reason::Invalid), target.message.clone()))
    }

    /// Why the job fails, if it does.
    fn failure(&self, deadline: Option<Timestamp>) -> Option<(Reason, String)> {
        if let Some(why) = &self.survey.fails_job {
            return Some(why.clone());
        }
        let (job, after) = (self.job, &self.survey.after);
        if after.failures > job.backoff_limit {
            return Some((Reason::BackoffLimitExceeded, self.used_up()));
        }
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            let seconds = job.deadline.unwrap_or_default().as_secs();
            let message = format!("the job was active for longer than spec.activeDeadlineSeconds ({seconds} s)");
            return Some((Reason::DeadlineExceeded, message));
        }
        if job.max_failed_indexes.is_some_and(|most| after.failed.len() > most) {
            let message = format!("more indexes have failed ({}) than spec.maxFailedIndexes allows", after.failed);
            return Some((Reason::MaxFailedIndexesExceeded, message));
        }
        let ended = after.failed.len().saturating_add(after.done.len());
        (!after.failed.is_empty() && self.total().is_some_and(|total| ended >= total)).then(|| {
            (Reason::FailedIndexes, format!("all indexes have ended, and these have failed: {}", after.failed))
        })
    }

    /// How many successes are wanted, if that is known.
    pub(super) fn total(&self) -> Option<u32> {
        match self.job.completions {
            Completions::Of(total) => Some(total),
            Completions::Any => None,
            Completions::EveryNode if self.nodes.is_empty() => None,
            Completions::EveryNode => u32::try_from(self.nodes.len()).ok(),
        }
    }

    fn is_complete(&self) -> bool {
        let after = &self.survey.after;
        match self.total() {
            Some(total) => after.done.len() >= total && self.survey.open.is_empty(),
            None => after.succeeded > 0 && self.survey.open.is_empty(),
        }
    }

    fn failing(&self, reason: Reason, message: String) -> Verdict {
        if self.survey.open.is_empty() { Verdict::Failed(reason, message) } else { Verdict::Failing(reason, message) }
    }

    fn succeeding(&self, reason: Reason, message: String) -> Verdict {
        if self.survey.open.is_empty() {
            Verdict::Complete(reason, message)
        } else {
            Verdict::Succeeding(reason, message)
        }
    }

    /// Suspended: nothing is started, and what runs is ended, none of it counting.
    fn suspended(&mut self) -> Verdict {
        let open: Vec<u32> = self.survey.open.iter().map(|pod| pod.index).collect();
        open.iter().for_each(|index| self.survey.after.stopping.insert(*index));
        if open.is_empty() {
            return Verdict::Suspended;
        }
        Verdict::Terminating(Reason::Suspending, "spec.suspend is true: what runs is being ended".to_owned())
    }

    /// What the job waits for that is not there.
    fn dependencies(&self) -> Option<Course> {
        // Once it has begun, it has been waited for.
        if self.has_begun() {
            return None;
        }
        let known = |after: &After| self.seen.after.get(&after.name).copied().unwrap_or(Dependency::Missing);
        for after in self.job.after {
            let met = match (known(after), after.when) {
                (Dependency::Complete, When::Complete | When::Finished)
                | (Dependency::Failed, When::Failed | When::Finished) => continue,
                (Dependency::Complete, When::Failed) => Err("has succeeded"),
                (Dependency::Failed, When::Complete) => Err("has failed"),
                (Dependency::Missing, _) => Ok((Reason::Dependency, "there is none of that name yet")),
                (Dependency::Unfinished, _) => Ok((Reason::Dependency, "it is not finished")),
                (Dependency::Cycle, _) => Ok((
                    Reason::DependencyCycle,
                    "that one waits for this one: delete one of them and break the circle",
                )),
            };
            let wanted = format!("spec.after waits for CmdJob {} to be {}", after.name, after.when);
            return Some(Course::of(match met {
                Ok((reason, why)) => Verdict::Waiting(reason, format!("{wanted}: {why}")),
                Err(what) => self.failing(
                    Reason::DependencyNeverSatisfied,
                    format!(
                        "{wanted}, and it {what}: this job is never run; make a new CmdJob if it shall run all the same"
                    ),
                ),
            }));
        }
        None
    }

    fn has_begun(&self) -> bool {
        let after = &self.survey.after;
        !self.seen.pods.is_empty() || after.succeeded > 0 || after.failures > 0 || !after.tries.is_empty()
    }

    /// A job for every node takes those that are there when it is taken up, and remembers them.
    fn take_nodes(&mut self) {
        if self.job.completions == Completions::EveryNode && self.nodes.is_empty() && !self.job.suspend {
            self.nodes = self.seen.targets.iter().cloned().collect();
        }
    }

    fn used_up(&self) -> String {
        let last = self.survey.last_ends(self.recorded);
        let last = last.iter().find(|attempt| words::is_failure(attempt)).map(|a| words::ending(self.job, a));
        let last = last.unwrap_or_else(|| "attempts have failed".to_owned());
        match self.job.backoff_limit {
            0 => format!("{last}; spec.backoffLimit is 0, so it is not run again"),
            limit => format!("{last}; spec.backoffLimit allows {limit} more after the first, and they are used up"),
        }
    }

    fn completed(&self) -> String {
        let last = self.survey.last_ends(self.recorded);
        match self.total() {
            Some(1) | None if self.survey.after.succeeded == 1 => last
                .iter()
                .find(|attempt| attempt.exit_code == Some(0))
                .map_or_else(|| "it has succeeded".to_owned(), |attempt| words::ending(self.job, attempt)),
            _ => format!("{} succeeded", counted(self.survey.after.succeeded, "attempt has", "attempts have")),
        }
    }
}
