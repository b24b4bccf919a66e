//! Who comes next: init containers one by one, sidecars beside them, then the main containers. The kubelet's
//! `computeInitContainerActions`.

use std::collections::BTreeSet;

use crate::admit::Role;
use crate::look::{Look, Seen};

/// How far a pod has come before its main containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Not so far. These of the init containers and sidecars are to run and do not, by their place in the pod.
    Underway(BTreeSet<usize>),
    /// An init container has failed, and is not run again.
    Failed,
    /// The main containers may run. These sidecars are to run and do not.
    Initialised(BTreeSet<usize>),
}

impl Progress {
    /// Whether the container is one of the init part that is to run and does not.
    pub(super) fn wants(&self, index: usize) -> bool {
        match self {
            Self::Underway(wanted) | Self::Initialised(wanted) => wanted.contains(&index),
            Self::Failed => false,
        }
    }
}

/// Looks how far a pod has come.
pub(crate) fn progress(look: &Look<'_>) -> Progress {
    let mut wanted = BTreeSet::new();
    // What lies before the last container that was ever started has been done, whatever is known of it by now.
    let last_begun = look.init_part().rev().find(|seen| seen.latest().is_some()).map(|seen| seen.index);
    let mains_have_begun = look.mains_have_begun();
    for seen in look.init_part() {
        if mains_have_begun || last_begun.is_some_and(|last| seen.index < last) {
            if seen.container.role == Role::Sidecar && !seen.is_active() {
                wanted.insert(seen.index);
            }
            continue;
        }
        match standing(seen) {
            Standing::Past => {}
            Standing::Goes => return Progress::Underway(wanted),
            Standing::Wanted => {
                wanted.insert(seen.index);
                return Progress::Underway(wanted);
            }
            Standing::Failed => return Progress::Failed,
        }
    }
    Progress::Initialised(wanted)
}

/// Where the init container or sidecar is whose turn it is.
enum Standing {
    /// The next one may come.
    Past,
    /// It runs, and the next one waits for it.
    Goes,
    /// It is to run and does not.
    Wanted,
    /// It has failed, and is not run again.
    Failed,
}

fn standing(seen: Seen<'_>) -> Standing {
    let is_sidecar = seen.container.role == Role::Sidecar;
    match seen.outcome() {
        Some(outcome) if !is_sidecar && outcome.is_success() => Standing::Past,
        Some(_) if seen.is_done() => Standing::Failed,
        None if is_sidecar && seen.is_started() => Standing::Past,
        None if seen.is_active() => Standing::Goes,
        Some(_) | None => Standing::Wanted,
    }
}
