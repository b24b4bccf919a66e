//! What our processes cost while nothing happens, as the kernel counts it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::contestant::Contestant;
use super::figures::Idle;
use super::ground::Ground;
use super::proc;
use super::sightings::Mark;

/// Tasks that only sleep, each with its shim.
const SLEEPERS: usize = 10;
/// After a change everything gets this long to be quiet.
const SETTLE: Duration = Duration::from_secs(3);

/// Looks for `long` at every process of ours.
pub(super) async fn measure(ground: &Ground, long: Duration, when: &'static str) -> Result<Vec<Idle>> {
    eprintln!("bench: idle, {when}, {long:.0?}");
    let room = ground.room(&format!("idle-{}", when.replace(' ', "-"))).await?;
    let command = ["sleep".to_owned(), "3600".to_owned()];
    for number in 0..SLEEPERS {
        let name = Contestant::OurPod.object_name("sleeper", number);
        room.create(Contestant::OurPod, &name, &command).await?;
        room.seen(Contestant::OurPod, &name, Mark::Running).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let parts = parts(ground)?;
    let before = parts.iter().map(|part| part.work()).collect::<Result<Vec<_>>>()?;
    tokio::time::sleep(long).await;
    let mut rows = Vec::new();
    for (part, before) in parts.iter().zip(before) {
        rows.push(part.idle(when, &before, long)?);
    }
    room.clear().await?;
    Ok(rows)
}

/// The processes of one kind.
struct Part {
    name: &'static str,
    pids: Vec<u32>,
}

/// What a process has done in its life so far.
#[derive(Debug, Default)]
struct Work {
    cpu_seconds: f64,
    /// Of each thread: by the directory where the kernel tells of it.
    wakeups: BTreeMap<PathBuf, f64>,
}

fn parts(ground: &Ground) -> Result<Vec<Part>> {
    let mut node = Part { name: "vk-node run", pids: Vec::new() };
    let mut pipe = Part { name: "vk-node pipe", pids: Vec::new() };
    let mut shim = Part { name: "vk-node shim (of a sleep)", pids: Vec::new() };
    for pid in ground.site.processes()? {
        let pid = u32::try_from(pid)?;
        let part = match proc::part(pid).as_slice() {
            b"run" => &mut node,
            b"pipe" => &mut pipe,
            b"shim" => &mut shim,
            _ => continue, // a sleep
        };
        part.pids.push(pid);
    }
    let operator = Part { name: "vk-operator", pids: vec![ground.operator_pid] };
    Ok(vec![node, pipe, shim, operator])
}

impl Part {
    fn work(&self) -> Result<Work> {
        let mut sum = Work::default();
        for pid in &self.pids {
            sum.cpu_seconds += proc::cpu_time(*pid)?.as_secs_f64();
            for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let task = task?.path();
                // A thread that ends while we look has nothing more to say.
                let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
                sum.wakeups.insert(task, proc::number_after(&status, "voluntary_ctxt_switches:").unwrap_or_default());
            }
        }
        Ok(sum)
    }

    fn idle(&self, when: &'static str, before: &Work, long: Duration) -> Result<Idle> {
        let after = self.work()?;
        let count = f64::from(u32::try_from(self.pids.len())?);
        let mut sums = [0.0; 4];
        for pid in &self.pids {
            let status = proc::read(*pid, "status")?;
            let of =
                |key: &str| proc::number_after(&status, key).with_context(|| format!("process {pid} has no {key}"));
            let memory = proc::memory(*pid)?;
            let figures = [of("VmRSS:")?, memory.private, memory.pss, of("Threads:")?];
            for (sum, figure) in sums.iter_mut().zip(figures) {
                *sum += figure;
            }
        }
        let [rss_kib, private_kib, pss_kib, threads] = sums.map(|sum| sum / count);
        let seconds = long.as_secs_f64() * count;
        // Threads that have ended since are left out; those that are new count in full.
        let wakeups: f64 = after
            .wakeups
            .iter()
            .map(|(task, count)| count - before.wakeups.get(task).copied().unwrap_or_default())
            .sum();
        Ok(Idle {
            process: self.name.to_owned(),
            when,
            processes: self.pids.len(),
            rss_kib,
            private_kib,
            pss_kib,
            threads,
            cpu_percent: (after.cpu_seconds - before.cpu_seconds) / seconds * 100.0,
            wakeups_per_second: wakeups / seconds,
        })
    }
}
