//! The end of a node: when it is, and what becomes of its pods until then.
//!
//! ```text
//!              margin before the end,          the middle of that time            nothing runs,
//!              or USR1                          (TERM: at once)                    all is told
//!   ┌─────────┐ ─────────────▶ ┌────────┐ ─────────────────────▶ ┌─────────┐ ───────────────────▶ ┌──────┐
//!   │ Serving │                │ Ending │                        │ Closing │                      │ left │
//!   └─────────┘ ◀───────────── └────────┘                        └─────────┘                      └──────┘
//!        ▲      the end has     is cordoned by the operator;      takes nothing new; goes as          │ its Node object is
//!        │      moved away      takes only what is sure           soon as nothing of it is left       ▼ removed by the operator
//!        └────────────────────── to end before ◀──────────────────────┘
//! ```
//!
//! For each pod, by what it is given itself:
//!
//! ```text
//!   runs ──▶ warning signal ──▶ preStop, TERM ───────────────▶ KILL ──▶ Failed, WalltimeExceeded, DisruptionTarget
//!             so long before     its grace before the KILL,     in time to tell of it (`kill_by`)
//!             the end            as far as the margin goes;
//!                                after TERM to the node at once
//! ```
//!
//! All times here are since the host was started (`CLOCK_BOOTTIME`), which nobody can set: a wall clock that is set ends no node
//! and keeps none alive. What others are shown is turned into the wall clock's time by the clock's steps.

mod batch;
mod job_term;
mod length;
mod plan;
mod stay;
mod takes;
mod warning;

use std::time::Duration;

pub use self::batch::{Batch, Left, is_preempted, qstat, squeue};
pub use self::job_term::{Came, JobTerm, Whose};
pub use self::length::{LengthError, length};
pub use self::plan::{EndPlan, OnTerm};
pub use self::stay::{Former, Here, Stay};
pub use self::takes::{EndFacts, NODE_SHUTDOWN, NoTime, OUT_OF_WALLTIME, SHUTDOWN, TERMINATED, WALLTIME_EXCEEDED};
pub use self::warning::{InvalidWarning, Warning};

/// The most that is kept between the last KILL and the end, for telling how all has ended.
const LONGEST_RESERVE: Duration = Duration::from_secs(10);
/// An end that is learned anew and differs by no more is the same: those who tell of it round, and take time to answer.
pub(crate) const SAME: Duration = Duration::from_secs(5);
/// Who is asked again near the end is asked so often at most.
const OFTEN: Duration = Duration::from_secs(10);

/// What is said of how long a node is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walltime {
    /// `--walltime`, `walltimeSeconds`: it counts for more than what a batch system says. Zero: there is no end.
    pub said: Option<Duration>,
    /// `JIRIAF_WALLTIME`: it counts where nobody else knows.
    pub assumed: Option<Duration>,
}

/// Who says when the node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--walltime` or `walltimeSeconds`.
    Configured,
    /// `SLURM_JOB_END_TIME`.
    SlurmEnvironment,
    /// `squeue`.
    Squeue,
    /// `PBS_WALLTIME`.
    PbsEnvironment,
    /// `qstat`.
    Qstat,
    /// `JIRIAF_WALLTIME`.
    Jiriaf,
    /// A signal, and how long there is after it.
    Signal,
}

impl Source {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Configured => "its configuration",
            Self::SlurmEnvironment => "SLURM_JOB_END_TIME",
            Self::Squeue => "squeue",
            Self::PbsEnvironment => "PBS_WALLTIME",
            Self::Qstat => "qstat",
            Self::Jiriaf => "JIRIAF_WALLTIME",
            Self::Signal => "a signal",
        }
    }
}

/// When the node ends, as somebody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Since boot.
    pub at: Duration,
    /// Who says so.
    pub source: Source,
}

/// What the batch system says of the end of its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchSays {
    /// There is none, or it has not said anything yet.
    #[default]
    Nothing,
    /// There is none.
    Never,
    /// Then.
    Ends(Ends),
}

impl BatchSays {
    /// After an answer at this time.
    #[must_use]
    pub fn after(self, left: Left, source: Source, now: Duration) -> Self {
        let new = match left {
            Left::Unknown => return self,
            Left::Unlimited => return Self::Never,
            Left::For(left) => now.saturating_add(left),
        };
        match self {
            Self::Ends(known) if known.at.abs_diff(new) <= SAME => self,
            Self::Nothing | Self::Never | Self::Ends(_) => Self::Ends(Ends { at: new, source }),
        }
    }
}

/// When a node ends that was started at a time: by its configuration, else by its batch system, else as is assumed.
#[must_use]
pub fn ends(walltime: &Walltime, batch: BatchSays, started: Duration) -> Option<Ends> {
    let after = |length: Duration, source| {
        (!length.is_zero()).then(|| Some(Ends { at: started.checked_add(length)?, source })).flatten()
    };
    match (walltime.said, batch) {
        (Some(said), _) => after(said, Source::Configured),
        (None, BatchSays::Ends(ends)) => Some(ends),
        (None, BatchSays::Never) => None,
        (None, BatchSays::Nothing) => after(walltime.assumed?, Source::Jiriaf),
    }
}

