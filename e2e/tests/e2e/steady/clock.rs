//! The wall clock of a node's host is set, days ahead and days back, while pods of every kind run: node, pipe and shims all
//! see it. See `e2e/clock`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::DeleteParams;
use vk_cmd_e2e::binaries;
use vk_cmd_e2e::history::Expected;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use super::Crowd;
use super::kinds::{Kind, LATE};
use crate::ground::{GLANCE, LONG, Room, room};
use crate::plain_pods::phase;

const NODE: &str = "vk-clock";
const DAY: i64 = 86_400;
/// The grace of a pod that does not end on TERM.
const GRACE: u32 = 10;

/// A vk-node whose wall clock can be set, and the file by which it is.
struct Clock {
    program: PathBuf,
    file: PathBuf,
    _directory: Scratch,
}

impl Clock {
    async fn new() -> Self {
        let directory = Scratch::new("vk-clock-").unwrap();
        let (program, file) = (directory.path().join("vk-node"), directory.path().join("clock-step"));
        binaries::copy(binaries::node_with_clock().await.unwrap(), &program).unwrap();
        std::fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
        Self { program, file, _directory: directory }
    }

    /// Sets it so many seconds ahead of the host's.
    fn set(&self, ahead: i64) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).open(&self.file).unwrap();
        file.write_all_at(&ahead.to_ne_bytes(), 0).unwrap();
    }
}

/// Waits until the node has renewed its lease, so often.
async fn renewed(room: &Room, times: usize) {
    let leases: Api<Lease> = Api::namespaced(room.client.clone(), "kube-node-lease");
    let mut seen: Vec<MicroTime> = Vec::new();
    let reached = wait::until("the lease to be renewed", LONG, Duration::from_secs(1), async || {
        let now = leases.get(NODE).await?.spec.and_then(|spec| spec.renew_time);
        // What Kubernetes takes for a renewal is later than the one before, whatever the clock says.
        if let Some(now) = now.filter(|now| seen.last().is_none_or(|last| last.0 < now.0)) {
            seen.push(now);
        }
        Ok(if seen.len() > times { Probe::Ready(()) } else { Probe::not_yet(format!("{seen:?}")) })
    });
    reached.await.unwrap();
}

/// Waits until the node has seen that its clock was set, so often in all.
async fn noticed(site: &Site, times: usize) {
    let reached = wait::until("the node to see that its clock was set", LONG, GLANCE, async || {
        let log = std::fs::read_to_string(site.node_log())?;
        let found = log.matches("the wall clock was set").count();
        Ok(if found >= times { Probe::Ready(()) } else { Probe::not_yet(format!("{found} times")) })
    });
    reached.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_ends_nothing_and_hastens_nothing() {
    let room = room("clock").await;
    let clock = Clock::new().await;
    let settings = Settings { program: Some(clock.program.clone()), ..Settings::on(room.ground.plane, NODE).unwrap() };
    let mut site = room.site_with(settings).await;
    let crowd = Crowd::gather(&room, &site, 0.1).await;
    let expected = Expected { clock_set_back: true, ..Expected::default() };
    for (round, ahead) in [2 * DAY, -2 * DAY, 0].into_iter().enumerate() {
        let name = |what: &str| format!("{what}-{round}");
        let (late, ends) = (name("late"), name("ends"));
        // They are in the middle of their deadline, and of their grace.
        let begun = Instant::now();
        crowd.add(&room, &late, Kind::Late).await;
        crowd.add(&room, &ends, Kind::Ending).await;
        crowd.given.lines_until(&ends, "main", |lines| lines.len() == 1).await;
        let asked = Instant::now();
        crowd
            .api
            .delete(&ends, &DeleteParams { grace_period_seconds: Some(GRACE), ..DeleteParams::default() })
            .await
            .unwrap();
        crowd.given.lines_until(&ends, "end", |lines| lines.len() == 1).await;
        clock.set(ahead);
        noticed(&site, round + 1).await;
        let past = async {
            let pod = room.pod(&late, "to be past its deadline", |pod| phase(pod) == "Failed").await;
            assert_eq!(pod.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
            begun.elapsed().as_secs_f64()
        };
        let gone = async {
            crowd.until_gone(&ends).await;
            asked.elapsed().as_secs_f64()
        };
        let (past, gone) = futures::future::join(past, gone).await;
        // What was published is in whole seconds. Days later would be too late for the wait.
        assert!(past >= LATE as f64 - 1.0, "the deadline passed after {past} s");
        assert!(gone >= f64::from(GRACE) - 0.5, "the grace was over after {gone} s");
        crowd.node_works(&room, &name("mark")).await;
        // The shims see the clock too, and what they record is by it.
        let mark = crowd.api.get(&name("mark")).await.unwrap();
        let running = mark.status.unwrap().container_statuses.unwrap().remove(0).state.unwrap().running.unwrap();
        let off = running.started_at.unwrap().0.duration_since(Timestamp::now()).as_secs() - ahead;
        assert!(off.abs() < 600, "started {off} s from what the clock shows");
        renewed(&room, 1).await;
        // A start that finds the clock set.
        site.kill_node().unwrap();
        site.start_node().unwrap();
        crowd.node_works(&room, &name("restart")).await;
        for (kind, probe) in
            [(Kind::ExecProbes, "Liveness"), (Kind::GrpcProbe, "Readiness"), (Kind::Volumes, "Liveness")]
        {
            crowd.each(kind, async |name| room.probed(NODE, name, probe, "successful", 2).await).await;
        }
        let text = room.says(&["exec", &crowd.first(Kind::Plain), "--", "echo", "here"]).await;
        assert_eq!(text, "here\n");
        crowd.is_as_it_was(&expected).await;
        site.ready(&room.client).await.unwrap();
    }
}
