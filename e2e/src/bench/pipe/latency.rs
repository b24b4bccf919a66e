//! One task at a time: from the request to the program's first instruction, and from its last to the end's being known.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use vk_task::TaskState;

use super::host::{Host, task};
use crate::bench::figures::{Milliseconds, PipeLatency};
use crate::bench::workload;

/// Measures.
pub(super) async fn measure(host: &Host, samples: usize) -> Result<Vec<PipeLatency>> {
    let mut started: [Vec<Duration>; 2] = Default::default();
    let mut ended: [Vec<Duration>; 2] = Default::default();
    for n in 0..samples {
        let name = format!("latency-{n}");
        let file = host.file(&name);
        let argv = workload::stamp_command(&file)?;
        let (id, spec) = task(&name, &argv)?;
        let asked = SystemTime::now();
        host.client.start(&id, &spec).await?;
        host.until(&name, 1, TaskState::is_final).await?;
        let known = SystemTime::now();
        let stamp = stamp(&file)?;
        record(&mut started, &mut ended, 0, asked, stamp, known)?;
        host.client.remove(&id).await?;

        let [program, arguments @ ..] = argv.as_slice() else { continue };
        let asked = SystemTime::now();
        let status = Command::new(program).args(arguments).status().context("cannot run the workload")?;
        let known = SystemTime::now();
        status.success().then_some(()).context("the workload failed")?;
        record(&mut started, &mut ended, 1, asked, self::stamp(&file)?, known)?;
    }
    let mut rows = Vec::new();
    for (span, samples) in [("start → program runs", started), ("program ends → end known", ended)] {
        for (who, samples) in ["pipe", "plain fork+exec+wait"].into_iter().zip(samples) {
            rows.extend(Milliseconds::of(&samples).map(|milliseconds| PipeLatency { who, span, milliseconds }));
        }
    }
    Ok(rows)
}

fn record(
    started: &mut [Vec<Duration>; 2],
    ended: &mut [Vec<Duration>; 2],
    who: usize,
    asked: SystemTime,
    stamp: SystemTime,
    known: SystemTime,
) -> Result<()> {
    let clock = "the clock was set back";
    if let (Some(started), Some(ended)) = (started.get_mut(who), ended.get_mut(who)) {
        started.push(stamp.duration_since(asked).context(clock)?);
        ended.push(known.duration_since(stamp).context(clock)?);
    }
    Ok(())
}

fn stamp(file: &std::path::Path) -> Result<SystemTime> {
    let text = std::fs::read_to_string(file).with_context(|| format!("no time in {}", file.display()))?;
    Ok(UNIX_EPOCH + Duration::from_nanos(text.parse().with_context(|| format!("{text:?} is no time"))?))
}
