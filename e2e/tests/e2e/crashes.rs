//! `kill -9` of operator, node and pipe at several points of a job's life, and an API server that is away: each
//! command has run exactly once, and its end is reported. A file that the command appends to is the witness.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use vk_cmd_crds::State;
use vk_cmd_e2e::site::{Settings, Site};

use crate::ground::{Ground, Job, Room};
use crate::rough::rough;

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(60);

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Operator,
    Node,
    Pipe,
    All,
}

impl Victim {
    fn is(self, other: Self) -> bool {
        self == other || self == Self::All
    }

    async fn kill(self, ground: Ground, site: &mut Site) {
        if self.is(Self::Operator) {
            ground.operator.lock().await.kill().unwrap();
        }
        if self.is(Self::Node) {
            site.kill_node().unwrap();
        }
        if self.is(Self::Pipe) {
            site.kill_pipe().unwrap();
        }
    }

    async fn restart(self, ground: Ground, site: &mut Site) {
        if self.is(Self::Pipe) {
            site.start_pipe().await.unwrap();
        }
        if self.is(Self::Node) {
            site.start_node().unwrap();
        }
        if self.is(Self::Operator) {
            ground.operator.lock().await.restart().unwrap();
        }
    }
}

/// A job that says when it runs and ends when it is told to, with exit code 7.
struct Witnessed {
    job: Job,
    witness: PathBuf,
    gate: PathBuf,
}

impl Witnessed {
    async fn start(room: &Room, site: &Site, name: &str) -> Self {
        let witness = site.home().join(format!("{name}.witness"));
        let gate = site.home().join(format!("{name}.gate"));
        let script = format!(
            "echo run >> {}; until test -e {}; do sleep 0.02; done; echo done; exit 7",
            witness.display(),
            gate.display()
        );
        let job = room.script(name, site.node_name(), &script).await;
        Self { job, witness, gate }
    }

    fn open(&self) {
        std::fs::write(&self.gate, "").unwrap();
    }

    async fn has_run_once_and_is_reported(&self, room: &Room, cell: &str) {
        self.open();
        let ended = self.job.ended().await;
        assert_eq!((ended.state, ended.exit_code), (Some(State::Failed), Some(7)), "{cell}: {ended:?}");
        assert_eq!(std::fs::read_to_string(&self.witness).unwrap(), "run\n", "{cell}");
        assert_eq!(room.says(&["logs", &ended.attempt().pod]).await, "done\n", "{cell}");
    }
}

#[tokio::test]
async fn a_kill_at_any_point_of_a_jobs_life_neither_loses_nor_repeats_it() {
    let ground = rough().await;
    let room = ground.room("crashes").await;
    let settings = Settings::on(ground.plane, "vk-crashes").unwrap().with_separate_pipe();
    let mut site = room.site_with(settings).await;
    for (round, victim) in [Victim::Operator, Victim::Node, Victim::Pipe, Victim::All].into_iter().enumerate() {
        let name = |point: &str| format!("{point}-{round}");
        let spans = Witnessed::start(&room, &site, &name("spans")).await;
        let ends_unseen = Witnessed::start(&room, &site, &name("ends-unseen")).await;
        let just_ended = Witnessed::start(&room, &site, &name("just-ended")).await;
        for job in [&spans, &ends_unseen, &just_ended] {
            job.job.running().await;
        }
        just_ended.open();
        let just_made = Witnessed::start(&room, &site, &name("just-made")).await;
        victim.kill(*ground, &mut site).await;
        ends_unseen.open();
        // It may be anywhere between the CmdJob and the process when the victim dies; this one meets it dead.
        let made_unseen = Witnessed::start(&room, &site, &name("made-unseen")).await;
        victim.restart(*ground, &mut site).await;
        for (point, job) in [
            ("spans", spans),
            ("ends unseen", ends_unseen),
            ("just ended", just_ended),
            ("just made", just_made),
            ("made unseen", made_unseen),
        ] {
            job.has_run_once_and_is_reported(&room, &format!("{victim:?} killed, {point}")).await;
        }
    }
}

#[tokio::test]
async fn a_pipe_killed_again_and_again_while_jobs_start_neither_loses_nor_repeats_one() {
    let ground = rough().await;
    let room = ground.room("pipe-crashes").await;
    let settings = Settings::on(ground.plane, "vk-pipe-crashes").unwrap().with_separate_pipe();
    let mut site = room.site_with(settings).await;
    let mut jobs = vec![];
    for n in 0..10 {
        jobs.push(Witnessed::start(&room, &site, &format!("job-{n}")).await);
        site.kill_pipe().unwrap();
        site.start_pipe().await.unwrap();
        if n % 3 == 0 {
            site.kill_node().unwrap();
            site.start_node().unwrap();
        }
    }
    for (n, job) in jobs.into_iter().enumerate() {
        job.has_run_once_and_is_reported(&room, &format!("job-{n}")).await;
    }
}

#[tokio::test]
async fn an_end_while_the_api_server_is_away_is_reported_when_it_is_back() {
    let ground = rough().await;
    let room = ground.room("outage").await;
    let site = room.site("vk-outage").await;
    let job = Witnessed::start(&room, &site, "ends-meanwhile").await;
    let spans = Witnessed::start(&room, &site, "spans").await;
    job.job.running().await;
    spans.job.running().await;
    ground.plane.stop_api_server(true).unwrap();
    job.open();
    tokio::time::sleep(OUTAGE).await;
    let back = Timestamp::now();
    ground.plane.start_api_server().await.unwrap();
    job.has_run_once_and_is_reported(&room, "ended during the outage").await;
    let finished = job.job.ended().await.attempt().finished_at.clone().unwrap().0;
    let late = back.duration_since(finished).as_secs();
    assert!(late >= 50, "the time of the end is that of the end, not of the report: {finished}, back at {back}");
    spans.has_run_once_and_is_reported(&room, "ran through the outage").await;
}
