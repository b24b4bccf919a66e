//! Somebody who has never seen vk-cmd, with what the documentation tells them and nothing else: a site's administrator on a machine that
//! nobody has prepared, and a user with a kubeconfig and an empty home. What they type is read from the documentation.

mod mistakes;
mod site_admin;
mod user;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use vk_cmd_e2e::bare::{self, Bare};
use vk_cmd_e2e::binaries;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::process::Process;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room};

/// The commands of the first block for a console after these words, each without its comment.
fn commands(doc: &str, after: &str) -> Vec<String> {
    let (_, rest) = doc.split_once(after).unwrap_or_else(|| panic!("the documentation no longer says {after:?}"));
    let (_, block) = rest.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let lines = block.lines().filter_map(|line| line.strip_prefix("$ "));
    lines.map(|line| line.split("  ").next().unwrap().trim_end().to_owned()).collect()
}

/// A machine with nothing but a shell, small programs and vk-node.
async fn machine(room: &Room) -> Option<Bare> {
    let node = binaries::static_node().await.unwrap();
    bare::machine(room.ground.plane, &[node]).await
}

/// The credentials in this file, for a machine that reaches the API server in its own way.
fn seen_from(machine: &Bare, room: &Room, kubeconfig: &std::path::Path) -> String {
    let text = std::fs::read_to_string(kubeconfig).unwrap();
    let url = room.ground.plane.server_url();
    assert!(text.contains(&url), "{text}");
    text.replace(&url, &machine.api_server())
}

/// The node is ready, a CmdJob runs there to its end, and both the cluster and the machine tell of it; then the node is ended.
async fn works(room: &Room, machine: &Bare, name: &str, node: &mut Process) {
    crate::join::ready(room, name, node).await;
    let job = room.script("hello", name, "echo \"hello from $HOME on $(hostname)\"").await;
    let ended = job.ended().await;
    assert_eq!(ended.exit_code, Some(0), "{ended:?}; {}", node.log_tail(30));
    let hello = "hello from /home/newcomer on login07\n";
    let pod = ended.attempt().pod.clone();
    assert_eq!(room.says(&["logs", &pod]).await, hello);
    // Each without a flag.
    let status = exec::text(machine.types("vk-node status"), LONG).await.unwrap();
    assert!(status.contains(&format!("{name}  Ready")), "{status}");
    assert_eq!(exec::text(machine.types(&format!("vk-node logs {pod}")), LONG).await.unwrap(), hello);
    let stopped = exec::text(machine.types("vk-node stop"), LONG)
        .await
        .unwrap_or_else(|e| panic!("{e:#}; {}", node.log_tail(30)));
    assert!(!stopped.is_empty());
    let nodes: Api<Node> = Api::all(room.client.clone());
    let gone = wait::until("the node to be gone", LONG, GLANCE, async || {
        Ok(if nodes.get_opt(name).await?.is_none() { Probe::Ready(()) } else { Probe::not_yet(node.log_tail(3)) })
    });
    gone.await.unwrap();
}