/// When the batch system is to be asked again, of which so much is known: more often as the end comes near, for that is when it
/// matters whether it has moved.
#[must_use]
pub fn ask_after(plan: &EndPlan, batch: BatchSays, now: Duration) -> Duration {
    let near = match batch {
        BatchSays::Ends(ends) => ends.at.saturating_sub(plan.margin).saturating_sub(now) / 2,
        BatchSays::Nothing | BatchSays::Never => plan.check_every,
    };
    near.max(OFTEN).min(plan.check_every)
}

/// What this process was told by signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// When USR1 came: the end is near.
    pub notice: Option<Duration>,
    /// When TERM or INT came that ends the node.
    pub term: Option<Duration>,
    /// Whether the batch system says that the job was preempted.
    pub preempted: bool,
}

/// Why a node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time is over.
    Walltime,
    /// It was told to.
    Signalled,
    /// It was told to, because others need the machine.
    Preempted,
    /// It does not end: its site's administrator has it take nothing new.
    Drained,
}

impl Cause {
    /// The `reason` of the Node's condition `vk-cmd.io/Ending`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Walltime => "WalltimeNearlyOver",
            Self::Signalled => "Signalled",
            Self::Preempted => "Preempted",
            Self::Drained => vk_cmd_crds::labels::DRAINED,
        }
    }
}

/// The end of a node, as it is known at a moment. All times are since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeEnd {
    /// Why.
    pub cause: Cause,
    /// Who says when.
    pub source: Source,
    /// When everything here is ended by others, or is to have ended.
    pub at: Duration,
    /// From when on the node is Ending.
    pub ending_from: Duration,
    /// From when on it takes nothing new and goes as soon as nothing is left.
    pub closes_at: Duration,
    /// When the last process is killed.
    pub kill_by: Duration,
    /// The longest time between TERM and KILL for which there is room.
    pub longest_grace: Duration,
    /// Whether TERM is sent now, for somebody wants the machine; or as late as there is time for each pod's grace.
    pub at_once: bool,
}

/// How far a node is on the way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Serving,
    /// Its end is near.
    Ending,
    /// It takes nothing new, and goes when nothing is left.
    Closing,
}

impl NodeEnd {
    /// The end of a node whose end is said to be then, and that was told this. None: none is known.
    #[must_use]
    pub fn of(plan: &EndPlan, ends: Option<Ends>, told: Told) -> Option<Self> {
        if let Some(term) = told.term {
            // At its end a job is sent TERM too.
            let is_due = ends.is_some_and(|ends| term.saturating_add(SAME) >= ends.at);
            let cause = match (is_due, told.preempted) {
                (true, _) => Cause::Walltime,
                (false, true) => Cause::Preempted,
                (false, false) => Cause::Signalled,
            };
            let at = term.saturating_add(plan.kill_wait);
            let longest_grace = plan.kill_wait.saturating_sub(LONGEST_RESERVE.min(plan.kill_wait / 3));
            let kill_by = term.saturating_add(longest_grace);
            let source = Source::Signal;
            let (ending_from, closes_at, at_once) = (term, term, true);
            return Some(Self { cause, source, at, ending_from, closes_at, kill_by, longest_grace, at_once });
        }
        let (cause, Ends { at, source }) = match (ends, told.notice) {
            (Some(ends), _) => (Cause::Walltime, ends),
            (None, Some(notice)) => {
                (Cause::Signalled, Ends { at: notice.saturating_add(plan.notice), source: Source::Signal })
            }
            (None, None) => return None,
        };
        let by_margin = at.saturating_sub(plan.margin);
        let ending_from = match (told.notice, ends) {
            (Some(notice), Some(_)) => notice.min(by_margin),
            (Some(notice), None) => notice,
            (None, _) => by_margin,
        };
        // USR1 may come an hour before the end: that is for the tasks, and no reason to be idle for half of it.
        let span = at.saturating_sub(ending_from.max(by_margin));
        Some(Self {
            cause,
            source,
            at,
            ending_from,
            closes_at: at.saturating_sub(span / 2),
            kill_by: at.saturating_sub(LONGEST_RESERVE.min(span / 4)),
            longest_grace: span.saturating_sub(LONGEST_RESERVE.min(span / 4)),
            at_once: false,
        })
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self, now: Duration) -> Phase {
        match now {
            _ if now >= self.closes_at => Phase::Closing,
            _ if now >= self.ending_from => Phase::Ending,
            _ => Phase::Serving,
        }
    }

    /// When the next phase begins, if there is one.
    #[must_use]
    pub fn next_phase_at(&self, now: Duration) -> Option<Duration> {
        [self.ending_from, self.closes_at].into_iter().filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests;
