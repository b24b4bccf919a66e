//! The API server is away: the node goes on with all that it can do alone, and tells of it when the API server is back.

use std::path::Path;

use http::{Method, StatusCode};
use serde_json::json;
use vk_cmd_e2e::control_plane::Signed;
use vk_cmd_e2e::history::Expected;
use vk_cmd_e2e::kubelet::{Kubelet, Who};
use vk_cmd_e2e::wait::{self, Probe};

use super::kinds::{self, Kind, LATE};
use super::{Crowd, end_of};
use crate::ground::{GLANCE, LONG};
use crate::plain_pods::phase;
use crate::rough::rough;

const NODE: &str = "vk-alone";

/// How often the liveness probe of a pod has succeeded, as the node itself tells.
async fn successes(kubelet: &Kubelet, who: &Who, pod: &str) -> u32 {
    let answer = kubelet.ask(who, &Method::GET, "/metrics/probes", false).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let labels = [format!("pod=\"{pod}\""), "probe_type=\"Liveness\"".into(), "result=\"successful\"".into()];
    let line = answer.body.lines().find(|line| {
        line.starts_with("prober_probe_total{") && labels.iter().all(|label| line.contains(label.as_str()))
    });
    line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_api_server_the_node_goes_on_and_tells_later() {
    let ground = rough().await;
    let room = ground.room("alone").await;
    let mut site = room.site(NODE).await;
    let kubelet = Kubelet::of(&site.ready(&room.client).await.unwrap()).unwrap();
    let who = |user: &str| Who {
        certificate: Some(ground.plane.client_certificate(user, Some("system:masters"), Signed::Properly).unwrap()),
        token: None,
    };
    let (known, unknown) = (who("known"), who("unknown"));
    let crowd = Crowd::gather(&room, &site, 0.1).await;
    let probed = crowd.first(Kind::ExecProbes);
    let sick = "sick";
    crowd.add(&room, "gated", Kind::Gated).await;
    crowd.add(&room, sick, Kind::ExecProbes).await;
    room.pod(sick, "to be ready", |pod| Kind::ExecProbes.is_settled(pod)).await;
    let plain = crowd.first(Kind::Plain);
    let logs = format!("/containerLogs/alone/{plain}/main");
    let exec = format!("/exec/alone/{plain}/main?command=true&output=1");
    // The node remembers for a while who may do this.
    for (path, web_socket, status) in [(&logs, false, StatusCode::OK), (&exec, true, StatusCode::SWITCHING_PROTOCOLS)] {
        assert_eq!(kubelet.ask(&known, &Method::GET, path, web_socket).await.unwrap().status, status);
    }
    successes(&kubelet, &known, &probed).await;
    crowd.add(&room, "late", Kind::Late).await;
    crowd.given.lines_until("late", "main", |lines| lines.len() == 1).await;
    let late = crowd.given.lines("late", "main")[0].split(' ').next().unwrap().to_owned();

    ground.plane.stop_api_server(true).unwrap();
    let away = jiff::Timestamp::now();
    std::fs::write(crowd.given.file("gated", "gate"), "").unwrap();
    // A liveness probe fails, and its container is run again, with nobody to be told.
    std::fs::remove_file(crowd.given.file(sick, "up")).unwrap();
    let sick_pid = crowd.given.lines(sick, "main")[0].split(' ').next().unwrap().to_owned();
    let gone = async |pid: &str, whose: &str| {
        let what = format!("the process of {whose} to end");
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let is_there = Path::new("/proc").join(pid).exists();
            Ok(if is_there { Probe::not_yet("it is there") } else { Probe::Ready(()) })
        });
        reached.await.unwrap();
    };
    gone(&sick_pid, sick).await;
    std::fs::write(crowd.given.file(sick, "up"), "").unwrap();
    crowd.given.lines_until(sick, "main", |lines| lines.len() == 2).await;
    gone(&late, "late").await;
    let before = successes(&kubelet, &known, &probed).await;
    let reached = wait::until("probes to go on", LONG, GLANCE, async || {
        let now = successes(&kubelet, &known, &probed).await;
        Ok(if now >= before + 3 { Probe::Ready(()) } else { Probe::not_yet(format!("{now}, {before} before")) })
    });
    reached.await.unwrap();
    assert_eq!(kubelet.ask(&known, &Method::GET, &logs, false).await.unwrap().status, StatusCode::OK);
    assert_eq!(kubelet.ask(&known, &Method::GET, &exec, true).await.unwrap().status, StatusCode::SWITCHING_PROTOCOLS);
    // Of whom nobody can be asked, nobody is let in.
    for (path, web_socket) in [(&logs, false), (&exec, true)] {
        let answer = kubelet.ask(&unknown, &Method::GET, path, web_socket).await.unwrap();
        assert!(answer.status.is_client_error() || answer.status.is_server_error(), "{answer:?}");
    }
    let back = jiff::Timestamp::now();
    ground.plane.start_api_server().await.unwrap();

    let ended = room.pod("gated", "to be told of", |pod| phase(pod) == "Failed").await;
    assert_eq!(end_of(&ended).exit_code, 7);
    let finished = end_of(&ended).finished_at.unwrap().0;
    assert!(finished.as_second() >= away.as_second() && finished <= back, "{finished} is not from {away} to {back}");
    let ended = room.pod("late", "to be told of", |pod| phase(pod) == "Failed").await;
    let (finished, status) = (end_of(&ended).finished_at.unwrap().0, ended.status.unwrap());
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert!(finished.duration_since(status.start_time.unwrap().0).as_secs() >= LATE && finished <= back);
    let again = |pod: &_| kinds::restarts(pod, "main") == 1 && Kind::ExecProbes.is_settled(pod);
    room.pod(sick, "to be told of", again).await;
    // The watches go on: of pods, and of what they refer to.
    crowd.node_works(&room, "mark").await;
    room.says(&["patch", "configmap", "map", "--patch", &json!({"data": {"one": "2"}}).to_string()]).await;
    crowd.map_reaches_pods(&room, "2").await;
    room.says(&["create", "configmap", "missing", "--from-literal=one=1"]).await;
    for kind in [Kind::WithoutVariable, Kind::WithoutVolume] {
        crowd.each(kind, async |name| crowd.given.lines_until(name, "main", |lines| lines.len() == 1).await).await;
    }
    let expected = Expected { may_unready: [sick.to_owned()].into(), may_miss: true, ..Expected::default() };
    crowd.is_as_it_was_but(&[Kind::WithoutVariable, Kind::WithoutVolume], &expected).await;
}
