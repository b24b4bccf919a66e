//! A node's name belongs to one vk-node at a time.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
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
        let told = log.lines().find(|line| line.contains("another vk-node has this name")).map(str::to_owned);
        Ok(told.map_or_else(|| Probe::not_yet(log), Probe::Ready))
    });
    let told = told.await.unwrap();
    // And for whom: the host, and the pipe's directory there.
    let leases: Api<Lease> = Api::namespaced(room.client.clone(), "kube-node-lease");
    let holder = leases.get("vk-names").await.unwrap().spec.unwrap().holder_identity.unwrap();
    assert!(holder.ends_with(&format!(":{}", first.hostpipe().display())), "{holder}");
    assert!(told.contains(&holder), "{told} does not say {holder}");
    let job = room.script("whose", "vk-names", "echo $HOME").await;
    let ended = job.ended().await;
    let logs = room.says(&["logs", &ended.attempt().pod]).await;
    assert_eq!(logs.trim(), first.home().to_str().unwrap());
    let after = first.ready(&room.client).await.unwrap();
    assert_eq!(before.status.unwrap().daemon_endpoints, after.status.unwrap().daemon_endpoints);
}
