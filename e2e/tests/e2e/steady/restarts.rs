//! `kill -9` of vk-node, of its start too, and its proper end, with a hundred pods of every kind.

use std::path::Path;

use vk_cmd_e2e::history::Expected;
use vk_cmd_e2e::site::Site;
use vk_cmd_e2e::wait::{self, Probe};

use super::kinds::{Kind, LATE};
use super::{Crowd, end_of};
use crate::ground::{GLANCE, LONG, room};
use crate::plain_pods::phase;

/// How far a start of vk-node has come when it is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// The process is there.
    Begun,
    /// The pipe's tasks are known.
    TasksKnown,
    /// The node is registered: pods are looked at.
    Registered,
}

impl Point {
    /// What the log says then.
    fn line(self) -> &'static str {
        match self {
            Self::Begun => "",
            Self::Registered => "registered",
            Self::TasksKnown => "the pipe's tasks are known",
        }
    }
}

/// Starts vk-node and kills it when it has come to this point.
async fn start_and_kill_at(site: &mut Site, point: Point) {
    let count = |log: &Path| std::fs::read_to_string(log).unwrap_or_default().matches(point.line()).count();
    let before = count(&site.node_log());
    site.start_node().unwrap();
    if !point.line().is_empty() {
        let what_for = format!("the start to come to {point:?}");
        let reached = wait::until(&what_for, LONG, GLANCE, async || {
            site.node().unwrap().must_be_running()?;
            let is_there = count(&site.node_log()) > before;
            Ok(if is_there { Probe::Ready(()) } else { Probe::not_yet("not there") })
        });
        reached.await.unwrap();
    }
    site.kill_node().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_of_the_node_change_nothing_for_a_hundred_pods_of_every_kind() {
    let room = room("steady").await;
    let mut site = room.site("vk-steady").await;
    let crowd = Crowd::gather(&room, &site, 1.0).await;
    assert!(crowd.pods.len() >= 100);
    let late = crowd.add(&room, "late", Kind::Late).await;
    crowd.add(&room, "gated", Kind::Gated).await;
    site.kill_node().unwrap();
    // It ends while nobody is there to see it.
    std::fs::write(crowd.given.file("gated", "gate"), "").unwrap();
    for point in [Point::Begun, Point::TasksKnown, Point::Registered, Point::Begun] {
        start_and_kill_at(&mut site, point).await;
    }
    site.start_node().unwrap();
    crowd.node_works(&room, "mark-1").await;
    site.stop_node().unwrap();
    site.start_node().unwrap();
    crowd.node_works(&room, "mark-2").await;
    site.kill_node().unwrap();
    start_and_kill_at(&mut site, Point::Registered).await;
    site.start_node().unwrap();
    crowd.node_works(&room, "mark-3").await;
    // All that is asked has been asked again by the node that runs now.
    for (kind, probe, result) in [
        (Kind::ExecProbes, "Liveness", "successful"),
        (Kind::HttpProbes, "Readiness", "successful"),
        (Kind::TcpProbe, "Liveness", "successful"),
        (Kind::GrpcProbe, "Readiness", "successful"),
        (Kind::Unready, "Readiness", "failed"),
        (Kind::Starting, "Startup", "failed"),
        (Kind::Volumes, "Liveness", "successful"),
    ] {
        crowd.each(kind, async |name| room.probed("vk-steady", name, probe, result, 2).await).await;
    }
    let ended = room.pod("gated", "to end", |pod| phase(pod) == "Failed").await;
    assert_eq!(end_of(&ended).exit_code, 7);
    let ended = room.pod("late", "to be past its deadline", |pod| phase(pod) == "Failed").await;
    assert_eq!(ended.status.as_ref().unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    let begun = late.status.unwrap().start_time.unwrap().0;
    assert!(end_of(&ended).finished_at.unwrap().0.duration_since(begun).as_secs() >= LATE);
    crowd.is_as_it_was(&Expected::default()).await;
    // What was missing comes, and what waited for it runs.
    room.says(&["create", "configmap", "missing", "--from-literal=one=1"]).await;
    for kind in [Kind::WithoutVariable, Kind::WithoutVolume] {
        crowd.each(kind, async |name| crowd.given.lines_until(name, "main", |lines| lines.len() == 1).await).await;
    }
}
