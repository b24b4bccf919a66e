//! A site at the end of a bad wire, which is cut: what runs there goes on, its ends are told when the wire is whole again, and
//! nothing is run twice. Logs are had through the relay, since nobody can dial it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use vk_cmd_crds::{CmdJobStatus, Reason, State};
use vk_cmd_e2e::network::{self, Quality};
use vk_cmd_e2e::relay::{Relay, Settings as RelaySettings};
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::exec::{BY_WEBSOCKET, shown};
use crate::ground::{GLANCE, Job, Room, room};
use crate::relay::{listening, next};

/// A wire across an ocean that loses two packets of a hundred.
const BAD: Quality = Quality { delay: Duration::from_millis(40), lost: 20 };
/// The cluster takes a node for lost when its lease has not been renewed for 50 s.
const NOTICED: Duration = Duration::from_secs(150);

/// What each process writes down: that it was started, and, if it gets there, that it has ended.
struct Marks(PathBuf);

impl Marks {
    fn of(site: &Site) -> Self {
        Self(site.home().join("marks"))
    }

    /// A script that writes both, with `work` between them.
    fn around(&self, name: &str, work: &str) -> String {
        let marks = self.0.display();
        format!("echo {name} started >> {marks}; {work}; code=$?; echo {name} ended >> {marks}; exit $code")
    }

    fn count(&self, line: &str) -> usize {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().filter(|found| *found == line).count()
    }

    async fn until(&self, line: &str, limit: Duration) {
        let written = wait::until(line, limit, GLANCE, async || {
            Ok(if self.count(line) > 0 { Probe::Ready(()) } else { Probe::not_yet("not yet") })
        });
        written.await.unwrap();
    }
}

async fn until(job: &Job, what: &str, wanted: impl Fn(&CmdJobStatus) -> bool) -> CmdJobStatus {
    let what = format!("{} {what}", job.name);
    let reached = wait::until(&what, NOTICED, GLANCE, async || {
        let status = job.api.get(&job.name).await?.status.unwrap_or_default();
        Ok(if wanted(&status) { Probe::Ready(status) } else { Probe::not_yet(format!("{status:?}")) })
    });
    reached.await.unwrap()
}

