//! Many CmdJobs: how many a second, what one more costs when thousands are there already, and whether all of them end as they must.
//!
//! ```text
//!   rates    CmdJobs with a process each next to native Jobs on kwok's faked pods, in turn:
//!            with everything at its defaults, and with the rate limits of controller-manager and scheduler lifted
//!   growth   a few more, one at a time and at once: beside none, beside so many that wait, beside a tenth of all and beside all
//!   load     all of the one-pod jobs, and the Indexed ones, until each is Complete with the right counts
//!   deletion all of it, if that is not too much
//! ```
//!
//! The operator's requests that read are counted in the audit log: lists and watches are not to grow.

mod growth;
pub(super) mod rates;
mod report;
mod text;
pub(super) mod told;
mod world;

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::contestant::Contestant;
use super::figures::{Milliseconds, Target};
use crate::binaries;
use world::{Limits, World};

pub(super) use report::tables;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// One-pod CmdJobs in one namespace, in all.
    pub(super) jobs: usize,
    /// Indexed CmdJobs beside them.
    pub(super) indexed: usize,
    /// Completions of each of these.
    pub(super) completions: usize,
    /// How many more are looked at closely.
    pub(super) more: usize,
    /// Jobs in a round of the rates, with the defaults and with the limits lifted.
    pub(super) round: [usize; 2],
    /// Rounds of each; none: the rates are not measured.
    pub(super) rounds: usize,
}

/// What was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct ScaleFigures {
    pub(super) targets: Vec<Target>,
    pub(super) rates: Vec<ScaleRate>,
    pub(super) growth: Vec<Growth>,
    pub(super) loads: Vec<Load>,
    pub(super) deletion: Vec<Deletion>,
}

/// How many jobs get to their end in a second.
#[derive(Debug, Serialize)]
pub(super) struct ScaleRate {
    pub(super) limits: Limits,
    pub(super) who: Contestant,
    pub(super) jobs: usize,
    /// The median of the rounds.
    pub(super) per_second: f64,
    pub(super) rounds: usize,
}

/// What some more jobs cost beside those that are there.
#[derive(Debug, Serialize)]
pub(super) struct Growth {
    pub(super) beside: String,
    pub(super) more: usize,
    /// From the word that the pod has ended to the word that the CmdJob is Complete, one job at a time.
    pub(super) end_to_complete: Milliseconds,
    /// The same of as many at once.
    pub(super) at_once: Milliseconds,
    pub(super) work: Work,
}

/// Very many jobs, to the end of the last one.
#[derive(Debug, Serialize)]
pub(super) struct Load {
    pub(super) what: String,
    pub(super) jobs: usize,
    pub(super) processes: usize,
    pub(super) seconds: f64,
    pub(super) work: Work,
}

/// What the operator has done for it.
#[derive(Debug, Serialize)]
pub(super) struct Work {
    /// Reconciles, and their time by the operator's own histogram, between whose bounds it is interpolated.
    pub(super) reconciles: f64,
    pub(super) reconcile_p50_ms: f64,
    pub(super) reconcile_p99_ms: f64,
    pub(super) cpu_seconds: f64,
    /// At the end of it, and the most that it ever was.
    pub(super) rss_kib: f64,
    pub(super) peak_kib: f64,
    pub(super) lists: usize,
    pub(super) watches: usize,
    pub(super) gets: usize,
}

/// How long it takes until what was deleted is gone.
#[derive(Debug, Serialize)]
pub(super) struct Deletion {
    pub(super) limits: Limits,
    pub(super) jobs: usize,
    pub(super) pods: usize,
    pub(super) jobs_gone_seconds: f64,
    pub(super) pods_gone_seconds: f64,
    pub(super) lists: usize,
    pub(super) gets: usize,
}

/// Measures all of it.
pub(super) async fn measure(plan: &Plan, figures: &mut ScaleFigures) -> Result<()> {
    binaries::built().await?;
    let done = Box::pin(in_both_worlds(plan, figures)).await;
    figures.targets = report::targets(figures);
    done
}

async fn in_both_worlds(plan: &Plan, figures: &mut ScaleFigures) -> Result<()> {
    if plan.rounds > 0 {
        let world = Box::pin(World::start(Limits::Defaults)).await?;
        let done = Box::pin(with_defaults(plan, &world, figures)).await;
        kept_if_failed(&world, done)?;
    }
    let world = Box::pin(World::start(Limits::Lifted)).await?;
    let done = Box::pin(with_limits_lifted(plan, &world, figures)).await;
    kept_if_failed(&world, done)
}

async fn with_defaults(plan: &Plan, world: &World, figures: &mut ScaleFigures) -> Result<()> {
    let [round, _] = plan.round;
    figures.rates.extend(rates::measure(world, round, plan.rounds).await?);
    figures.deletion.push(growth::deleted(world, &rates::namespace(Contestant::CmdJob, 0), round, round).await?);
    Ok(())
}

async fn with_limits_lifted(plan: &Plan, world: &World, figures: &mut ScaleFigures) -> Result<()> {
    let [_, round] = plan.round;
    if plan.rounds > 0 {
        figures.rates.extend(rates::measure(world, round, plan.rounds).await?);
    }
    growth::measure(world, plan, figures).await
}

fn kept_if_failed(world: &World, done: Result<()>) -> Result<()> {
    if done.is_err() {
        world.keep_logs();
    }
    done
}

/// The longest that a few jobs may take.
const LIMIT: Duration = Duration::from_secs(10 * 60);
