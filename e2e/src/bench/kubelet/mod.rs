//! A node as the kubelet of its pods: what issue 5 aims at.
//!
//! ```text
//!  bound    pods that are bound when they are created → Running; next to kwok's, and to pods that nobody runs
//!  records  what a node and its pipe keep in memory of each pod that they have nothing to do for
//!  exec     a command in a running pod; next to ssh to this machine
//! ```

mod bound;
mod exec;
mod records;
mod report;
mod socket;
mod ssh;
mod targets;

use anyhow::Result;
use serde::Serialize;

use super::cli::KubeletPlan;
use super::contestant::Contestant;
use super::figures::{Milliseconds, Target};
use super::ground::Ground;
pub(super) use report::tables;

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct KubeletFigures {
    targets: Vec<Target>,
    bound: Vec<Bound>,
    records: Vec<Records>,
    exec: Vec<Exec>,
}

/// How pods that were bound when they were created came to run.
#[derive(Debug, Serialize)]
struct Bound {
    who: Contestant,
    at_once: usize,
    rounds: usize,
    /// From the watch's word that the pod is there, and bound, to its word that it runs. None where nobody runs it.
    bound_to_running: Option<Milliseconds>,
    /// From just before it was asked for to the last that is seen of it: that it runs; or that it is there, where nobody runs it.
    create_to_seen: Milliseconds,
    /// From the first that was asked for to the last that was seen; the median of the rounds.
    per_second: f64,
}

/// A process's memory before and after it was given more pods to keep.
#[derive(Debug, Serialize)]
struct Records {
    process: &'static str,
    /// What the pods do.
    pods: &'static str,
    fewer: usize,
    more: usize,
    rss_kib: [f64; 2],
    private_kib: [f64; 2],
}

impl Records {
    /// What each further pod has added to what only this process has, in KiB.
    fn private_kib_each(&self) -> f64 {
        Self::each(self.private_kib, self.more - self.fewer)
    }

    /// What each further pod has added to the process's resident memory, in KiB.
    fn rss_kib_each(&self) -> f64 {
        Self::each(self.rss_kib, self.more - self.fewer)
    }

    fn each([before, after]: [f64; 2], pods: usize) -> f64 {
        (after - before) / f64::from(u32::try_from(pods).unwrap_or(u32::MAX))
    }
}

/// One way to run a command.
#[derive(Debug, Serialize)]
struct Exec {
    way: exec::Way,
    #[serde(flatten)]
    milliseconds: Milliseconds,
}

/// Measures all of it.
pub(super) async fn measure(ground: &Ground, plan: &KubeletPlan) -> Result<KubeletFigures> {
    let mut figures = KubeletFigures {
        bound: bound::measure(ground, plan).await?,
        exec: exec::measure(ground, plan).await?,
        records: records::measure(ground, plan).await?,
        ..KubeletFigures::default()
    };
    figures.targets = targets::check(&figures);
    Ok(figures)
}
