//! The laws. A broken one is told with its name, so that a test can show that each of them can be broken.

/// What must hold: see `docs/explanation/model.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    /// An attempt is started once at most.
    StartedOnce,
    /// An index has one process at a time.
    OneAtATime,
    /// No more attempts are open than `parallelism` says.
    Parallelism,
    /// An attempt goes only where it may.
    Place,
    /// Nothing starts before what it waits for.
    Order,
    /// What is over is over: nothing of it runs.
    StillWhenOver,
    /// What is counted has happened.
    Truth,
    /// Whatever happens at one moment comes to an end, and pauses grow while nothing changes.
    NoHotLoop,
    /// A change is told of in few writes.
    FewWrites,
    /// In the end each job is as it should be, and none waits for what is there.
    EndsWell,
    /// Nothing is left of what is gone.
    NothingLeft,
    /// At rest nobody writes.
    Silent,
    /// Looking again changes nothing.
    Idempotent,
    /// Nor does starting anew.
    RestartBlind,
    /// Who has waited for room is not passed over for a namespace that uses more.
    Fair,
    /// No more nodes and pilots come than the fleet allows.
    Limits,
    /// An allocation is submitted once for a pilot.
    SubmittedOnce,
    /// No pilot is cancelled while there is a pod on its node.
    CancelsIdle,
    /// What a person has cordoned stays so.
    Cordons,
    /// In the end there are as many nodes as are wanted, and nothing waits for one.
    AsWanted,
}

/// A law that is broken, and how.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) law: Law,
    pub(crate) how: String,
}

pub(crate) type Holds = Result<(), Broken>;

pub(crate) fn holds(law: Law, is_so: bool, otherwise: impl FnOnce() -> String) -> Holds {
    if is_so { Ok(()) } else { Err(Broken { law, how: otherwise() }) }
}
