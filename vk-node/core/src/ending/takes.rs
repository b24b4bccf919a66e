//! What the end of a node means for its pods: the times of the wall clock that runs now, and what has no time any more.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use vk_task::{StopRequest, TaskView};

use super::{Cause, NodeEnd, Phase, Warning};

/// The end of a node, for deciding about its pods. Times are the wall clock's that runs now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndFacts {
    /// Why.
    pub cause: Cause,
    /// How far the node is.
    pub phase: Phase,
    /// When everything here is ended by others.
    pub at: Timestamp,
    /// The same, since boot: one end is told from another by it.
    pub at_boot: Duration,
    /// When the last process is killed.
    pub kill_by: Timestamp,
    /// The longest time between TERM and KILL.
    pub longest_grace: SignedDuration,
    /// Whether pods are told to end now.
    pub at_once: bool,
    /// The signal that tasks are warned with where their pod names none.
    pub warning: Option<Warning>,
    /// Why pods are ended, for people.
    pub message: String,
    /// Whether the node takes nothing new, however far its end is.
    pub is_drained: bool,
}

/// There is no time for a pod any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NoTime {
    cause: Cause,
    phase: Phase,
    at: Timestamp,
    /// When its processes would be told to end.
    until: Timestamp,
    /// `activeDeadlineSeconds`.
    deadline: Option<u32>,
}

/// The `reason` of a pod that is ended because its node's time is over, and of its containers.
pub const WALLTIME_EXCEEDED: &str = "WalltimeExceeded";
/// The `reason` of a pod that is ended because its node was told to end: the kubelet's word.
pub const TERMINATED: &str = "Terminated";
/// The `reason` of a pod that is refused because its node ends too soon.
pub const OUT_OF_WALLTIME: &str = "OutOfWalltime";
/// The `reason` of a pod that is refused because its node was told to end: the kubelet's word.
pub const NODE_SHUTDOWN: &str = "NodeShutdown";
/// Why a pod is ended whose node was told to end, for people: the kubelet's words.
pub const SHUTDOWN: &str = "Pod was terminated in response to imminent node shutdown.";

impl Cause {
    /// The `reason` of the pods that are ended.
    #[must_use]
    pub fn pod_reason(self) -> &'static str {
        match self {
            Self::Walltime => WALLTIME_EXCEEDED,
            Self::Signalled | Self::Preempted | Self::Drained => TERMINATED,
        }
    }

    /// The `reason` of the pods that are not taken, or not begun.
    #[must_use]
    pub fn refusal(self) -> &'static str {
        match self {
            Self::Walltime => OUT_OF_WALLTIME,
            Self::Signalled | Self::Preempted | Self::Drained => NODE_SHUTDOWN,
        }
    }
}

impl EndFacts {
    /// Of an end, at a moment since boot; `wall` is what the clock that runs now shows at one.
    #[must_use]
    pub fn of(end: &NodeEnd, warning: Option<Warning>, now: Duration, wall: impl Fn(Duration) -> Timestamp) -> Self {
        let at = wall(end.at);
        let message = match end.cause {
            Cause::Walltime => format!("the node's walltime is over at {} (by {})", whole(at), end.source.words()),
            Cause::Signalled => SHUTDOWN.to_owned(),
            Cause::Preempted => {
                "Pod was terminated in response to imminent node shutdown: its batch job was preempted.".to_owned()
            }
            Cause::Drained => String::new(),
        };
        Self {
            cause: end.cause,
            phase: end.phase(now),
            at,
            at_boot: end.at,
            kill_by: wall(end.kill_by),
            at_once: end.at_once,
            longest_grace: SignedDuration::try_from(end.longest_grace).unwrap_or(SignedDuration::MAX),
            warning,
            message,
            is_drained: false,
        }
    }

    /// Of a node that is drained at this moment: nothing new is taken, and what runs goes on. `end` is its end, if one is known.
    #[must_use]
    pub fn drained(end: Option<Self>, now: Timestamp, now_boot: Duration) -> Self {
        /// So far away that nothing is done for it.
        const FAR: Duration = Duration::from_secs(10 * 365 * 86_400);
        let far = || {
            let at = now.saturating_add(FAR).unwrap_or(Timestamp::MAX);
            Self {
                cause: Cause::Drained,
                phase: Phase::Serving,
                at,
                at_boot: now_boot.saturating_add(FAR),
                kill_by: at,
                longest_grace: SignedDuration::MAX,
                at_once: false,
                warning: None,
                message: String::new(),
                is_drained: true,
            }
        };
        end.map_or_else(far, |end| Self { is_drained: true, ..end })
    }

    /// When the processes of a pod with this grace are told to end.
    #[must_use]
    pub fn term_at(&self, grace: SignedDuration) -> Timestamp {
        if self.at_once {
            return Timestamp::MIN;
        }
        self.kill_by.saturating_sub(grace.min(self.longest_grace)).unwrap_or(Timestamp::MIN)
    }

    /// Why the pipe is asked to end a task for it: what is found there after a restart of the node.
    #[must_use]
    pub(crate) fn request(reason: &str, why: &str) -> String {
        format!("{reason}: {why}")
    }

    /// What the pipe is asked for a task of a pod that is not known, because the node was not registered before its end came: TERM
    /// now, and as much grace as there is. None: it has ended, or this was asked for. `present` is what the clock that runs now would
    /// have shown at a recorded time.
    #[must_use]
    pub fn ends_unregistered(&self, task: &TaskView, present: impl Fn(Timestamp) -> Timestamp) -> Option<StopRequest> {
        let is_asked = task.stop.as_ref().is_some_and(|stop| present(stop.kill_at) <= self.kill_by);
        let reason = Self::request(self.cause.pod_reason(), &self.message);
        (!task.state.is_final() && !is_asked).then_some(StopRequest { kill_at: self.kill_by, reason })
    }

    /// Whether a pod that is new and may take so long is sure to end before.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(&self, deadline: Option<u32>, grace: SignedDuration, now: Timestamp) -> Result<(), NoTime> {
        let until = self.term_at(grace);
        if self.is_drained {
            return Err(NoTime { cause: Cause::Drained, phase: self.phase, at: self.at, until, deadline });
        }
        let fits = match (self.phase, deadline) {
            (Phase::Closing, _) | (Phase::Ending, None) => false,
            (Phase::Serving, None) => true,
            (Phase::Serving | Phase::Ending, Some(seconds)) => {
                now.saturating_add(SignedDuration::from_secs(seconds.into())).is_ok_and(|over| over <= until)
            }
        };
        let Self { cause, phase, at, .. } = *self;
        if fits { Ok(()) } else { Err(NoTime { cause, phase, at, until, deadline }) }
    }
}

impl NoTime {
    /// The `reason` of the refused pod.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.cause.refusal()
    }
}

impl fmt::Display for NoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, until) = (whole(self.at), whole(self.until));
        match (self.phase, self.deadline) {
            _ if self.cause == Cause::Drained => {
                f.write_str("the node is drained by its site, and takes nothing new (vk-node drain)")
            }
            (Phase::Closing, _) => write!(f, "the node ends at {at} and takes nothing more"),
            (Phase::Serving | Phase::Ending, Some(seconds)) => write!(
                f,
                "it may take {seconds} s (activeDeadlineSeconds), and the node, which ends at {at}, would end it from {until} on"
            ),
            (Phase::Serving | Phase::Ending, None) => write!(
                f,
                "the node ends at {at}, and takes only what is sure to have ended by {until} (activeDeadlineSeconds)"
            ),
        }
    }
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
