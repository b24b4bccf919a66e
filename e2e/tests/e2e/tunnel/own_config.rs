//! It is the system's own ssh: what its config says and whom it asks is as without vk-node.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use vk_cmd_e2e::exec;

use super::{GATEWAY, behind, no_ssh, sshd, sshes};
use crate::fixture::SOON;
use crate::ground::room;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jump_host_is_gone_over_and_nothing_of_it_is_left_behind() {
    const NODE: &str = "vk-tunnel-jump";
    let (Some(jump), Some(sshd)) = (sshd(&[]).await, sshd(&[GATEWAY]).await) else { return };
    let room = room("tunnel-jump").await;
    let config = sshd.directory().join("by_jump");
    let over = std::fs::read_to_string(jump.client_config()).unwrap().replace("Host *", "Host jump");
    let to = std::fs::read_to_string(sshd.client_config()).unwrap();
    std::fs::write(&config, format!("{over}  ProxyJump none\n{to}  ProxyJump jump\n")).unwrap();
    let mut settings = behind(&room, NODE, "127.7.0.10", &sshd);
    *settings.node_flags.last_mut().unwrap() = config.into();
    let mut site = room.site_with(settings).await;
    assert_eq!((sshes(&site).len(), jump.connections().unwrap().len()), (2, 1), "one is the jump host's");
    let job = room.script("job", NODE, "echo over").await;
    let pod = job.ended().await.attempt().pod.clone();
    assert_eq!(room.says(&["logs", &pod]).await, "over\n");
    site.kill_node().unwrap();
    no_ssh(&site, &sshd).await;
    no_ssh(&site, &jump).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passphrase_is_asked_for_where_somebody_is_there_to_tell_it() {
    const NODE: &str = "vk-tunnel-askpass";
    let Some(sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("tunnel-askpass").await;
    let key = sshd.directory().join("user");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-p", "-P", "", "-N", "open sesame", "-f"]).arg(key);
    exec::text(keygen, SOON).await.unwrap();
    let askpass = sshd.directory().join("askpass");
    std::fs::write(&askpass, "#!/bin/sh\necho open sesame\n").unwrap();
    std::fs::set_permissions(&askpass, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut settings = behind(&room, NODE, "127.7.0.11", &sshd);
    settings.environment.push(("SSH_ASKPASS".into(), askpass.into()));
    settings.environment.push(("SSH_ASKPASS_REQUIRE".into(), "force".into()));
    let site = room.site_with(settings).await;
    assert_eq!(sshes(&site).len(), 1);
}
