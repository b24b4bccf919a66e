//! Ways that break without a word, and relays that are somewhere else when they are back.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use vk_cmd_e2e::kubelet::Kubelet;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, room};

/// What docs/how-to/relay.md says, and what a busy machine adds to it.
const FOUND_OUT: Duration = Duration::from_secs(30 + 30);

/// Neither side says that it is gone: it stands still, as behind a firewall that has forgotten the connection.
#[tokio::test]
async fn either_side_finds_out_that_the_other_is_dead() {
    let room = room("relay-dead").await;
    let (first, mut second) = (room.relay().await, room.relay().await);
    let mut stands = room.behind(&first, "vk-relay-stands").await;
    let waits = room.behind(&second, "vk-relay-waits").await;
    room.sleeper("p", "vk-relay-stands").await;
    room.sleeper("q", "vk-relay-waits").await;
    room.has_logs("p").await;
    room.has_logs("q").await;
    stands.node().unwrap().signal(Signal::STOP).unwrap();
    second.process().unwrap().signal(Signal::STOP).unwrap();
    let began = Instant::now();
    let gone = wait::until("the relay to find out", LONG, GLANCE, async || {
        let nodes = first.figure("vk_relay_nodes").await?;
        Ok(if nodes < 0.5 { Probe::Ready(began.elapsed()) } else { Probe::not_yet(nodes.to_string()) })
    });
    let lost = wait::until("the node to find out", LONG, GLANCE, async || {
        let log = std::fs::read_to_string(waits.node_log())?;
        let is_lost = log.contains("the relay is lost");
        Ok(if is_lost { Probe::Ready(began.elapsed()) } else { Probe::not_yet("nothing yet") })
    });
    let (gone, lost) = futures::future::join(gone, lost).await;
    let (gone, lost) = (gone.unwrap(), lost.unwrap());
    eprintln!("the relay has found out after {gone:.1?}, the node after {lost:.1?}");
    assert!(gone < FOUND_OUT && lost < FOUND_OUT, "{gone:?} {lost:?}");
    // And when they go on, all is well again.
    stands.node().unwrap().signal(Signal::CONT).unwrap();
    second.process().unwrap().signal(Signal::CONT).unwrap();
    room.has_logs("p").await;
    room.has_logs("q").await;
}

/// As when the relay's pod is another one: another address. The Node says so, and so does its serving certificate.
#[tokio::test]
async fn a_node_follows_its_relay_to_another_address() {
    const NODE: &str = "vk-relay-moved";
    const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    let room = room("relay-moved").await;
    let mut relay = room.relay().await;
    let _site = room.behind(&relay, NODE).await;
    room.sleeper("p", NODE).await;
    room.has_logs("p").await;
    relay.kill().unwrap();
    relay.advertise(THERE);
    relay.restart().await.unwrap();
    let authority = std::fs::read_to_string(room.ground.plane.client_ca()).unwrap();
    let verified = wait::until("the node to be there, with a certificate for there", LONG, GLANCE, async || {
        let kubelet = Kubelet::of(&room.node_now(NODE).await)?;
        if kubelet.address().ip() != IpAddr::from(THERE) {
            return Ok(Probe::not_yet(kubelet.address().to_string()));
        }
        Ok(match kubelet.verify(&authority).await {
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::not_yet(format!("{error:#}")),
        })
    });
    verified.await.unwrap();
    room.has_logs("p").await;
}
