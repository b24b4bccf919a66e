//! What happens in a history, as values: a seed gives jobs and a script, and a script that fails is made shorter.

use fastrand::Rng;
use serde_json::{Value, json};

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
}

/// Something that happens. Numbers pick one of those that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A cache of the operator catches up.
    OperatorHears(Kind),
    OperatorLooks(u8, Fault),
    /// The operator looks for pods whose job is gone.
    OperatorLooksForStrays(Fault),
    NodeHears(u8),
    NodeLooks(u8, Fault),
    /// What the pipe of a node has been asked to start begins to run.
    GatesOpen(u8),
    /// A process ends by itself.
    Exits(u8, u8),
    /// A pipe removes records that were told of.
    Collects(u8),
    Pass(u16),
    Suspend(u8, bool),
    Parallelism(u8, u8),
    DeleteJob(u8),
    /// Somebody deletes a pod; with force, that is without grace.
    DeletePod {
        pod: u8,
        forced: bool,
    },
    /// A node is heard from, or not. Its processes go on.
    Heard(u8, bool),
    /// A machine is gone for good, with its Node object.
    Gone(u8),
}

fn fault(rng: &mut Rng) -> Fault {
    match rng.u8(0..8) {
        0 => Fault::Crash(rng.u8(0..4)),
        1 => Fault::Lost(rng.u8(0..4)),
        _ => Fault::None,
    }
}

fn event(rng: &mut Rng) -> Event {
    let n = rng.u8(..);
    match rng.u8(0..48) {
        0..=3 => Event::OperatorHears(Kind::Jobs),
        4..=7 => Event::OperatorHears(Kind::Pods),
        8 => Event::OperatorHears(Kind::Nodes),
        9..=18 => Event::OperatorLooks(n, fault(rng)),
        19 => Event::OperatorLooksForStrays(fault(rng)),
        20..=22 => Event::NodeHears(n),
        23..=29 => Event::NodeLooks(n, fault(rng)),
        30..=32 => Event::GatesOpen(n),
        33..=36 => Event::Exits(n, *rng.choice(&[0, 0, 1, 5, 42]).unwrap()),
        37 => Event::Collects(n),
        38..=41 => Event::Pass(if rng.bool() { rng.u16(1..15) } else { rng.u16(15..400) }),
        42 => Event::Suspend(n, rng.bool()),
        43 => Event::Parallelism(n, rng.u8(0..4)),
        44 if rng.bool() => Event::DeleteJob(n),
        44 | 45 => Event::DeletePod { pod: n, forced: rng.bool() },
        46 if rng.u8(0..4) == 0 => Event::Gone(n),
        _ => Event::Heard(n, rng.bool()),
    }
}

/// The script of a seed.
pub(crate) fn script(rng: &mut Rng) -> Vec<Event> {
    let length = rng.usize(20..160);
    (0..length).map(|_| event(rng)).collect()
}

/// The CmdJobs of a seed.
pub(crate) fn jobs(rng: &mut Rng) -> Vec<Value> {
    (0..rng.u32(1..4)).map(|n| job(rng, n)).collect()
}

fn job(rng: &mut Rng, n: u32) -> Value {
    let target = if rng.bool() { json!({"fleet": "f"}) } else { json!({"node": format!("vk-{}", rng.u8(0..2))}) };
    let mut spec = json!({
        "target": target, "script": "x", "backoffLimit": rng.u8(0..4), "suspend": rng.u8(0..6) == 0,
        "resources": {"cpu": "1"},
    });
    if rng.bool() {
        spec["completions"] = json!(rng.u8(1..4));
        spec["parallelism"] = json!(rng.u8(1..4));
        if rng.bool() {
            spec["completionMode"] = json!("Indexed");
            if rng.bool() {
                spec["backoffLimitPerIndex"] = json!(rng.u8(0..2));
            }
        }
    }
    match rng.u8(0..4) {
        0 => {
            spec["podFailurePolicy"] = json!({"rules": [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}]})
        }
        1 => {
            spec["podFailurePolicy"] = json!({"rules": [
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [5]}}]})
        }
        _ => {}
    }
    if rng.u8(0..3) == 0 {
        spec["activeDeadlineSeconds"] = json!(rng.u16(5..300));
    }
    if rng.u8(0..4) == 0 {
        spec["ttlSecondsAfterFinished"] = json!(rng.u16(0..100));
    }
    if rng.bool() {
        spec["onUnknown"] = json!("Retry");
    }
    if n > 0 && rng.u8(0..3) == 0 {
        spec["after"] = json!([{"name": format!("j{}", n - 1)}]);
    }
    json!({
        "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "spec": spec,
        "metadata": {
            "namespace": "lab", "name": format!("j{n}"), "generation": 1, "resourceVersion": "1",
            "creationTimestamp": "2026-01-02T03:04:05Z", "uid": format!("1a2b3c4d-5e6f-4000-8000-00000000000{n}"),
        },
    })
}
