//! Several relays: a node is on one of them, and goes to another when that one goes.

use std::ffi::OsString;

use rustix::process::Signal;
use serde_json::json;
use vk_cmd_e2e::kubelet::Kubelet;
use vk_cmd_e2e::relay::{Relay, Settings as RelaySettings};
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use super::next;
use crate::exec::shown;
use crate::ground::{GLANCE, LONG, Room, room};

const COUNTS: &str = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.1; done";

/// Two relays, each with an authority of its own, and a node that knows both.
struct Two {
    relays: [Relay; 2],
    site: Site,
    _authorities: Scratch,
}

impl Two {
    async fn start(room: &Room, node: &str) -> Self {
        // Long enough to go elsewhere.
        let settings = RelaySettings { flags: vec!["--drain-timeout=16s".to_owned()], ..RelaySettings::default() };
        let plane = room.ground.plane;
        let relays =
            [Relay::start(plane, settings.clone()).await.unwrap(), Relay::start(plane, settings).await.unwrap()];
        let authorities = Scratch::new("vk-relays-").unwrap();
        let file = authorities.path().join("authorities.pem");
        let pem = relays.each_ref().map(|relay| std::fs::read_to_string(relay.authority()).unwrap());
        std::fs::write(&file, pem.concat()).unwrap();
        let addresses = relays.each_ref().map(|relay| relay.address().to_string()).join(",");
        let flags: [OsString; 4] = ["--relay".into(), addresses.into(), "--relay-ca-file".into(), file.into()];
        let settings = Settings::on(plane, node).unwrap();
        let site = room.site_with(Settings { node_flags: flags.to_vec(), ..settings }).await;
        Self { relays, site, _authorities: authorities }
    }

    /// Which of them the node is on, once it is on one only.
    async fn own(&self) -> usize {
        let found = wait::until("the node to be on one relay", LONG, GLANCE, async || {
            let mut on = Vec::new();
            for (n, relay) in self.relays.iter().enumerate() {
                // One that is killed has nobody.
                if relay.figure("vk_relay_nodes").await.is_ok_and(|nodes| nodes > 0.5) {
                    on.push(n);
                }
            }
            Ok(if let [only] = on[..] { Probe::Ready(only) } else { Probe::not_yet(format!("it is on {on:?}")) })
        });
        found.await.unwrap()
    }
}

#[tokio::test]
async fn a_node_goes_to_the_next_relay_when_its_own_is_killed() {
    const NODE: &str = "vk-relays-killed";
    let room = room("relays-killed").await;
    let mut two = Two::start(&room, NODE).await;
    room.running_pod("counter", NODE, json!({"command": ["sh", "-c", COUNTS]})).await;
    for _ in 0..2 {
        room.has_logs("counter").await;
        let (own, before) = (two.own().await, Kubelet::of(&room.node_now(NODE).await).unwrap().address());
        two.relays[own].kill().unwrap();
        assert_eq!(two.own().await, 1 - own);
        let took = room.has_logs("counter").await;
        eprintln!("after kill -9 of its relay the node was reached by the other after {took:.1?}");
        assert_ne!(Kubelet::of(&room.node_now(NODE).await).unwrap().address(), before, "the Node says where it is now");
        two.relays[own].restart().await.unwrap();
        // It stays where it is well.
        assert_eq!(two.own().await, 1 - own);
    }
    two.site.node().unwrap().must_be_running().unwrap();
}

/// As when the chart's relays are replaced one by one: nobody notices but who follows something for longer than a relay waits.
#[tokio::test]
async fn a_node_is_reached_all_the_time_while_its_relay_ends() {
    const NODE: &str = "vk-relays-told";
    let room = room("relays-told").await;
    let mut two = Two::start(&room, NODE).await;
    room.running_pod("counter", NODE, json!({"command": ["sh", "-c", COUNTS]})).await;
    room.has_logs("counter").await;
    let own = two.own().await;
    let (_follower, mut lines) = room.goes_on(&["logs", "--follow", "counter"]);
    for n in 0..5 {
        assert_eq!(next(&mut lines).await, Some(n.to_string()));
    }
    two.relays[own].process().unwrap().signal(Signal::TERM).unwrap();
    let mut calls = 0;
    while two.relays[own].process().unwrap().exited().unwrap().is_none() {
        let said = vk_cmd_e2e::exec::output(room.kubectl(&["logs", "--tail=1", "counter"]), LONG).await.unwrap();
        assert!(said.status.success(), "call {calls}: {:?}", shown(&said));
        calls += 1;
    }
    eprintln!("{calls} times logs were asked for while the relay ended");
    assert!(calls > 1);
    assert_eq!(two.own().await, 1 - own);
    room.has_logs("counter").await;
    // What was followed has each line once, up to the end of the relay.
    let mut n = 5;
    while let Some(line) = next(&mut lines).await {
        assert_eq!(line, n.to_string());
        n += 1;
    }
    assert!(n > 5);
}
