//! What must come of a cell, said from the order of a task's life alone: not from what the records say, and by none of
//! the code under test. Pure.
//!
//! ```text
//!               start.json has its name          exit.json has its name
//!   ──────────────────────┼───────────────────────────────┼──────────────────▶ a task's life
//!    the shim is killed:  │                               │
//!      another starts it: │    unknown, and that is true  │  the end is on record:
//!      the exact end      │                               │  the exact end
//! ```
//!
//! Whoever else is killed, the end is exact. Where a shim is killed at a moment that is not exactly known, it may be
//! either, but then as many starts are seen as go with it.

use std::ops::RangeInclusive;

use vk_record::points::Point;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Victims {
    pub(crate) node: bool,
    pub(crate) pipe: bool,
    pub(crate) shim: bool,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// While the process that came to the point stands there.
    AtOnce,
    /// Some milliseconds after it has gone on.
    Later,
}

/// One of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) point: Point,
    pub(crate) victims: Victims,
    pub(crate) timing: Timing,
}

/// Which process comes to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Node,
    Pipe,
    /// Or the child at its gate, which is killed with it.
    Shim,
}

/// What the end may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// As the program ended.
    Exact,
    /// Unknown.
    Unknown,
    Either,
}

/// What must come of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) ends: Ends,
    /// How many starts may be seen with an end that is unknown. With one that is exact it is one.
    pub(crate) runs_if_unknown: RangeInclusive<usize>,
}

/// What a point's task is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Story {
    /// It ends by itself.
    Ends,
    /// It is stopped.
    IsStopped,
    /// It ends by itself, in a container.
    InContainer,
    /// It kills its shim.
    LosesShim,
}

pub(crate) fn place(point: Point) -> Place {
    match point {
        Point::EndReceived | Point::EndReported | Point::RemoveAnswered => Place::Node,
        p if (Point::ShimBegun..=Point::FirstOutput).contains(&p) => Place::Shim,
        p if (Point::StopSeen..=Point::Rung).contains(&p) => Place::Shim,
        _ => Place::Pipe,
    }
}

pub(crate) fn story(point: Point) -> Story {
    match point {
        Point::StopDurable | Point::StopSeen => Story::IsStopped,
        Point::ContainerGone => Story::InContainer,
        p if p >= Point::LossFound => Story::LosesShim,
        _ => Story::Ends,
    }
}

/// Whether the shim is there at a point, for one who kills it at once; `None` where it may be.
fn shim_is_there(point: Point) -> Option<bool> {
    match point {
        p if p < Point::ShimSpawned || p > Point::EndTold => Some(false),
        Point::ExitRead | Point::EndTold => None,
        _ => Some(true),
    }
}

impl Cell {
    /// Whether it can be: nobody can be killed before it is there.
    pub(crate) fn makes_sense(&self) -> bool {
        let lost = story(self.point) == Story::LosesShim;
        let no_shim = lost || (self.timing == Timing::AtOnce && shim_is_there(self.point) == Some(false));
        !(self.victims.shim && no_shim)
    }

    pub(crate) fn expected(&self) -> Expected {
        let exact = Expected { ends: Ends::Exact, runs_if_unknown: 1..=1 };
        if story(self.point) == Story::LosesShim {
            return Expected { ends: Ends::Unknown, runs_if_unknown: 1..=1 };
        }
        // What is on record stays so; and a shim that lives sees the task to its end.
        if !self.victims.shim || self.point >= Point::ExitRenamed {
            return exact;
        }
        let runs_if_unknown = match self.point {
            // It has written something, or was there to be stopped.
            p if p >= Point::FirstOutput => 1..=1,
            _ => 0..=1,
        };
        // The shim stands at the point, or, where the pipe has not told it to stop, in the middle of its task's life.
        let is_known = place(self.point) == Place::Shim || self.point == Point::StopDurable;
        match self.timing {
            Timing::AtOnce if is_known && self.point < Point::StartRenamed => exact,
            Timing::AtOnce if is_known => Expected {
                ends: Ends::Unknown,
                runs_if_unknown: match self.point {
                    // The gate is shut, or who has passed it stands before the exec.
                    Point::StartRenamed | Point::StartDurable | Point::Exec => 0..=0,
                    _ => runs_if_unknown,
                },
            },
            Timing::AtOnce | Timing::Later => Expected { ends: Ends::Either, runs_if_unknown },
        }
    }
}
