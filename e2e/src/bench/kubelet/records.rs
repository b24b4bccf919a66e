//! What a node and its pipe keep in memory of each pod that they have nothing to do for: one whose process sleeps, and one whose
//! process has ended. On a site of its own, so that nothing else has been there.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};

use super::Records;
use crate::bench::cli::KubeletPlan;
use crate::bench::contestant::{Contestant, Room};
use crate::bench::ground::Ground;
use crate::bench::proc;
use crate::bench::sightings::Mark;
use crate::site::Site;

const NODE: &str = "vk-records";
/// Pods that are there in the beginning, so that what any pod needs is in memory.
const FEW: usize = 10;
/// The most that are asked for, or end, at a time: it is what stays that is measured, not what a storm leaves behind.
const IN_FLIGHT: usize = 8;
const WHO: Contestant = Contestant::OurPod;

/// What a node has of memory: the process `run`, and the process `pipe`.
struct Snapshot([Memory; 2]);

struct Memory {
    rss_kib: f64,
    private_kib: f64,
}

/// A few that sleep, many that sleep, many that have ended.
pub(super) async fn measure(ground: &Ground, plan: &KubeletPlan) -> Result<Vec<Records>> {
    eprintln!("bench: what a node keeps of a pod, {} of them", plan.records);
    let site = ground.site(NODE).await?;
    let room = ground.room_for("records", NODE).await?;
    let names: Vec<String> = (0..plan.records).map(|number| WHO.object_name("record", number)).collect();
    let (few, more) = names.split_at_checked(FEW).context("too few pods")?;
    start(ground, &room, few).await?;
    let before = look(&site, plan.settle).await?;
    start(ground, &room, more).await?;
    let sleeping = look(&site, plan.settle).await?;
    let mut ended = 0;
    for some in names.chunks(IN_FLIGHT) {
        ground.workload.open(some.len())?;
        ended += some.len();
        room.pods_seen(ended, Mark::Ended).await?;
    }
    let ended = look(&site, plan.settle).await?;
    room.clear().await?;
    let rows = |pods, after| rows(pods, [FEW, names.len()], &before, after);
    Ok(rows("sleep", &sleeping).into_iter().chain(rows("have ended", &ended)).collect())
}

async fn start(ground: &Ground, room: &Room, names: &[String]) -> Result<()> {
    let one = async |name: &String| {
        room.create_bound(WHO, name, &ground.workload.command(name)).await?;
        room.seen(WHO, name, Mark::Running).await.map(drop)
    };
    stream::iter(names).map(Ok::<_, anyhow::Error>).try_for_each_concurrent(IN_FLIGHT, one).await
}

async fn look(site: &Site, settle: Duration) -> Result<Snapshot> {
    tokio::time::sleep(settle).await;
    let pids = site.processes()?.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>()?;
    let of = |part: &str| {
        let pid = pids.iter().find(|pid| proc::part(**pid) == part.as_bytes());
        let pid = *pid.with_context(|| format!("the site has no `vk-node {part}`"))?;
        Ok::<_, anyhow::Error>(Memory { rss_kib: proc::resident(pid)?, private_kib: proc::memory(pid)?.private })
    };
    Ok(Snapshot([of("run")?, of("pipe")?]))
}

fn rows(pods: &'static str, [fewer, more]: [usize; 2], before: &Snapshot, after: &Snapshot) -> Vec<Records> {
    let processes = ["vk-node run", "vk-node pipe"].into_iter().zip(before.0.iter().zip(&after.0));
    let row = |(process, (before, after)): (_, (&Memory, &Memory))| Records {
        process,
        pods,
        fewer,
        more,
        rss_kib: [before.rss_kib, after.rss_kib],
        private_kib: [before.private_kib, after.private_kib],
    };
    processes.map(row).collect()
}
