//! What Ctrl-C does while a job is waited for. Nothing is ever left behind without its name and the way back having been said.
//!
//! ```text
//!   Watching ──Ctrl-C──▶ Asked ──two seconds pass──▶ Leave     the job goes on; exit 130
//!      │                   │
//!      │ TERM, HUP         └──Ctrl-C──▶ Cancelling ──it is gone──▶ Leave     exit 130
//!      ▼                                   │
//!    Leave     the job goes on             └──Ctrl-C──▶ Leave     it is being cancelled all the same; exit 130
//! ```

use std::time::Duration;

/// How long the second Ctrl-C is waited for.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has pressed anything.
    #[default]
    Watching,
    /// Ctrl-C was pressed once.
    Asked,
    /// It was pressed again: the job is being cancelled.
    Cancelling,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Ctrl-C.
    Interrupt,
    /// TERM or HUP: somebody wants the process gone.
    Terminate,
    /// [`PATIENCE`] has passed since the first Ctrl-C.
    Passed,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Say how to come back, and wait for a second Ctrl-C.
    Ask,
    /// Cancel the job, and wait until it is gone.
    Cancel,
    /// Say how to come back, and leave.
    Leave,
    /// Leave: it was said already.
    LeaveQuietly,
    /// Nothing.
    Nothing,
}

impl Phase {
    /// What comes of an event.
    pub fn on(&mut self, event: Event) -> Deed {
        let (next, deed) = match (*self, event) {
            (Self::Watching, Event::Interrupt) => (Self::Asked, Deed::Ask),
            (Self::Asked, Event::Interrupt) => (Self::Cancelling, Deed::Cancel),
            (Self::Watching, Event::Terminate) => (Self::Watching, Deed::Leave),
            (Self::Asked, Event::Passed | Event::Terminate) => (Self::Asked, Deed::LeaveQuietly),
            (Self::Cancelling, Event::Interrupt | Event::Terminate) => (Self::Cancelling, Deed::LeaveQuietly),
            (phase @ (Self::Watching | Self::Cancelling), Event::Passed) => (phase, Deed::Nothing),
        };
        *self = next;
        deed
    }
}

/// How to come back to a job.
#[must_use]
pub fn way_back(namespace: &str, name: &str) -> String {
    format!(
        "{name} goes on. Come back: kubectl cmdjob logs -f -n {namespace} {name}; cancel it: kubectl cmdjob cancel -n {namespace} {name}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deeds(events: &[Event]) -> Vec<Deed> {
        let mut phase = Phase::default();
        events.iter().map(|event| phase.on(*event)).collect()
    }

    #[test]
    fn once_detaches_and_twice_cancels() {
        use Event::{Interrupt, Passed, Terminate};
        for (events, expected) in [
            (vec![Interrupt, Passed], vec![Deed::Ask, Deed::LeaveQuietly]),
            (vec![Interrupt, Interrupt], vec![Deed::Ask, Deed::Cancel]),
            (
                vec![Interrupt, Interrupt, Passed, Interrupt],
                vec![Deed::Ask, Deed::Cancel, Deed::Nothing, Deed::LeaveQuietly],
            ),
            (vec![Terminate], vec![Deed::Leave]),
            (vec![Interrupt, Terminate], vec![Deed::Ask, Deed::LeaveQuietly]),
        ] {
            assert_eq!(deeds(&events), expected, "{events:?}");
        }
    }

    #[test]
    fn the_way_back_names_the_job() {
        let words = way_back("lab", "hello");
        assert!(words.contains("logs -f -n lab hello") && words.contains("cancel -n lab hello"));
    }
}
