//! Very many tasks that only run: what they cost together.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use vk_task::{StopRequest, TaskState};

use super::host::{Host, task};
use crate::bench::cli::PipePlan;
use crate::bench::figures::PipeMany;

/// How many are asked for at a time.
const PARALLEL: usize = 32;
/// After their start everything gets this long to be quiet.
const SETTLE: Duration = Duration::from_secs(5);
/// What a tick of `/proc/PID/stat` is, on every Linux: USER_HZ.
const TICKS_PER_SECOND: u64 = 100;

/// Measures.
pub(super) async fn measure(host: &Host, plan: &PipePlan) -> Result<PipeMany> {
    let argv = ["/bin/sleep".to_owned(), "3600".to_owned()];
    let tasks = (0..plan.many).map(|n| task(&format!("many-{n}"), &argv)).collect::<Result<Vec<_>>>()?;
    stream::iter(&tasks)
        .map(Ok::<_, anyhow::Error>)
        .try_for_each_concurrent(PARALLEL, async |(id, spec)| Ok(host.client.start(id, spec).await.map(drop)?))
        .await?;
    let running = |state: &TaskState| matches!(state, TaskState::Running { .. });
    host.until("many-", plan.many, running).await?;
    tokio::time::sleep(SETTLE).await;
    let all = host.processes()?;
    let pipe = i32::try_from(host.pipe_pid())?;
    let shims: Vec<i32> = all.iter().copied().filter(|pid| is_shim(*pid)).collect();
    (shims.len() == plan.many).then_some(()).with_context(|| format!("{} shims, not {}", shims.len(), plan.many))?;
    let ours = || shims.iter().chain([&pipe]);
    let before: Duration = ours().filter_map(|pid| cpu_time(*pid)).sum();
    tokio::time::sleep(plan.idle).await;
    let after: Duration = ours().filter_map(|pid| cpu_time(*pid)).sum();
    let (mut private, mut all_pss) = (0.0, memory(pipe)?.1);
    let pipe_pss = all_pss;
    for pid in &all {
        let (own, pss) = memory(*pid)?;
        all_pss += pss;
        if is_shim(*pid) {
            private += own;
        }
    }
    let count = f64::from(u32::try_from(shims.len())?);
    for (id, _) in &tasks {
        let request = StopRequest { kill_at: Timestamp::now(), reason: "measured".to_owned() };
        host.client.stop(id, &request).await?;
    }
    host.until("many-", plan.many, TaskState::is_final).await?;
    Ok(PipeMany {
        tasks: shims.len(),
        shim_private_mib: private / count / 1024.0,
        pipe_pss_mib: pipe_pss / 1024.0,
        all_pss_mib: all_pss / 1024.0,
        cpu_percent: (after.saturating_sub(before)).as_secs_f64() / plan.idle.as_secs_f64() * 100.0,
    })
}

fn is_shim(pid: i32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).nth(1) == Some(b"shim")
}

/// The processor time that a process has used, to the clock tick.
pub(super) fn cpu_time(pid: i32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11..13)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Private memory and the proportional share of all, in KiB.
fn memory(pid: i32) -> Result<(f64, f64)> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let of = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    Ok((of("Private_Clean:") + of("Private_Dirty:"), of("Pss:")))
}
