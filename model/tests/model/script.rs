//! What happens in a history, as values: a seed gives jobs and a script, and a script that fails is made shorter.

use fastrand::Rng;
use vk_operator_core::effects::Refusal;

use crate::fleet_script::FleetEvent;

/// Where an acting process is hit. Effects are counted from 0 in each look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nowhere.
    None,
    /// It is killed before this effect.
    Crash(u8),
    /// This effect takes place, and the reply to it is lost.
    Lost(u8),
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Jobs,
    Pods,
    Nodes,
    Fleets,
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It is heard from.
    Up,
    Cordoned,
    /// It is not heard from. Its processes go on.
    Silent,
    /// The same, and somebody deletes its Node object. When it is up again, there is another one.
    Removed,
}

/// A change of a CmdJob's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    Suspend(bool),
    Parallelism(u8),
    /// Of an Indexed job, with its parallelism.
    Completions(u8),
    BackoffLimit(u8),
    Deadline(u16),
    Ttl(u8),
    Priority(i8),
    Retry(bool),
}

/// How operators of another version take a CmdJob that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Valid,
    Invalid,
    /// It does not fit their type.
    Unreadable,
}

/// Something that happens. Numbers pick one of those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A watch of an operator tells of so many more changes.
    Hears(u8, Kind, u8),
    /// A watch of an operator was cut, and lists everything anew.
    Relists(u8, Kind),
    /// The operator that leads looks at a job that is due.
    Looks(u8, Fault),
    /// It looks at a job that is not.
    LooksAnyway(u8, Fault),
    /// It looks for pods whose job is gone.
    LooksForStrays(Fault),
    /// The operator that leads ends, and the other one leads, with its caches as they are.
    Handover,
    /// A watch of a node tells of so many more changes.
    NodeHears(u8, u8),
    NodeLooks(u8, Fault),
    /// What the pipe of a node has been asked to start begins to run.
    GatesOpen(u8),
    /// A process ends by itself.
    Exits(u8, u8),
    /// A pipe removes records that were told of.
    Collects(u8),
    Pass(u16),
    Edit(u8, Edit),
    /// Operators of another version come, which take a CmdJob so.
    Upgrade(u8, Taken),
    DeleteJob(u8),
    /// Somebody makes a CmdJob of that name again, if it is gone.
    MakeJob(u8),
    /// Somebody takes the finalizers of a CmdJob by force.
    ForceJob(u8),
    /// Somebody deletes a pod; with force, that is without grace.
    DeletePod(u8, bool),
    Node(u8, Link),
    /// A machine is gone for good, with its Node object.
    Gone(u8),
    /// Kubernetes' pod garbage collector looks.
    PodGc,
    /// No pods of a namespace are taken any more; or they are again.
    Closes(u8, Refusal),
    Opens(u8),
    /// Somebody makes a pod with a name that an attempt will want.
    Squats(u8, u8),
    /// Somebody else's pod takes room on a node.
    Stranger(u8),
    StrangersGo,
    /// Something of a fleet, its pilots and its site.
    Fleet(FleetEvent),
}

pub(crate) fn fault(rng: &mut Rng) -> Fault {
    match rng.u8(0..8) {
        0 => Fault::Crash(rng.u8(0..4)),
        1 => Fault::Lost(rng.u8(0..4)),
        _ => Fault::None,
    }
}

const TAKEN: [Taken; 4] = [Taken::Valid, Taken::Invalid, Taken::Invalid, Taken::Unreadable];

/// Why pods are refused.
const REFUSALS: [Refusal; 4] = [Refusal::Forbidden, Refusal::Malformed, Refusal::Trouble, Refusal::PodSecurity];

fn kind(rng: &mut Rng) -> Kind {
    *rng.choice(&[Kind::Jobs, Kind::Jobs, Kind::Pods, Kind::Pods, Kind::Nodes]).unwrap()
}

fn edit(rng: &mut Rng) -> Edit {
    match rng.u8(0..10) {
        0..=2 => Edit::Suspend(rng.bool()),
        3 => Edit::Parallelism(rng.u8(0..4)),
        4 => Edit::Completions(rng.u8(0..5)),
        5 => Edit::BackoffLimit(rng.u8(0..4)),
        6 => Edit::Deadline(rng.u16(0..300)),
        7 => Edit::Ttl(rng.u8(..)),
        8 => Edit::Priority(rng.i8(-3..3)),
        _ => Edit::Retry(rng.bool()),
    }
}

pub(crate) fn event(rng: &mut Rng) -> Event {
    let n = rng.u8(..);
    match rng.u8(0..100) {
        0..=19 => Event::Hears(n, kind(rng), if rng.bool() { 255 } else { rng.u8(1..4) }),
        20 => Event::Relists(n, kind(rng)),
        21..=39 => Event::Looks(n, fault(rng)),
        40..=42 => Event::LooksAnyway(n, fault(rng)),
        43 => Event::LooksForStrays(fault(rng)),
        44 => Event::Handover,
        45..=50 => Event::NodeHears(n, if rng.bool() { 255 } else { rng.u8(1..4) }),
        51..=62 => Event::NodeLooks(n, fault(rng)),
        63..=67 => Event::GatesOpen(n),
        68..=74 => Event::Exits(n, *rng.choice(&[0, 0, 1, 5, 42]).unwrap()),
        75 => Event::Collects(n),
        76..=82 => Event::Pass(if rng.bool() { rng.u16(1..15) } else { rng.u16(15..400) }),
        86 if rng.bool() => Event::Upgrade(n, *rng.choice(&TAKEN).unwrap()),
        83..=86 => Event::Edit(n, edit(rng)),
        87 if rng.bool() => Event::DeleteJob(n),
        87 => Event::MakeJob(n),
        88 if rng.u8(0..4) == 0 => Event::ForceJob(n),
        88 | 89 => Event::DeletePod(n, rng.bool()),
        90..=94 => Event::Node(
            n,
            *rng.choice(&[Link::Up, Link::Up, Link::Up, Link::Cordoned, Link::Silent, Link::Removed]).unwrap(),
        ),
        95 if rng.u8(0..4) == 0 => Event::Gone(n),
        95 => Event::PodGc,
        96 => Event::Closes(n, *rng.choice(&REFUSALS).unwrap()),
        97 => Event::Opens(n),
        98 if rng.bool() => Event::Squats(n, rng.u8(0..2)),
        98 => Event::StrangersGo,
        _ => Event::Stranger(n),
    }
}

/// The script of a seed.
pub(crate) fn script(rng: &mut Rng) -> Vec<Event> {
    let length = rng.usize(20..200);
    (0..length).map(|_| event(rng)).collect()
}
