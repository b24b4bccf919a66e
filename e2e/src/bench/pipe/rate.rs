//! Short tasks, so many at a time: the pipe next to plain fork+exec+wait, and next to the disk alone.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::{StreamExt, TryStreamExt, stream};
use vk_task::TaskState;

use super::disk;
use super::host::{Host, task};
use crate::bench::cli::PipePlan;
use crate::bench::figures::{PipeRate, median};

/// The contestants.
pub(super) const PIPE: &str = "pipe: accepted, run, end known";
pub(super) const PLAIN: &str = "plain fork+exec+wait";
pub(super) const DISK: &str = "disk: records, each of 2 fsyncs";
/// How many records (intent, start, exit) each task has that something waits for to be durable. The intent's fsync of
/// `tasks` itself comes on top: it is not counted here, so that the share of the disk is not shown as more than it is.
pub(super) const RECORDS_PER_TASK: u32 = 3;

/// How many at a time.
const PARALLEL: usize = 8;

/// The contestants take turns; the medians of the rounds count.
pub(super) async fn measure(host: &Host, plan: &PipePlan) -> Result<Vec<PipeRate>> {
    let mut samples: [Vec<f64>; 3] = Default::default();
    for round in 0..plan.rounds {
        let times = [
            pipe(host, round, plan.tasks).await?,
            in_parallel(plan.tasks, |_| {
                let status = Command::new("/bin/true").status().context("cannot run /bin/true")?;
                status.success().then_some(()).context("/bin/true failed")
            })?,
            on_disk(&host.file(&format!("disk-{round}")), plan.tasks)?,
        ];
        for (samples, time) in samples.iter_mut().zip(times) {
            samples.push(f64::from(u32::try_from(plan.tasks)?) / time.as_secs_f64());
        }
    }
    let rows = [PIPE, PLAIN, DISK].into_iter().zip(samples).map(|(who, samples)| PipeRate {
        who,
        parallel: PARALLEL,
        samples: samples.len(),
        per_second: median(samples),
    });
    Ok(rows.collect())
}

async fn pipe(host: &Host, round: usize, count: usize) -> Result<Duration> {
    let prefix = format!("rate-{round}-");
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}{n}")).collect();
    let argv = ["/bin/true".to_owned()];
    // Each of the eight starts its next task when the last one's end is known, as fork+exec+wait does.
    let ends = Ends::follow(host).await?;
    let begin = Instant::now();
    stream::iter(&names)
        .map(Ok::<_, anyhow::Error>)
        .try_for_each_concurrent(PARALLEL, async |name| {
            let (id, spec) = task(name, &argv)?;
            let end = ends.of(name)?;
            host.client.start(&id, &spec).await?;
            end.await.map_err(|_| anyhow!("the watch ended before {name} did"))
        })
        .await?;
    let time = begin.elapsed();
    drop(ends);
    for name in &names {
        host.client.remove(&vk_task::TaskId::new(name.clone())?).await?;
    }
    Ok(time)
}

/// One watch that tells of all ends.
struct Ends {
    waiting: std::sync::Arc<std::sync::Mutex<std::collections::HashMap<String, tokio::sync::oneshot::Sender<()>>>>,
    follower: tokio::task::JoinHandle<()>,
}

impl Ends {
    async fn follow(host: &Host) -> Result<Self> {
        let waiting: std::sync::Arc<std::sync::Mutex<std::collections::HashMap<_, _>>> = std::sync::Arc::default();
        let mut events = host.client.watch().await?;
        let told = std::sync::Arc::clone(&waiting);
        let follower = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let views = match event {
                    vk_task::WatchEvent::Snapshot { tasks } => tasks,
                    vk_task::WatchEvent::Changed { task } => vec![task],
                    vk_task::WatchEvent::Removed { .. } => Vec::new(),
                };
                for view in views.into_iter().filter(|view| TaskState::is_final(&view.state)) {
                    let waiter: Option<tokio::sync::oneshot::Sender<()>> =
                        told.lock().ok().and_then(|mut told| told.remove(view.id.as_str()));
                    if let Some(waiter) = waiter {
                        // Whoever waited may have given up.
                        let _ = waiter.send(());
                    }
                }
            }
        });
        Ok(Self { waiting, follower })
    }

    fn of(&self, name: &str) -> Result<tokio::sync::oneshot::Receiver<()>> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut waiting = self.waiting.lock().map_err(|_| anyhow!("the follower of the watch has panicked"))?;
        waiting.insert(name.to_owned(), sender);
        Ok(receiver)
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

fn on_disk(directory: &Path, count: usize) -> Result<Duration> {
    std::fs::create_dir(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    // As much as an intent of a short command is.
    let bytes = vec![b'x'; 600];
    for n in 0..count {
        std::fs::create_dir(directory.join(n.to_string()))?;
    }
    let time = in_parallel(count, |n| disk::write_record(&directory.join(n.to_string()), "record", &bytes))?;
    std::fs::remove_dir_all(directory)?;
    Ok(time)
}

/// Does `work` so many times, by eight threads.
fn in_parallel(count: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<Duration> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..PARALLEL)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if n >= count {
                            return Ok::<(), anyhow::Error>(());
                        }
                        work(n)?;
                    }
                })
            })
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<()>>| {
            thread.join().unwrap_or_else(|_| Err(anyhow!("a thread has panicked")))
        };
        threads.into_iter().try_for_each(join)
    })?;
    Ok(begin.elapsed())
}
