//! The operator and its nodes in a world in memory, on histories made from seeds. See `docs/model.md`.
//!
//! More of them: `VK_CMD_SEEDS=1000000 cargo test --release -p vk-cmd-model`; one again: `VK_CMD_SEED=17 cargo test -p vk-cmd-model`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test says so that it failed"
)]

mod api;
mod calm;
mod check;
mod collectors;
mod hands;
mod happen;
mod jobs;
mod laws;
mod mutation;
mod node;
mod operator;
mod pipe;
mod script;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use laws::{Broken, Holds, Law};
use mutation::Mutation;
use script::{Event, script};
use world::World;

/// How many seeds are tried if nobody says otherwise.
const SEEDS: u64 = 3000;

/// Which mistake breaks which law (the table of docs/model.md), and from which seed on that is looked for.
const MISTAKES: [(Law, Mutation, u64); 18] = [
    (Law::StartedOnce, Mutation::PipeLosesRecords, 40),
    (Law::OneAtATime, Mutation::DeletedIsEnded, 250),
    (Law::Parallelism, Mutation::OneTooMany, 0),
    (Law::Place, Mutation::NodesTakeAll, 0),
    (Law::Order, Mutation::TrustsOthers, 0),
    (Law::StillWhenOver, Mutation::AskedIsEnded, 10),
    (Law::StillWhenOver, Mutation::AlwaysSure, 1060),
    (Law::Truth, Mutation::CountsTwice, 0),
    (Law::NoHotLoop, Mutation::PausesDoNotGrow, 0),
    (Law::FewWrites, Mutation::TellsTheTime(Some(4)), 0),
    (Law::EndsWell, Mutation::NobodyIsNamed, 10),
    (Law::EndsWell, Mutation::NoTimers, 0),
    (Law::EndsWell, Mutation::NeverLetsGo, 0),
    (Law::NothingLeft, Mutation::NoStrays, 0),
    (Law::NothingLeft, Mutation::NoOrphans, 0),
    (Law::Silent, Mutation::TellsTheTime(Some(15)), 0),
    (Law::Idempotent, Mutation::TellsTheTime(None), 0),
    (Law::RestartBlind, Mutation::TellsWhoWrote, 0),
];

/// Tries a script. What law it breaks, if any.
fn try_out(seed: u64, script: &[Event], mutation: Mutation) -> Holds {
    World::new(seed, mutation, false).run(script)
}

/// Leaves out what is not needed to break this law.
fn shrink(seed: u64, mut script: Vec<Event>, law: Law, mutation: Mutation) -> Vec<Event> {
    let mut size = script.len();
    while size > 0 {
        let mut at = 0;
        while at < script.len() {
            let mut shorter = script.clone();
            shorter.drain(at..(at + size).min(script.len()));
            if try_out(seed, &shorter, mutation).is_err_and(|broken| broken.law == law) {
                script = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    script
}

/// What the script of a seed breaks, with its history.
fn failure(seed: u64, mutation: Mutation) -> Option<(Broken, String)> {
    let whole = script(&mut Rng::with_seed(seed ^ 0x5eed));
    let broken = try_out(seed, &whole, mutation).err()?;
    let short = shrink(seed, whole, broken.law, mutation);
    let mut world = World::new(seed, mutation, true);
    let broken = world.run(&short).err().unwrap_or(broken);
    let history = world.api.history.unwrap_or_default().join("\n");
    let again = format!("VK_CMD_SEED={seed} cargo test -p vk-cmd-model");
    let said = format!("{history}\n\nBROKEN: {:?}: {}\nAgain: {again}", broken.law, broken.how);
    Some((broken, said))
}

#[test]
fn the_laws_hold_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, end) = match number("VK_CMD_SEED") {
        Some(seed) => (seed, seed + 1),
        None => {
            let first = number("VK_CMD_FIRST_SEED").unwrap_or(0);
            (first, first + number("VK_CMD_SEEDS").unwrap_or(SEEDS))
        }
    };
    let next = AtomicU64::new(first);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return None;
        }
        if let Some((_, history)) = failure(seed, Mutation::None) {
            next.store(end, Ordering::Relaxed);
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

#[test]
fn each_law_is_broken_by_a_mistake() {
    for (law, mutation, from) in MISTAKES {
        let breaks = |seed: &u64| {
            let script = script(&mut Rng::with_seed(seed ^ 0x5eed));
            try_out(*seed, &script, mutation).is_err_and(|broken| broken.law == law)
        };
        let seed = (from..from + SEEDS).find(breaks);
        assert!(seed.is_some(), "{mutation:?} does not break {law:?}");
        println!("{law:?} is broken by {mutation:?} with seed {}", seed.unwrap());
    }
}

#[test]
fn a_history_is_short_and_plays_again() {
    let broken = (0..SEEDS).find_map(|seed| failure(seed, Mutation::PipeLosesRecords));
    let (broken, said) = broken.unwrap();
    println!("{said}");
    assert_eq!(broken.law, Law::StartedOnce);
    assert!(said.lines().count() < 60, "{said}");
    let seed: u64 = said.split("VK_CMD_SEED=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert_eq!(failure(seed, Mutation::PipeLosesRecords).unwrap().1, said);
}
