//! `cargo bench`: vk-cmd and kwok side by side on one real control plane, in one run.
//!
//! ```text
//!  pipe   ── the pipe alone, next to plain system calls
//!  fleet  ── many nodes in one process, on a control plane of their own
//!  scale  ── very many CmdJobs, on control planes of their own
//!  sites  ── fleets of nodes that share very many CmdJobs, on control planes of their own
//!  Ground ── control plane, chart, operator, a site with vk-node, kwok with its fake node
//!    ├─ idle     memory, CPU and wake-ups of our processes while nothing happens, before and after the load
//!    ├─ latency  create → Running, exit → end seen; one at a time and many at once, the contestants in turn
//!    ├─ rate     many short jobs at once, to the last one's end
//!    ├─ writes   who writes how often to the API server for one job, from its audit log
//!    └─ kubelet  a node as the kubelet of its pods: bound → Running, memory for each, exec next to ssh
//! ```
//!
//! Where times are compared they are of this machine's one clock: the process under test writes down the time as its last act
//! (`workload`), a watch notes when news arrives (`sightings`).

mod cli;
mod contestant;
mod fake_nodes;
mod figures;
mod fleet;
mod ground;
mod idle;
mod kubelet;
mod latency;
mod machine;
mod pipe;
mod proc;
mod rate;
mod report;
mod scale;
mod sightings;
mod sites;
mod targets;
mod workload;
mod writes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;

use crate::binaries;
use cli::{Cli, Part};
use figures::Figures;
use ground::Ground;

/// Far more than all of it takes; an API server that does not answer is given up then.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Runs the benchmarks; or, as a child of a vk-node, the process that is measured.
pub fn main() -> ExitCode {
    if let Some(code) = workload::act() {
        return code;
    }
    let cli = Cli::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime");
    match runtime.and_then(|runtime| runtime.block_on(run(&cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<()> {
    let mut figures =
        Figures { machine: machine::describe(), load_before: machine::load_average(), ..Figures::default() };
    // What was measured before something failed is worth as much as without that.
    let measured = Box::pin(measure(cli, &mut figures)).await;
    figures.load_after = machine::load_average();
    println!("{}", report::tables(&figures));
    let json = serde_json::to_string_pretty(&figures).context("the figures do not become JSON")?;
    println!("{json}");
    let file = match &cli.json {
        Some(file) => file.clone(),
        None => default_file()?,
    };
    write(&file, &json)?;
    eprintln!("the same as JSON: {}", file.display());
    measured
}

/// Each part that is wanted, in turn, until one fails.
async fn measure(cli: &Cli, figures: &mut Figures) -> Result<()> {
    if cli.wants(Part::Pipe) {
        let measured = tokio::time::timeout(LIMIT, Box::pin(pipe::measure(&cli.pipe_plan()))).await;
        figures.pipe = Some(measured.with_context(|| format!("not done within {LIMIT:.0?}"))??);
    }
    if cli.wants(Part::Fleet) {
        let measured = tokio::time::timeout(LIMIT, Box::pin(fleet::measure(&cli.fleet_plan()))).await;
        figures.fleet = Some(measured.with_context(|| format!("not done within {LIMIT:.0?}"))??);
    }
    if cli.wants(Part::Scale) {
        Box::pin(scale::measure(&cli.scale_plan(), figures.scale.insert(scale::ScaleFigures::default()))).await?;
    }
    if cli.wants(Part::Sites) {
        Box::pin(sites::measure(&cli.sites_plan(), &mut figures.sites)).await?;
    }
    if cli.wants(Part::Cluster) || cli.wants(Part::Kubelet) {
        let ground = Box::pin(Ground::prepare()).await?;
        let measured = tokio::time::timeout(LIMIT, Box::pin(measure_on(cli, &ground, figures))).await;
        let measured = measured.with_context(|| format!("not done within {LIMIT:.0?}")).flatten();
        if measured.is_err() {
            ground.keep_logs();
        }
        measured?;
    }
    Ok(())
}

async fn measure_on(cli: &Cli, ground: &Ground, figures: &mut Figures) -> Result<()> {
    if cli.wants(Part::Cluster) {
        measure_cluster(&cli.plan(), ground, figures).await?;
    }
    if cli.wants(Part::Kubelet) {
        figures.kubelet = Some(kubelet::measure(ground, &cli.kubelet_plan()).await?);
    }
    Ok(())
}

async fn measure_cluster(plan: &cli::Plan, ground: &Ground, figures: &mut Figures) -> Result<()> {
    figures.idle = idle::measure(ground, plan.idle, "fresh").await?;
    figures.latency = latency::measure(ground, plan).await?;
    figures.rate = rate::measure(ground, plan).await?;
    figures.writes = writes::measure(ground, plan).await?;
    figures.idle.extend(idle::measure(ground, plan.idle, "after the load").await?);
    figures.targets = targets::check(figures);
    Ok(())
}

/// `vk-cmd-bench.json` in cargo's target directory.
fn default_file() -> Result<PathBuf> {
    let ours = std::env::current_exe().context("cannot find out where this program is")?;
    let (target, _) = binaries::target_and_profile(&ours)
        .context("cargo has not put this program into its target directory: name a file with --json")?;
    Ok(target.join("vk-cmd-bench.json"))
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write the figures to {}", file.display()))
}
