//! A node's name belongs to one vk-node at a time.

use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, room};

#[tokio::test]
async fn a_second_node_of_the_same_name_waits_and_does_no_harm() {
    let room = room("names").await;
    let mut first = room.site("vk-names").await;
    let before = first.ready(&room.client).await.unwrap();
    let second = Site::start(Settings::on(room.ground.plane, "vk-names").unwrap()).await.unwrap();
    let told = wait::until("the second node to say that it waits", LONG, GLANCE, async || {
        let log = std::fs::read_to_string(second.node_log())?;
        let is_told = log.contains("another vk-node has this name");
        Ok(if is_told { Probe::Ready(()) } else { Probe::not_yet(log) })
    });
    told.await.unwrap();
    let job = room.script("whose", "vk-names", "echo $HOME").await;
    let ended = job.ended().await;
    let logs = room.says(&["logs", &ended.attempt().pod]).await;
    assert_eq!(logs.trim(), first.home().to_str().unwrap());
    let after = first.ready(&room.client).await.unwrap();
    assert_eq!(before.status.unwrap().daemon_endpoints, after.status.unwrap().daemon_endpoints);
}
