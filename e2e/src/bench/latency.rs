//! How long it takes until a client that watches hears of a process's beginning and of its end.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use futures::future::try_join_all;

use super::cli::Plan;
use super::contestant::{Contestant, Room};
use super::figures::{Latency, Milliseconds, Span};
use super::ground::Ground;
use super::sightings::Mark;

/// In this order, again and again: what disturbs the machine disturbs all of them.
const IN_TURN: [Contestant; 3] = [Contestant::OurPod, Contestant::FakePod, Contestant::CmdJob];
/// The machine gets this long to be quiet again after one sample.
const BREATH: Duration = Duration::from_millis(20);
/// After many at once, and after clearing up.
const REST: Duration = Duration::from_secs(1);

/// What was measured of one contestant.
struct Samples {
    who: Contestant,
    at_once: usize,
    to_running: Vec<Duration>,
    to_end_seen: Vec<Duration>,
}

impl Samples {
    fn none(at_once: usize) -> [Self; 3] {
        IN_TURN.map(|who| Self { who, at_once, to_running: Vec::new(), to_end_seen: Vec::new() })
    }

    fn rows(&self) -> impl Iterator<Item = Latency> {
        let spans = [(Span::CreateToRunning, &self.to_running), (Span::ExitToEndSeen, &self.to_end_seen)];
        spans.into_iter().filter_map(|(span, samples)| {
            let milliseconds = Milliseconds::of(samples)?;
            Some(Latency { who: self.who, at_once: self.at_once, span, milliseconds })
        })
    }
}

/// One at a time, then many at once.
pub(super) async fn measure(ground: &Ground, plan: &Plan) -> Result<Vec<Latency>> {
    let room = ground.room("latency").await?;
    let mut singles = Samples::none(1);
    eprintln!("bench: one at a time, {} of each", plan.singles);
    // The first of each kind opens connections and fills caches; it is not counted.
    for samples in &mut Samples::none(1) {
        one_burst(ground, &room, samples, "warm-up").await?;
    }
    for number in 0..plan.singles {
        for samples in &mut singles {
            one_burst(ground, &room, samples, &number.to_string()).await?;
            tokio::time::sleep(BREATH).await;
        }
    }
    room.clear().await?;
    let mut many = Samples::none(plan.at_once);
    eprintln!("bench: {} at once, {} times", plan.at_once, plan.rounds);
    for round in 0..plan.rounds {
        for samples in &mut many {
            tokio::time::sleep(REST).await;
            one_burst(ground, &room, samples, &format!("burst-{round}")).await?;
            room.clear().await?;
        }
    }
    Ok(singles.iter().chain(&many).flat_map(Samples::rows).collect())
}

/// Creates as many as are to be made at once, waits until all run, and lets all of them end.
async fn one_burst(ground: &Ground, room: &Room, samples: &mut Samples, series: &str) -> Result<()> {
    let (who, workload) = (samples.who, &ground.workload);
    let names: Vec<String> = (0..samples.at_once).map(|number| who.object_name(series, number)).collect();
    let running = try_join_all(names.iter().map(async |name| {
        let created = room.create(who, name, &workload.command(name)).await?;
        Ok::<_, anyhow::Error>(since(created, room.seen(who, name, Mark::Running).await?))
    }))
    .await?;
    samples.to_running.extend(running);
    if who.runs_something() {
        workload.open(names.len())?;
        let ended = try_join_all(names.iter().map(async |name| {
            let seen = room.seen(who, name, Mark::Ended).await?;
            Ok::<_, anyhow::Error>(since(workload.exit_time(name)?, seen))
        }))
        .await?;
        samples.to_end_seen.extend(ended);
    }
    Ok(())
}

/// A clock that is set back in between makes it nothing, which the figures would show.
fn since(begin: SystemTime, end: SystemTime) -> Duration {
    end.duration_since(begin).unwrap_or_default()
}
