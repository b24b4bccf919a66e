//! The operator and its nodes in a world in memory, on histories made from seeds. See `docs/model.md`.
//!
//! More of them: `VK_CMD_SEEDS=1000000 cargo test -p vk-cmd-model`; one again: `VK_CMD_SEED=17 cargo test -p vk-cmd-model`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so that it failed"
)]

mod api;
mod node;
mod operator;
mod script;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use script::{Event, script};
use world::World;

/// How many seeds are tried if nobody says otherwise.
const SEEDS: u64 = 1000;

/// Tries a script. What law it breaks, if any, and what happened.
fn try_out(seed: u64, script: &[Event]) -> Result<(), (String, Vec<String>)> {
    let mut world = World::new(seed);
    world.run(script).map_err(|law| (law, world.api.history))
}

/// Leaves out what the failure does not need.
fn shrink(seed: u64, mut script: Vec<Event>) -> Vec<Event> {
    let mut size = script.len();
    while size > 0 {
        let mut at = 0;
        while at < script.len() {
            let mut shorter = script.clone();
            shorter.drain(at..(at + size).min(script.len()));
            if try_out(seed, &shorter).is_err() {
                script = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    script
}

/// The history of a seed whose script breaks a law.
fn failure(seed: u64) -> Option<String> {
    let whole = script(&mut Rng::with_seed(seed ^ 0x5eed));
    try_out(seed, &whole).err()?;
    let short = shrink(seed, whole);
    let (law, history) = try_out(seed, &short).err()?;
    Some(format!("{}\n\nBROKEN: {law}\nAgain: VK_CMD_SEED={seed} cargo test -p vk-cmd-model", history.join("\n")))
}

#[test]
fn the_laws_hold_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, end) = match number("VK_CMD_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("VK_CMD_SEEDS").unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return None;
        }
        if let Some(history) = failure(seed) {
            return Some(history);
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let failed = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        all.into_iter().filter_map(|one| one.join().unwrap()).next()
    });
    if let Some(history) = failed {
        panic!("{history}");
    }
}
