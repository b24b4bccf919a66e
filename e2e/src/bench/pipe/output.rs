//! How fast a shim takes output, next to `cat` into a file.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use vk_task::{LogLimits, TaskState};

use super::host::{Host, task};
use super::many;
use crate::bench::cli::PipePlan;
use crate::bench::figures::{PipeOutput, median};
use crate::bench::proc;

pub(super) const LINES: &str = "lines of 80 bytes";
const ZEROS: &str = "no lines";

/// Measures both kinds of output, the two programs in turn.
pub(super) async fn measure(host: &Host, plan: &PipePlan) -> Result<Vec<PipeOutput>> {
    let mut rows = Vec::new();
    for (what, line) in [(LINES, vec![b'x'; 79]), (ZEROS, Vec::new())] {
        let source = host.file("source");
        fill(&source, &line, plan.output_bytes)?;
        let (mut shim, mut cat, mut cores) = (Vec::new(), Vec::new(), Vec::new());
        let megabytes = plan.output_bytes as f64 / 1e6;
        for round in 0..plan.rounds {
            let sink = host.file("sink");
            let begin = Instant::now();
            through_cat(&source, &sink)?;
            cat.push(megabytes / begin.elapsed().as_secs_f64());
            std::fs::remove_file(&sink)?;

            let name = format!("output-{}-{round}", line.len());
            let argv = ["/bin/cat".to_owned(), source.to_string_lossy().into_owned()];
            let (id, mut spec) = task(&name, &argv)?;
            // As `cat` keeps all of it.
            spec.limits.log = LogLimits { file_bytes: u64::MAX, files: 1 };
            let begin = Instant::now();
            host.client.start(&id, &spec).await?;
            let used = shim_cpu(host, &name).await?;
            shim.push(megabytes / begin.elapsed().as_secs_f64());
            cores.push(megabytes / used.as_secs_f64());
            host.client.remove(&id).await?;
        }
        rows.push(PipeOutput { what, shim: median(shim), shim_per_core: median(cores), cat: median(cat) });
        std::fs::remove_file(&source)?;
    }
    Ok(rows)
}

/// Waits for the end, and tells what processor time the shim has used until shortly before.
async fn shim_cpu(host: &Host, name: &str) -> Result<Duration> {
    let (mut used, mut shim) = (Duration::ZERO, None);
    let end = host.until(name, 1, TaskState::is_final);
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            // Cancel-safe: it is pinned outside of the loop and goes on where it was.
            ended = &mut end => return ended.map(|()| used),
            // Cancel-safe: a clock.
            () = tokio::time::sleep(Duration::from_millis(2)) => {}
        }
        if shim.is_none() {
            let named = |pid: &u32| {
                let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                many::is_shim(*pid) && command.windows(name.len()).any(|w| w == name.as_bytes())
            };
            shim = host.processes()?.into_iter().find(named);
        }
        if let Some(pid) = shim
            && let Ok(now) = proc::cpu_time(pid)
        {
            used = now;
        }
    }
}

fn through_cat(source: &std::path::Path, sink: &std::path::Path) -> Result<()> {
    let mut first = Command::new("/bin/cat").arg(source).stdout(Stdio::piped()).spawn().context("cannot run cat")?;
    let pipe = first.stdout.take().context("cat has no output")?;
    let into = File::create(sink).context("cannot make a file")?;
    let status = Command::new("/bin/cat").stdin(pipe).stdout(into).status().context("cannot run cat")?;
    first.wait()?;
    status.success().then_some(()).context("cat failed")
}

fn fill(path: &std::path::Path, line: &[u8], bytes: u64) -> Result<()> {
    let mut block = Vec::with_capacity(1 << 20);
    while block.len() < 1 << 20 {
        if line.is_empty() {
            block.push(0);
        } else {
            block.extend_from_slice(line);
            block.push(b'\n');
        }
    }
    let mut file = File::create(path).context("cannot make a file")?;
    let mut left = bytes;
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        file.write_all(block.get(..n).unwrap_or_default()).context("cannot fill a file")?;
        left -= n as u64;
    }
    Ok(())
}
