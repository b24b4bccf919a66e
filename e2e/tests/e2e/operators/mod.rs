//! Operators that are killed, alone and with another one standing by, over a mixed load with pods that are deleted by hand:
//! each attempt runs once, the counts are right, nothing is stuck, and in the end there is silence.

mod cost;
mod ends;
mod kinds;
mod load;
mod silence;
mod team;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use vk_cmd_e2e::wait::{self, Probe};

use self::load::{Load, Progress, seed};
use self::silence::Requests;
use self::team::{ALONE, BRISK, Form, Team, USUAL};
use crate::ground::{GLANCE, LONG};
use crate::rough::{audit_log, rough};

/// Kills whoever acts so often, while so many jobs come and go.
async fn killed(name: &str, form: Form, kills: u32, jobs: usize) {
    let ground = rough().await;
    let room = ground.room(name).await;
    let seed = seed();
    let mut load = Load::new(&room, seed).await;
    let mut team = Team::start(&ground, &room, form).await;
    let requests = Requests::of(audit_log(), &room);

    let begun = Instant::now();
    let progress = Progress::new(0.0);
    let mut random = fastrand::Rng::with_seed(seed ^ 1);
    tokio::join!(load.drive(jobs, &progress), team.haunt(kills, &mut random, &progress));
    let killed = begun.elapsed();
    load.rests().await;
    println!("{kills} kills over {} jobs took {killed:.0?}, until all had ended {:.0?}", load.len(), begun.elapsed());
    requests.made_each_pod_once();
    requests.fall_silent(&mut team).await;
    println!("what the operators have asked for: {:?}", requests.counted());
    let moments: Vec<_> = team.handovers.iter().map(|(at, _)| *at).collect();
    say("until the next write", requests.until_next_write(moments.into_iter()));
    say("until another led", team.handovers.iter().map(|(_, took)| *took).collect());
    load.clear().await;
    team.disband().await;
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    if let Some(last) = times.last() {
        println!("{what}: p50 {:.2?}, max {last:.2?}, of {}", times[times.len() / 2], times.len());
    }
}

#[tokio::test]
async fn an_operator_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    killed("operator-killed", ALONE, 12, 84).await;
}

#[tokio::test]
async fn leaders_that_are_killed_again_and_again_lose_and_double_nothing() {
    killed("leader-killed", BRISK, 4, 42).await;
}

#[tokio::test]
#[ignore = "it takes minutes"]
async fn two_hundred_kills_over_five_hundred_jobs_lose_and_double_nothing() {
    killed("operator-killed-often", ALONE, 200, 500).await;
}

#[tokio::test]
#[ignore = "it takes many minutes"]
async fn two_hundred_kills_of_leaders_over_five_hundred_jobs_lose_and_double_nothing() {
    killed("leader-killed-often", BRISK, 200, 500).await;
}

#[tokio::test]
#[ignore = "it measures, for docs/explanation/operator.md"]
async fn leaders_with_the_usual_times_hand_over_when_they_are_killed() {
    killed("leader-usual", USUAL, 20, 84).await;
}

#[tokio::test]
async fn a_leader_that_ends_properly_hands_over_at_once_and_only_the_leader_acts() {
    let ground = rough().await;
    let room = ground.room("leader").await;
    let _site = room.site("vk-leader").await;
    let mut team = Team::start(&ground, &room, USUAL).await;
    let before = room.script("before", "vk-leader", "exit 0").await;
    before.ended().await;
    let leads = team.end(Signal::TERM).await;
    // Nobody has waited for the end of a lease.
    let (_, took) = team.handovers[0];
    assert!(took < Duration::from_secs(10), "{took:?}");
    room.script("after", "vk-leader", "exit 0").await.ended().await;
    for (which, member) in team.members().iter().enumerate() {
        wait::until("an operator to be ready", LONG, GLANCE, async || {
            let said = member.get("/readyz").await;
            Ok(if said.as_deref() == Some("ok\n") { Probe::Ready(()) } else { Probe::not_yet(format!("{said:?}")) })
        })
        .await
        .unwrap();
        let is_leader = which == leads;
        let value = async |name: &str| member.measured(name).await.unwrap();
        let master = value("leader_election_master_status{name=\"vk-operator\"}").await;
        assert_eq!(master, f64::from(u8::from(is_leader)));
        let reconciles = value("controller_runtime_reconcile_total{controller=\"cmdjob\",result=\"success\"}").await;
        assert_eq!(reconciles > 0.0, is_leader, "{reconciles}");
        let seconds = value("controller_runtime_reconcile_time_seconds_count{controller=\"cmdjob\"}").await;
        assert_eq!(seconds > 0.0, is_leader, "{seconds}");
        assert_eq!(value("cmdjob_jobs{state=\"Running\"}").await, 0.0);
        assert!(value("rest_client_requests_total{code=\"200\"").await > 0.0);
        assert_eq!(member.get("/livez").await.as_deref(), Some("ok\n"));
    }
    team.disband().await;
}
