//! Many short jobs at once, from the first one's creation to the last one's end.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use futures::future::try_join_all;

use super::cli::Plan;
use super::contestant::{Contestant, Room};
use super::figures::{Rate, milliseconds};
use super::ground::Ground;
use super::sightings::Mark;

const IN_TURN: [Contestant; 3] = [Contestant::OurPod, Contestant::CmdJob, Contestant::FakeJob];
const REST: Duration = Duration::from_secs(1);

/// Each contestant in turn, once.
pub(super) async fn measure(ground: &Ground, plan: &Plan) -> Result<Vec<Rate>> {
    let room = ground.room("rate").await?;
    let mut rates = Vec::new();
    for who in IN_TURN {
        eprintln!("bench: {} that end at once: {}", plan.at_once, who.name());
        let alone = to_the_end(&room, who, "alone", 1).await?;
        tokio::time::sleep(REST).await;
        let seconds = to_the_end(&room, who, "together", plan.at_once).await?.as_secs_f64();
        let count = u32::try_from(plan.at_once).context("too many at once")?;
        rates.push(Rate {
            who,
            at_once: plan.at_once,
            seconds,
            per_second: f64::from(count) / seconds,
            alone_ms: milliseconds(alone),
        });
        room.clear().await?;
        tokio::time::sleep(REST).await;
    }
    Ok(rates)
}

async fn to_the_end(room: &Room, who: Contestant, series: &str, count: usize) -> Result<Duration> {
    let command = ["true".to_owned()];
    let begin = SystemTime::now();
    let ends = try_join_all((0..count).map(async |number| {
        let name = who.object_name(series, number);
        room.create(who, &name, &command).await?;
        room.seen(who, &name, Mark::Ended).await
    }))
    .await?;
    let end = ends.into_iter().max().context("nothing was measured")?;
    end.duration_since(begin).context("the clock was set back")
}
