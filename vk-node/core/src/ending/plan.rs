//! What is configured of the end of a node.

use std::time::Duration;

use super::Warning;

/// What is configured of the end of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndPlan {
    /// `walltimeMarginSeconds`: so long before its end the node is Ending.
    pub margin: Duration,
    /// `walltimeCheckSeconds`: how often the batch system is asked for the time that is left.
    pub check_every: Duration,
    /// `killWaitSeconds`: how long after its TERM the batch system sends KILL.
    pub kill_wait: Duration,
    /// `noticeSeconds`: how long after its USR1 the batch system ends the job.
    pub notice: Duration,
    /// `warningSignal`: the signal for tasks of pods that name none themselves.
    pub warning: Option<Warning>,
    /// `onTerm`.
    pub on_term: OnTerm,
}

/// What TERM and INT mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTerm {
    /// In a job of a batch system [`Self::End`], elsewhere [`Self::Keep`].
    #[default]
    Auto,
    /// This process ends, the tasks go on, and the next start takes them up.
    Keep,
    /// The node ends, and its tasks with it.
    End,
}

impl OnTerm {
    /// By their words in the configuration.
    pub const WORDS: [(&'static str, Self); 3] = [("auto", Self::Auto), ("keep", Self::Keep), ("end", Self::End)];

    /// Whether the node ends.
    #[must_use]
    pub fn ends(self, is_in_batch_job: bool) -> bool {
        match self {
            Self::Auto => is_in_batch_job,
            Self::Keep => false,
            Self::End => true,
        }
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Keep => "keep",
            Self::End => "end",
        }
    }
}

impl Default for EndPlan {
    /// Slurm's figures where it has them: `KillWait`, and the time of `--signal`.
    fn default() -> Self {
        Self {
            margin: Duration::from_secs(120),
            check_every: Duration::from_secs(300),
            kill_wait: Duration::from_secs(30),
            notice: Duration::from_secs(60),
            warning: None,
            on_term: OnTerm::default(),
        }
    }
}
