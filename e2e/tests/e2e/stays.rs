//! A node's process that is started anew, or told to end before the API server knows of it: the node's end stays what it is, and what
//! ran is told as what it was. See docs/explanation/walltime.md.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::Instant;
use vk_cmd_crds::labels;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, room};
use crate::plain_pods::phase;
use crate::walltime::{Place, annotation, failed_with, has_ended, terminated, was_disrupted};

/// Waits until the node's log has said something so often.
async fn says(site: &Site, words: &str, times: usize) {
    let what = format!("the node to say {words:?}, {times} times");
    let said = wait::until(&what, LONG, GLANCE, async || {
        let log = std::fs::read_to_string(site.node_log())?;
        Ok(if log.matches(words).count() >= times { Probe::Ready(()) } else { Probe::not_yet(log) })
    });
    said.await.unwrap();
}

#[tokio::test]
async fn a_restart_gives_a_node_no_more_time_than_it_had() {
    let room = room("no-more").await;
    let place = Place::new("");
    let mut settings = place.settings(&room, "vk-no-more");
    settings.node_flags.extend(["--walltime".into(), "2h".into()]);
    let mut site = room.site_with(settings).await;
    let ends_at = async || {
        let node = room.node("vk-no-more", "to say when it ends", |node| annotation(node, labels::ENDS_AT).is_some());
        annotation(&node.await, labels::ENDS_AT).unwrap().to_owned()
    };
    let first = ends_at().await;
    // It is ready a moment before it says so.
    says(&site, " registered", 1).await;
    // Once killed, and once told to end while its tasks go on.
    site.kill_node().unwrap();
    site.start_node().unwrap();
    says(&site, " registered", 2).await;
    assert_eq!(ends_at().await, first);
    site.stop_node().unwrap();
    site.start_node().unwrap();
    says(&site, " registered", 3).await;
    assert_eq!(ends_at().await, first);
}

#[tokio::test]
async fn term_before_a_node_is_registered_ends_it_and_it_says_so() {
    let room = room("too-early").await;
    let place = Place::new("");
    let settings = Settings { environment: place.job(), ..place.settings(&room, "vk-too-early") };
    let (settings, proxy) = settings.by_proxy(room.ground.plane).await.unwrap();
    proxy.close();
    let mut site = Site::start(settings).await.unwrap();
    says(&site, "the pipe answers", 1).await;
    site.node().unwrap().signal(Signal::TERM).unwrap();
    has_ended(&mut site).await;
    says(&site, "it ends before it was registered: nothing of it runs", 1).await;
    // The name is free: the next one is there at once.
    proxy.open();
    site.start_node().unwrap();
    site.ready(&room.client).await.unwrap();
}

/// Its Node is there, and the node has not heard so.
#[tokio::test]
async fn term_while_a_node_is_being_registered_leaves_no_node_behind() {
    let room = room("midway").await;
    let place = Place::new("");
    let settings = Settings { environment: place.job(), ..place.settings(&room, "vk-midway") };
    let (settings, proxy) = settings.by_proxy(room.ground.plane).await.unwrap();
    proxy.delay_answers(Duration::from_millis(400));
    let mut site = Site::start(settings).await.unwrap();
    room.node("vk-midway", "to be there", |_| true).await;
    site.node().unwrap().signal(Signal::TERM).unwrap();
    has_ended(&mut site).await;
    room.node_is_gone("vk-midway").await;
}

#[tokio::test]
async fn what_an_earlier_start_has_left_ends_with_a_node_that_is_told_to_before_it_is_registered() {
    let room = room("left-behind").await;
    let place = Place::new("killWaitSeconds: 600\n");
    let settings = Settings { environment: place.job(), ..place.settings(&room, "vk-left-behind") };
    let (settings, proxy) = settings.by_proxy(room.ground.plane).await.unwrap();
    let mut site = room.site_with(settings).await;
    let told = place.path("told");
    let script = format!("trap 'echo TERM > {}; exit 3' TERM; while :; do sleep 0.1; done", told.display());
    room.put("vk-left-behind", "polite", &script, json!({}), json!({})).await;
    room.pod("polite", "to run", |pod| phase(pod) == "Running").await;
    site.kill_node().unwrap();
    proxy.close();
    site.start_node().unwrap();
    says(&site, "the pipe answers", 2).await;
    site.node().unwrap().signal(Signal::TERM).unwrap();
    let ended = wait::until("the task to be told", LONG, GLANCE, async || {
        Ok(if place.lines("told") == ["TERM"] { Probe::Ready(()) } else { Probe::not_yet("it is not") })
    });
    ended.await.unwrap();
    // It stays to tell of it.
    proxy.open();
    let pod = room.pod("polite", "to be ended", |pod| failed_with(pod, "Terminated")).await;
    assert!(was_disrupted(&pod), "{pod:?}");
    assert_eq!(terminated(&pod).exit_code, 3);
    has_ended(&mut site).await;
    room.node_is_gone("vk-left-behind").await;
}

#[tokio::test]
async fn what_ended_by_the_batch_systems_term_is_told_so_by_the_next_start() {
    const KILL_WAIT: Duration = Duration::from_secs(1);
    let room = room("untold").await;
    let place = Place::new(&format!("killWaitSeconds: {}\n", KILL_WAIT.as_secs()));
    let settings = Settings { environment: place.job(), ..place.settings(&room, "vk-untold") };
    let (settings, proxy) = settings.by_proxy(room.ground.plane).await.unwrap();
    let mut site = room.site_with(settings).await;
    // In a pod's command $$ stands for $.
    let script = format!("echo $$$$ > {}; exec sleep 1000", place.path("pid").display());
    room.put("vk-untold", "sleeps", &script, json!({}), json!({})).await;
    room.pod("sleeps", "to run", |pod| phase(pod) == "Running").await;
    let pid = wait::until("the task to say who it is", LONG, GLANCE, async || {
        let pid = place.lines("pid").first().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
        Ok(pid.map_or_else(|| Probe::not_yet("it has not"), Probe::Ready))
    });
    let pid = pid.await.unwrap();
    // Nobody can be told. TERM to all, the task first, and then KILL.
    proxy.close();
    kill_process(pid, Signal::TERM).unwrap();
    site.node().unwrap().signal(Signal::TERM).unwrap();
    says(&site, "told to end: so do the tasks", 1).await;
    let killed_by = Instant::now() + KILL_WAIT;
    let tasks = site.hostpipe().join("tasks");
    let written = wait::until("the end to be written down", LONG, Duration::from_millis(20), async || {
        let mut all = std::fs::read_dir(&tasks)?.flatten();
        let has = all.any(|entry| entry.path().join("exit.json").exists());
        Ok(if has { Probe::Ready(()) } else { Probe::not_yet("no task has ended") })
    });
    written.await.unwrap();
    site.kill_node().unwrap();
    proxy.open();
    // A start before that is one in a job that is about to be killed: it is told to end, too.
    tokio::time::sleep_until(killed_by).await;
    site.start_node().unwrap();
    let pod = room.pod("sleeps", "to be ended", |pod| phase(pod) == "Failed").await;
    assert!(failed_with(&pod, "Terminated") && was_disrupted(&pod), "{pod:?}");
    assert_eq!((terminated(&pod).exit_code, terminated(&pod).signal), (143, Some(15)));
}
