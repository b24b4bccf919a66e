//! docs/how-to/site-admin.md: from the program to a node, and what its administrator does with it. Its profiles have pages of their own.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
use serde_json::json;

use super::play::{Play, Scene, all_of};

const PAGE: &str = "docs/how-to/site-admin.md";
const JOINED: &str = "vk-docs-site-admin-1";
const NODE: &str = "vk-docs-workstation";

pub(super) const SCENE: Scene = Scene {
    parts: &[
        all_of(PAGE, "#from-the-program-to-a-node-that-is-ready"),
        all_of(PAGE, "#take-a-machine-out-of-service"),
        all_of("docs/how-to/upgrade.md", "#a-node"),
        all_of(PAGE, "#change-settings-of-a-node-that-runs"),
        all_of(PAGE, "#find-out-where-a-setting-is-from"),
        all_of(PAGE, "#hand-what-is-needed-to-somebody-who-helps"),
    ],
    words: &[("vk-workstation", NODE), ("default     moo", "docs-site-admin   moo")],
    varies: &[
        ("file", r"\bvk-node-support-[0-9-]+"),
        ("date", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        ("time", r"\b\d+(\.\d+)?[smh](\d+s)?\b"),
        ("address", r"\d+\.\d+\.\d+\.\d+:\d+"),
        ("process", r"\b(process |Running  )\d+"),
        ("pod", r"\bmoo-[a-z0-9-]+"),
        ("count", r"\b\d+ (files?|checks?|warnings?|ok|skipped)\b"),
    ],
    codes: &[("vk-node doctor", 4), ("vk-node config diff                      # what the file says that the node that runs does not know yet", 4)],
};

/// A server that answers nobody: what comes is not taken, and its queue is full.
struct Silent(#[allow(dead_code, reason = "open as long as this lives")] Vec<OwnedFd>);

fn silent() -> (Silent, u16) {
    let socket = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).unwrap();
    let server = socket();
    bind(&server, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&server, 0).unwrap();
    let at = SocketAddrV4::try_from(getsockname(&server).unwrap()).unwrap();
    let mut all = vec![server];
    for _ in 0..3 {
        let client = socket();
        // It goes on in the background, for as long as this lives.
        let _ = connect(&client, &at);
        all.push(client);
    }
    (Silent(all), at.port())
}

pub(super) async fn play(play: &mut Play) {
    // By a line of the cluster's administrator.
    let fleet = play.room.fleet("docs-site-admin", json!({})).await;
    let token = play.join_token("docs-site-admin").await;
    play.word("vkj1.eyJzZXJ2ZXIiOi…", &token);
    play.node = JOINED.to_owned();
    play.machine.exports("JOBNAME", JOINED).unwrap();
    play.one("echo vkj1").await;
    play.one("vk-node run").await;
    fleet.remove().await;

    // By a profile.
    play.on_another_machine().await;
    play.node = NODE.to_owned();
    play.has_node_kubeconfig("node.kubeconfig", NODE);
    play.one("vk-node init").await;
    play.one("vk-node run").await;

    // Where nobody answers, on a third machine.
    let (_silent, port) = silent();
    let place = format!("127.0.0.1:{port}");
    let plane = play.room.ground.plane;
    let kubeconfig = std::fs::read_to_string(play.machine.home().join("node.kubeconfig")).unwrap();
    let lost = kubeconfig.replace(&plane.server_url(), &format!("https://{place}"));
    play.machine.has_file("elsewhere/lost.kubeconfig", &lost).unwrap();
    play.word("api.example.org:6443", &place);
    play.word("vk-node doctor", "vk-node doctor --hostpipe elsewhere/hostpipe --kubeconfig elsewhere/lost.kubeconfig --node-name vk-docs-workstation");
    play.one("vk-node doctor").await;

    play.machine.has_script("cowsay", "#!/bin/sh\nexec sleep 600\n").unwrap();
    let home = play.machine.home().display().to_string();
    play.word("/home/me", &home);
    let job = play.room.run("moo", NODE, json!({"command": ["cowsay", "hi"]})).await;
    job.running().await;
    let pod = job.pods().await.remove(0).metadata.name.unwrap();
    play.word("moo-0-0-x7k2p", &pod);
    play.section("#from-the-program-to-a-node-that-is-ready").await;

    // Settings, while it runs.
    let file = "hostpipe/node.yaml";
    play.machine.must(&format!("sed -i 's/^maxPods: .*/maxPods: 21/' {file}")).await.unwrap();
    play.section("#change-settings-of-a-node-that-runs").await;
    play.room.node(NODE, "to have taken up its file", |node| {
        let pods = node.status.as_ref().and_then(|status| status.capacity.as_ref()?.get("pods").map(|n| n.0.clone()));
        pods.as_deref() == Some("21")
    }).await;
    play.machine.must("unset KUBELET_PORT VKUBELET_POD_IP").await.unwrap();
    play.section("#find-out-where-a-setting-is-from").await;
    play.machine.exports("KUBELET_PORT", "0").unwrap();
    play.machine.exports("VKUBELET_POD_IP", "127.0.0.1").unwrap();
    play.section("#hand-what-is-needed-to-somebody-who-helps").await;

    // Another program, while the job runs, which goes on.
    play.machine.must("cp $(which vk-node) vk-node.new").await.unwrap();
    play.section("#a-node").await;
    let status = job.running().await;
    assert_eq!(status.failed, 0, "{status:?}");
    play.machine.must("kubectl delete cmdjob moo").await.unwrap();
    play.section("#take-a-machine-out-of-service").await;
}
