//! Where only a person can log in, the node goes by the connection that the person shares.

use std::path::Path;

use vk_cmd_e2e::process::Process;
use vk_cmd_e2e::site::Site;
use vk_cmd_e2e::sshd::Sshd;

use super::{GATEWAY, behind, log_says, logs_come, sshd, sshes};
use crate::ground::room;

/// `ssh -M`, as a person would have it.
fn master(sshd: &Sshd, socket: &Path) -> Process {
    let path = format!("ControlPath={}", socket.display());
    let ssh = sshd.command(&["-M", "-N", "-o", &path, Sshd::HOST]);
    Process::start("a person's ssh", ssh, sshd.directory().join("person.log")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_a_person_shares_is_found_and_left_as_it_was() {
    const NODE: &str = "vk-tunnel-shared";
    let Some(sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("tunnel-shared").await;
    // The node itself has no key; where the person's connection is, it knows from ssh's config.
    let (config, socket) = (sshd.directory().join("without_key"), sshd.directory().join("person"));
    let text = std::fs::read_to_string(sshd.client_config()).unwrap();
    let key = format!("{}/user", sshd.directory().display());
    std::fs::write(&config, text.replace(&key, "/no/key") + &format!("  ControlPath {}\n", socket.display())).unwrap();
    let mut settings = behind(&room, NODE, "127.7.0.8", &sshd);
    *settings.node_flags.last_mut().unwrap() = config.into();
    let mut site = Site::start(settings).await.unwrap();
    log_says(&site, "the server does not let us in", 1).await;
    let mut person = master(&sshd, &socket);
    site.ready(&room.client).await.unwrap();
    assert!(sshes(&site).is_empty(), "it has no connection of its own");
    let job = room.script("job", NODE, "echo by yours").await;
    let pod = job.ended().await.attempt().pod.clone();
    assert_eq!(room.says(&["logs", &pod]).await, "by yours\n");
    // The person ends it, and begins another.
    person.kill().unwrap();
    log_says(&site, "the server does not let us in", 2).await;
    let _ = std::fs::remove_file(&socket);
    let mut person = master(&sshd, &socket);
    log_says(&site, "the tunnel is up", 2).await;
    assert_eq!(logs_come(&room, &pod).await, "by yours\n");
    // The node ends, and the connection goes on without its forwards.
    site.stop_node().unwrap();
    person.must_be_running().unwrap();
    assert_eq!(sshd.connections().unwrap().len(), 1);
}
