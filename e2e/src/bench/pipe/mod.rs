//! The pipe alone, without a cluster: what its durability costs next to plain system calls, in the same run.
//!
//! ```text
//!  host     a home directory with a `vk-node pipe` in it, and its client
//!    ├─ rate     short tasks at 8 in parallel, next to fork+exec+wait and to the disk
//!    ├─ latency  start → exec, exit → known; one at a time
//!    ├─ output   what a shim takes, next to `cat`
//!    └─ many     a thousand tasks that only run: memory and CPU
//! ```

mod disk;
mod host;
mod latency;
mod many;
mod output;
mod rate;

use anyhow::Result;

use super::cli::PipePlan;
use super::figures::{PipeFigures, Target};
use host::Host;

/// Measures all of it.
pub(super) async fn measure(plan: &PipePlan) -> Result<PipeFigures> {
    let host = Host::start().await?;
    eprintln!("bench: pipe, latency");
    let latency = latency::measure(&host, plan.singles).await?;
    eprintln!("bench: pipe, rate");
    let rates = rate::measure(&host, plan).await?;
    eprintln!("bench: pipe, output");
    let output = output::measure(&host, plan).await?;
    eprintln!("bench: pipe, {} tasks that only run", plan.many);
    let many = many::measure(&host, plan).await?;
    let mut figures = PipeFigures { targets: Vec::new(), latency, rates, output, many };
    figures.targets = targets(&figures);
    Ok(figures)
}

/// What issue 4 aims at.
fn targets(figures: &PipeFigures) -> Vec<Target> {
    let mut targets = Vec::new();
    let rate = |name: &str| figures.rates.iter().find(|row| row.who == name).map(|row| row.per_second);
    let at_least = |what, wanted: f64, measured: f64, unit: &str| Target {
        what,
        wanted: format!("≥ {wanted:.0} {unit}"),
        measured: format!("{measured:.0} {unit}"),
        reached: measured >= wanted,
    };
    let at_most = |what, wanted: f64, measured: f64, unit: &str| Target {
        what,
        wanted: format!("≤ {wanted} {unit}"),
        measured: format!("{measured:.2} {unit}"),
        reached: measured <= wanted,
    };
    if let Some((ours, plain)) = rate(rate::PIPE).zip(rate(rate::PLAIN)) {
        targets.push(at_least("tasks at 8 in parallel, of plain fork+exec+wait", 50.0, ours / plain * 100.0, "%"));
    }
    if let Some((ours, disk)) = rate(rate::PIPE).zip(rate(rate::DISK)) {
        let used = ours * f64::from(rate::RECORDS_PER_TASK) / disk * 100.0;
        targets.push(at_least("the same, of the rate at which the disk takes such records", 90.0, used, "%"));
    }
    for row in &figures.output {
        let what =
            if row.what == output::LINES { "output, lines, of cat's rate" } else { "output, no lines, of cat's rate" };
        targets.push(Target {
            what,
            wanted: "≥ 500 MB/s a core, or ≥ 80 % of cat".to_owned(),
            measured: format!(
                "{:.0} MB/s, {:.0} MB/s a core, {:.0} %",
                row.shim,
                row.shim_per_core,
                row.shim / row.cat * 100.0
            ),
            reached: row.shim_per_core >= 500.0 || row.shim >= 0.8 * row.cat,
        });
    }
    let many = &figures.many;
    targets.push(at_most("private memory of a shim", 1.0, many.shim_private_mib, "MiB"));
    targets.push(at_most("memory of all (PSS): pipe, shims and tasks", 1536.0, many.all_pss_mib, "MiB"));
    targets.push(at_most("CPU of all shims and the pipe, idle", 0.1, many.cpu_percent, "%"));
    targets
}
