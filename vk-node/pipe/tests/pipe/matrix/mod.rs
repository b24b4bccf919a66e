//! The crash matrix: each point of a task's life (see [`vk_record::points`]), each set of victims, killed at once and
//! later. `cargo test -p vk-pipe --test pipe crash_matrix` plays all of it.
//!
//! In each cell a node, a pipe and a shim, all real processes, see one task to its end. When one of them comes to the
//! point it stands still; the victims get SIGKILL; whoever of node and pipe was killed is started again, as a supervisor
//! would. Then the program must have been started once at most, one end reported and never two different ones, the end
//! be unknown only where [`oracle`] says that it truly is, and in the end no process and no record be left.

mod cell;
mod oracle;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use strum::VariantArray;
use vk_record::points::Point;

use self::cell::{Outcome, play};
use self::oracle::{Cell, Timing, Victims};
use crate::Test;

pub(crate) const TESTS: &[Test] = &[("crash_matrix", matrix)];

/// How many cells are played at once: most of what they do is to wait for the disk.
const AT_ONCE: usize = 16;
/// What the issue asks for.
const WANTED_CELLS: usize = 300;

const VICTIMS: [(&str, Victims); 7] = [
    ("node", Victims { node: true, pipe: false, shim: false }),
    ("pipe", Victims { node: false, pipe: true, shim: false }),
    ("shim", Victims { node: false, pipe: false, shim: true }),
    ("node+pipe", Victims { node: true, pipe: true, shim: false }),
    ("node+shim", Victims { node: true, pipe: false, shim: true }),
    ("pipe+shim", Victims { node: false, pipe: true, shim: true }),
    ("all", Victims { node: true, pipe: true, shim: true }),
];
const TIMINGS: [Timing; 2] = [Timing::AtOnce, Timing::Later];

type Key = (Point, usize, usize);

fn cells() -> impl Iterator<Item = (Key, Cell)> {
    Point::VARIANTS.iter().flat_map(|&point| {
        (0..VICTIMS.len()).flat_map(move |v| {
            (0..TIMINGS.len()).map(move |t| ((point, v, t), Cell { point, victims: VICTIMS[v].1, timing: TIMINGS[t] }))
        })
    })
}

fn matrix() {
    let begin = Instant::now();
    let only = std::env::var("VK_MATRIX_POINT").ok();
    let wanted: Vec<_> = cells()
        .filter(|(_, cell)| cell.makes_sense() && only.as_ref().is_none_or(|o| *o == format!("{:?}", cell.point)))
        .collect();
    let (queue, played) = (Mutex::new((0..).zip(wanted)), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                let next = || queue.lock().unwrap().next();
                while let Some((n, (key, cell))) = next() {
                    let result = play(cell, n);
                    played.lock().unwrap().push((key, cell, result));
                }
            });
        }
    });

    let mut table = BTreeMap::new();
    let mut wrong = Vec::new();
    for (key, cell, result) in played.into_inner().unwrap() {
        match result {
            Ok(outcome) => drop(table.insert(key, outcome)),
            Err(e) => wrong.push(format!("{cell:?}: {e}")),
        }
    }
    print(&table);
    println!("{} cells in {:.0?}", table.len() + wrong.len(), begin.elapsed());
    assert!(wrong.is_empty(), "{} cells came out wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(only.is_some() || table.len() >= WANTED_CELLS, "{} cells", table.len());
}

fn print(table: &BTreeMap<Key, Outcome>) {
    let names: Vec<_> = VICTIMS.iter().map(|(name, _)| format!("{name:<9}")).collect();
    println!("Killed at once, and later. E: the exact end, one start. U: unknown, one start. u: unknown, no start.");
    println!("{:<16} {}", "", names.join(" "));
    for point in Point::VARIANTS {
        let cell = |v, t| match table.get(&(*point, v, t)) {
            Some(Outcome::Exact) => "E",
            Some(Outcome::UnknownRun) => "U",
            Some(Outcome::UnknownNotRun) => "u",
            None => ".",
        };
        let row: Vec<_> =
            (0..VICTIMS.len()).map(|v| format!("{:<9}", format!("{} {}", cell(v, 0), cell(v, 1)))).collect();
        println!("{:<16} {}", format!("{point:?}"), row.join(" "));
    }
}
