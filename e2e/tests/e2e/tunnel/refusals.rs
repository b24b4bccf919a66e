//! What a server refuses is told in words that help, and the node is there as soon as it is mended.

use rustix::process::Signal;
use vk_cmd_e2e::site::Site;

use super::{GATEWAY, behind, log_says, logs_come, sshd};
use crate::ground::room;
use crate::relay::told::reachable;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_host_key_or_user_key_is_told_and_waited_for() {
    const NODE: &str = "vk-tunnel-keys";
    let Some(sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("tunnel-keys").await;
    sshd.know_host("other").unwrap();
    let mut site = Site::start(behind(&room, NODE, "127.7.0.5", &sshd)).await.unwrap();
    log_says(&site, "HOST KEY IS NOT THE ONE THAT IS KNOWN HERE", 1).await;
    log_says(&site, &format!("{}/known_hosts:1", sshd.directory().display()), 1).await;
    std::fs::remove_file(sshd.directory().join("known_hosts")).unwrap();
    site.start_node().unwrap();
    log_says(&site, "the server's host key is not known here", 1).await;
    sshd.know_host("host").unwrap();
    sshd.let_in("other").unwrap();
    site.start_node().unwrap();
    log_says(&site, "the server does not let us in", 1).await;
    // It is mended, and the node does not have to be started again.
    sshd.let_in("user").unwrap();
    site.ready(&room.client).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_listens_elsewhere_than_it_says_is_found_out() {
    const NODE: &str = "vk-tunnel-elsewhere";
    // Without GatewayPorts sshd grants any address, and listens on 127.0.0.1.
    let Some(mut sshd) = sshd(&[]).await else { return };
    let room = room("tunnel-elsewhere").await;
    let site = room.site_with(behind(&room, NODE, "127.7.0.9", &sshd)).await;
    log_says(&site, "nothing answers at 127.7.0.9:", 1).await;
    log_says(&site, "`GatewayPorts clientspecified`", 1).await;
    let job = room.script("job", NODE, "echo here").await;
    let pod = job.ended().await.attempt().pod.clone();
    let message = reachable(&room, NODE, "False", "TunnelListensElsewhere").await;
    assert!(message.contains("nothing answers at 127.7.0.9:"), "{message}");
    sshd.signal_connections(Signal::KILL).unwrap();
    sshd.restart(&[GATEWAY]).await.unwrap();
    assert_eq!(logs_come(&room, &pod).await, "here\n");
    reachable(&room, NODE, "True", "TunnelListens").await;
    let log = std::fs::read_to_string(site.node_log()).unwrap();
    assert_eq!(log.matches("nothing answers at").count(), 1, "{log}");
    assert!(!log.contains("cannot reach the API server"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_that_is_refused_is_told_with_what_the_server_must_allow() {
    const NODE: &str = "vk-tunnel-refused";
    let Some(mut sshd) = sshd(&["AllowTcpForwarding local"]).await else { return };
    let room = room("tunnel-refused").await;
    let mut site = Site::start(behind(&room, NODE, "127.7.0.6", &sshd)).await.unwrap();
    log_says(&site, "the ssh server does not give a port of its own choice on 127.7.0.6", 1).await;
    log_says(&site, "`GatewayPorts clientspecified`", 1).await;
    // The connection itself is good, and stays: the node is there, and runs what it is given.
    site.ready(&room.client).await.unwrap();
    let job = room.script("job", NODE, "echo later").await;
    let pod = job.ended().await.attempt().pod.clone();
    assert_eq!(sshd.connections().unwrap().len(), 1);
    let message = reachable(&room, NODE, "False", "TunnelPortRefused").await;
    assert!(message.contains("kubectl logs") && message.contains("`AllowTcpForwarding yes`"), "{message}");
    sshd.signal_connections(Signal::KILL).unwrap();
    sshd.restart(&["AllowTcpForwarding remote", GATEWAY]).await.unwrap();
    log_says(&site, "the ssh server does not let us connect to the API server", 1).await;
    sshd.signal_connections(Signal::KILL).unwrap();
    sshd.restart(&[GATEWAY]).await.unwrap();
    assert_eq!(logs_come(&room, &pod).await, "later\n");
    reachable(&room, NODE, "True", "TunnelListens").await;
}
