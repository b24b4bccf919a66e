//! Ten thousand pieces of garbage for each target, the same each time.

// The lints' leave for tests knows `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use vk_fuzz::mutate::{Dice, mutate};
use vk_fuzz::{TARGETS, Target};

const PIECES: usize = 10_000;
/// One piece takes microseconds; this is for a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(5);

/// Its beginning; the number is enough to make it again.
fn shown(piece: &[u8]) -> String {
    String::from_utf8_lossy(piece).escape_debug().take(300).collect()
}

fn feed(name: &str) {
    let Target { run, seeds, .. } = TARGETS.into_iter().find(|target| target.name == name).unwrap();
    let seeds = seeds();
    for seed in &seeds {
        run(seed);
    }
    let mut dice = Dice::new(4);
    for n in 0..PIECES {
        let piece = mutate(&seeds, &mut dice);
        let begun = Instant::now();
        // So that a piece that panics can be made again.
        if std::panic::catch_unwind(|| run(&piece)).is_err() {
            panic!("piece {n} of {name}: {}", shown(&piece));
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "piece {n} of {name} takes too long: {:?}",
            String::from_utf8_lossy(&piece)
        );
    }
}

#[test]
fn fifo() {
    feed("fifo");
}

#[test]
fn records() {
    feed("records");
}

#[test]
fn log() {
    feed("log");
}

#[test]
fn requests() {
    feed("requests");
}

#[test]
fn streams() {
    feed("streams");
}

#[test]
fn site() {
    feed("site");
}

#[test]
fn processes() {
    feed("processes");
}

#[test]
fn spdy() {
    feed("spdy");
}