/// The wire is cut for at least so long, and until the cluster has noticed.
async fn is_survived(room: &Room, node: &str, cut_for: Duration) {
    let Some(mut network) = network::behind_a_firewall().await else { return };
    network.set(BAD);
    let settings = network.settings(room.ground.plane, node).await.unwrap();
    let site = room.site_with(settings).await;
    let marks = Marks::of(&site);
    let (gate, last) = (site.home().join("gate"), site.home().join("last"));
    let until_there = |path: &Path| format!("until test -e {}; do sleep 0.1; done", path.display());
    let until_opened = until_there(&gate);

    let ends = room.script("ends", node, &marks.around("ends", &format!("{until_opened}; (exit 3)"))).await;
    let long = room.script("long", node, &marks.around("long", &until_there(&last))).await;
    let deleted = room.script("deleted", node, &marks.around("deleted", "sleep 100000")).await;
    let work = format!("{until_opened}; test $(grep -c 'again started' {}) = 2", marks.0.display());
    let again = room.run("again", node, json!({"script": marks.around("again", &work), "backoffLimit": 1})).await;
    for job in [&ends, &long, &deleted, &again] {
        job.running().await;
    }

    network.set(Quality::CUT);
    let cut = tokio::time::Instant::now();
    // They end while nobody can be told.
    std::fs::write(&gate, "").unwrap();
    marks.until("ends ended", NOTICED).await;
    marks.until("again ended", NOTICED).await;
    deleted.api.delete(&deleted.name, &DeleteParams::default()).await.unwrap();
    for (job, state, reason) in [
        (&ends, State::Running, Reason::NodeUnreachable),
        (&long, State::Running, Reason::NodeUnreachable),
        (&deleted, State::Terminating, Reason::Deleting),
    ] {
        let is_told =
            |status: &CmdJobStatus| status.message.as_deref().is_some_and(|text| text.contains("unreachable since"));
        let status = until(job, "to be out of reach", is_told).await;
        assert_eq!((status.state, status.reason.as_deref()), (Some(state), Some(reason.into())), "{status:?}");
    }
    let new = room.script("new", node, &marks.around("new", "true")).await;
    let waits = until(&new, "to wait", |status| status.state == Some(State::Waiting)).await;
    assert_eq!(waits.reason.as_deref(), Some(Reason::NodeNotReady.into()), "{waits:?}");
    tokio::time::sleep_until(cut + cut_for).await;
    assert_eq!(marks.count("again started"), 1, "an attempt was made while nobody knew of the one before");
    assert_eq!(marks.count("long ended") + marks.count("deleted ended"), 0);
    let mended = jiff::Timestamp::now();

    network.set(BAD);
    let status = ends.ended().await;
    let attempt = status.attempt().clone();
    assert_eq!((status.state, attempt.exit_code), (Some(State::Failed), Some(3)), "{status:?}");
    let told = attempt.finished_at.as_ref().unwrap().0;
    assert!(told < mended, "it ended at {told}, while the wire was cut, which was mended at {mended}");
    let status = again.ended().await;
    assert_eq!((status.state, status.failed, status.succeeded), (Some(State::Complete), 1, 1), "{status:?}");
    assert_eq!(new.ended().await.state, Some(State::Complete));
    let gone = wait::until("the deleted job to be gone", NOTICED, GLANCE, async || {
        let left = deleted.api.get_opt(&deleted.name).await?;
        Ok(if left.is_none() { Probe::Ready(()) } else { Probe::not_yet("it is there") })
    });
    gone.await.unwrap();
    std::fs::write(&last, "").unwrap();
    assert_eq!(long.ended().await.state, Some(State::Complete));
    for (line, times) in [
        ("ends started", 1),
        ("ends ended", 1),
        ("long started", 1),
        ("deleted started", 1),
        ("deleted ended", 0),
        ("again started", 2),
        ("new started", 1),
    ] {
        assert_eq!(marks.count(line), times, "{line}");
    }
    let (carried, lost) = network.packets();
    eprintln!("{carried} packets have come through, {lost} were lost");
    assert!(lost > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_is_cut_off_goes_on_and_tells_later() {
    is_survived(&room("partition").await, "vk-partition", Duration::ZERO).await;
}

/// Pods that do not tolerate it are deleted after five minutes by Kubernetes itself; those of CmdJobs are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes ten minutes"]
async fn a_site_that_is_cut_off_for_ten_minutes_goes_on_and_tells_later() {
    is_survived(&room("partition-long").await, "vk-partition-long", Duration::from_secs(600)).await;
}

/// Nobody can dial the site, and its own connections break: a log that is followed ends with an error or goes on, and has each line
/// once; what is asked for afterwards is had again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_behind_a_firewall_are_whole_or_end_when_the_wire_is_cut() {
    const NODE: &str = "vk-partition-logs";
    let room = room("partition-logs").await;
    let Some(mut network) = network::behind_a_firewall().await else { return };
    network.set(BAD);
    let settings = RelaySettings { address: network.host_address(), ..RelaySettings::default() };
    let relay = Relay::start(room.ground.plane, settings).await.unwrap();
    let settings = network.settings(room.ground.plane, NODE).await.unwrap();
    let mut site = room.site_with(Settings { node_flags: relay.node_flags(), ..settings }).await;
    assert_eq!(listening(site.node().unwrap().pid()), Vec::<PathBuf>::new());

    let script = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.1; done";
    room.running_pod("counter", NODE, json!({"command": ["sh", "-c", script]})).await;
    room.has_logs("counter").await;
    for cut_for in [Duration::from_secs(2), Duration::from_secs(40)] {
        let (mut follower, mut lines) = room.goes_on(&["logs", "--follow", "counter"]);
        for n in 0..10 {
            assert_eq!(next(&mut lines).await, Some(n.to_string()));
        }
        network.set(Quality::CUT);
        let mended = tokio::time::Instant::now() + cut_for;
        let mut seen = 10;
        // Cancel-safe: what comes of the log is counted by `seen`, and a line that is cut in two by the end of the wait is read on.
        let ended = tokio::time::timeout_at(mended, async {
            while let Some(line) = next(&mut lines).await {
                assert_eq!(line, seen.to_string());
                seen += 1;
            }
        });
        let has_ended = ended.await.is_ok();
        network.set(BAD);
        if !has_ended {
            // The connection has outlived it, or is known to be dead soon.
            let before = seen;
            while let Some(line) = next(&mut lines).await.filter(|_| seen < before + 20) {
                assert_eq!(line, seen.to_string());
                seen += 1;
            }
        }
        eprintln!("after {cut_for:?} of nothing: the log {}", if has_ended { "had ended" } else { "went on" });
        follower.kill().await.unwrap();
        let took = room.has_logs("counter").await;
        assert!(took < Duration::from_secs(90), "{took:?}");
    }
    let again = room.kubectl_by(BY_WEBSOCKET, &["exec", "counter", "--", "sh", "-c", "exit 3"], b"").await;
    assert_eq!(again.status.code(), Some(3), "{:?}", shown(&again));
}
