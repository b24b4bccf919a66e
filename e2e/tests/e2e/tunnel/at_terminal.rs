//! Where a person has started the node at a terminal, ssh asks there.

use std::process::Command;

use rustix::process::Signal;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::site::{Settings, Site};

use super::{GATEWAY, behind, log_says, logs_come, sshd, sshes};
use crate::fixture::SOON;
use crate::ground::room;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_asks_at_the_nodes_terminal_and_asks_again_when_it_connects_again() {
    const NODE: &str = "vk-tunnel-terminal";
    const ASKS: &str = "Enter passphrase for key";
    let Some(sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("tunnel-terminal").await;
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-p", "-P", "", "-N", "open sesame", "-f"]).arg(sshd.directory().join("user"));
    exec::text(keygen, SOON).await.unwrap();
    let settings = Settings { at_terminal: true, ..behind(&room, NODE, "127.7.0.12", &sshd) };
    let mut site = Site::start(settings).await.unwrap();
    log_says(&site, ASKS, 1).await;
    site.types("not this").unwrap();
    log_says(&site, ASKS, 2).await;
    site.types("open sesame").unwrap();
    site.ready(&room.client).await.unwrap();
    let job = room.script("job", NODE, "echo asked").await;
    let pod = job.ended().await.attempt().pod.clone();
    assert_eq!(logs_come(&room, &pod).await, "asked\n");

    sshd.signal_connections(Signal::KILL).unwrap();
    log_says(&site, ASKS, 3).await;
    site.types("open sesame").unwrap();
    log_says(&site, "the tunnel is up", 2).await;
    assert_eq!(logs_come(&room, &pod).await, "asked\n");
    assert_eq!(sshes(&site).len(), 1);
    let shown = std::fs::read_to_string(site.node_log()).unwrap();
    assert!(!shown.contains("sesame") && !shown.contains("not this"), "{shown}");
    site.stop_node().unwrap();
}
