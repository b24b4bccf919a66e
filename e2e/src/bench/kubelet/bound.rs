//! From a pod that is bound to one that runs, and how many of them in a second.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};

use super::Bound;
use crate::bench::cli::KubeletPlan;
use crate::bench::contestant::{Contestant, Room};
use crate::bench::figures::{Milliseconds, median};
use crate::bench::ground::Ground;
use crate::bench::sightings::Mark;

/// In this order, again and again: what disturbs the machine disturbs all of them.
const IN_TURN: [Contestant; 3] = [Contestant::OurPod, Contestant::FakePod, Contestant::NobodysPod];
/// The most that the client asks for at a time, the next as soon as one is answered.
const IN_FLIGHT: usize = 50;
/// After one alone, and after many and clearing up.
const BREATH: Duration = Duration::from_millis(20);
const REST: Duration = Duration::from_secs(1);

/// What was measured of one contestant.
struct Samples {
    who: Contestant,
    to_running: Vec<Duration>,
    to_seen: Vec<Duration>,
    per_second: Vec<f64>,
}

impl Samples {
    fn none() -> [Self; 3] {
        IN_TURN.map(|who| Self { who, to_running: Vec::new(), to_seen: Vec::new(), per_second: Vec::new() })
    }

    fn row(self, at_once: usize, rounds: usize) -> Result<Bound> {
        Ok(Bound {
            who: self.who,
            at_once,
            rounds,
            bound_to_running: Milliseconds::of(&self.to_running),
            create_to_seen: Milliseconds::of(&self.to_seen).context("nothing was measured")?,
            per_second: median(self.per_second),
        })
    }
}

/// The contestants in turn, as many at once as the plan says.
pub(super) async fn measure(ground: &Ground, plan: &KubeletPlan) -> Result<Vec<Bound>> {
    let room = ground.room("bound").await?;
    let mut rows = Vec::new();
    for samples in &mut Samples::none() {
        // Opens connections and fills caches; it is not counted.
        burst(ground, &room, samples, "warm-up", IN_FLIGHT).await?;
    }
    for &(at_once, rounds) in plan.bound {
        eprintln!("bench: bound pods, {at_once} at once, {rounds} times");
        let mut all = Samples::none();
        for round in 0..rounds {
            for samples in &mut all {
                burst(ground, &room, samples, &format!("{at_once}-{round}"), at_once).await?;
            }
        }
        for samples in all {
            rows.push(samples.row(at_once, rounds)?);
        }
    }
    Ok(rows)
}

/// Creates as many as are to be made at once, waits until all run, lets all of them end, and clears up.
async fn burst(ground: &Ground, room: &Room, samples: &mut Samples, series: &str, at_once: usize) -> Result<()> {
    let who = samples.who;
    let last = if who == Contestant::NobodysPod { Mark::Bound } else { Mark::Running };
    let names: Vec<String> = (0..at_once).map(|number| who.object_name(series, number)).collect();
    let created: Vec<(&String, SystemTime)> = stream::iter(&names)
        .map(async |name| {
            let created = room.create_bound(who, name, &ground.workload.command(name)).await?;
            Ok::<_, anyhow::Error>((name, created))
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    let mut all_seen = Vec::new();
    for (name, created) in &created {
        let seen = room.seen(who, name, last).await?;
        if last == Mark::Running {
            samples.to_running.push(since(room.seen(who, name, Mark::Bound).await?, seen));
        }
        samples.to_seen.push(since(*created, seen));
        all_seen.push(seen);
    }
    let first = created.iter().map(|(_, created)| *created).min();
    let (first, end) = first.zip(all_seen.into_iter().max()).context("nothing was measured")?;
    let count = f64::from(u32::try_from(at_once).context("too many at once")?);
    samples.per_second.push(count / since(first, end).as_secs_f64());
    if who.runs_something() {
        ground.workload.open(at_once)?;
        for name in &names {
            room.seen(who, name, Mark::Ended).await?;
        }
    }
    if who == Contestant::NobodysPod {
        room.clear_nobodys().await?;
    } else {
        room.clear().await?;
    }
    tokio::time::sleep(if at_once == 1 { BREATH } else { REST }).await;
    Ok(())
}

/// A clock that is set back in between makes it nothing, which the figures would show.
fn since(begin: SystemTime, end: SystemTime) -> Duration {
    end.duration_since(begin).unwrap_or_default()
}
