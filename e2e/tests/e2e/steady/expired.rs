//! A node that was cut off for so long that what it has seen last is too old to go on from: its watches are refused with
//! 410 (`Expired`), and it lists anew.

use std::path::Path;

use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use vk_cmd_e2e::history::Expected;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use super::Crowd;
use super::kinds::Kind;
use crate::ground::{GLANCE, LONG};
use crate::plain_pods::phase;
use crate::rough::rough;

const NODE: &str = "vk-expired";

/// How often the API server has told the node that a resource version is too old.
fn expirations(site: &Site) -> usize {
    std::fs::read_to_string(site.node_log()).unwrap().matches("too old resource version").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_watches_have_expired_takes_up_what_has_changed_and_nothing_else() {
    let ground = rough().await;
    let room = ground.room("expired").await;
    let settings = Settings::on(room.ground.plane, NODE).unwrap();
    let (settings, proxy) = settings.by_proxy(room.ground.plane).await.unwrap();
    let site = room.site_with(settings).await;
    let crowd = Crowd::gather(&room, &site, 0.1).await;
    for name in ["by-force", "deleted", "replaced"] {
        crowd.add(&room, name, Kind::Plain).await;
        crowd.given.lines_until(name, "main", |lines| lines.len() == 1).await;
    }
    let process_of = |name: &str, nth: usize| {
        let lines = crowd.given.lines(name, "main");
        lines[nth].split(' ').next().unwrap().to_owned()
    };
    let (by_force, replaced) = (process_of("by-force", 0), process_of("replaced", 0));
    assert_eq!(expirations(&site), 0);

    proxy.close();
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    for name in ["by-force", "replaced"] {
        crowd.api.delete(name, &at_once).await.unwrap();
    }
    let soon = DeleteParams { grace_period_seconds: Some(2), ..DeleteParams::default() };
    crowd.api.delete("deleted", &soon).await.unwrap();
    for name in ["replaced", "new"] {
        let pod = serde_json::from_value(Kind::Plain.pod(name, &crowd.given)).unwrap();
        crowd.api.create(&PostParams::default(), &pod).await.unwrap();
    }
    let changed = json!({"data": {"one": "2"}}).to_string();
    room.says(&["patch", "configmap", "map", "--patch", &changed]).await;
    // What it has in memory of the past is gone with it; it answers only for what comes after its start.
    ground.plane.stop_api_server(true).unwrap();
    ground.plane.start_api_server().await.unwrap();
    proxy.open();

    room.pod("new", "to run", |pod| phase(pod) == "Running").await;
    room.pod("replaced", "to run", |pod| phase(pod) == "Running").await;
    crowd.until_gone("deleted").await;
    let reached = wait::until("the processes of pods that are gone to end", LONG, GLANCE, async || {
        let left: Vec<&String> =
            [&by_force, &replaced].into_iter().filter(|pid| Path::new("/proc").join(pid).exists()).collect();
        Ok(if left.is_empty() { Probe::Ready(()) } else { Probe::not_yet(format!("{left:?}")) })
    });
    reached.await.unwrap();
    crowd.map_reaches_pods(&room, "2").await;
    // Otherwise this would show nothing.
    assert!(expirations(&site) > 0, "no watch has expired");
    assert_eq!(crowd.given.lines("replaced", "main").len(), 2);
    assert_eq!(crowd.given.lines("new", "main").len(), 1);
    crowd.is_as_it_was(&Expected { may_miss: true, ..Expected::default() }).await;
}
