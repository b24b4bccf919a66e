//! Very many tasks that only run: what they cost together.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use vk_task::{StopRequest, TaskState};

use super::host::{Host, task};
use crate::bench::cli::PipePlan;
use crate::bench::figures::PipeMany;
use crate::bench::proc;

/// How many are asked for at a time.
const PARALLEL: usize = 32;
/// After their start everything gets this long to be quiet.
const SETTLE: Duration = Duration::from_secs(5);

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
    let pipe = host.pipe_pid();
    let shims: Vec<u32> = all.iter().copied().filter(|pid| is_shim(*pid)).collect();
    (shims.len() == plan.many).then_some(()).with_context(|| format!("{} shims, not {}", shims.len(), plan.many))?;
    let ours = || shims.iter().chain([&pipe]);
    let spent = || ours().map(|pid| proc::cpu_time(*pid)).sum::<Result<Duration>>();
    let before = spent()?;
    tokio::time::sleep(plan.idle).await;
    let after = spent()?;
    let pipe_pss = proc::memory(pipe)?.pss;
    let (mut private, mut all_pss) = (0.0, pipe_pss);
    for pid in &all {
        let memory = proc::memory(*pid)?;
        all_pss += memory.pss;
        if is_shim(*pid) {
            private += memory.private;
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

pub(super) fn is_shim(pid: u32) -> bool {
    proc::part(pid) == b"shim"
}
