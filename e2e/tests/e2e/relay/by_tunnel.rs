//! A site from which only ssh leads out, to a server that lets nobody listen: by the tunnel the node asks the API server, and dials the
//! relay.

use std::path::PathBuf;

use rustix::process::Signal;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::site::Settings;
use vk_cmd_e2e::wait::{self, Probe};

use super::listening;
use crate::exec::{BY_WEBSOCKET, shown};
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, room};
use crate::tunnel::{behind, sshd};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_is_dialled_through_the_tunnel() {
    const NODE: &str = "vk-relay-tunnel";
    let Some(sshd) = sshd(&["AllowTcpForwarding local"]).await else { return };
    let room = room("relay-tunnel").await;
    let relay = room.relay().await;
    let mut settings = behind(&room, NODE, "127.0.0.1", &sshd);
    settings.node_flags.extend(relay.node_flags());
    let mut site = room.site_with(settings.clone()).await;
    assert_eq!(listening(site.node().unwrap().pid()), Vec::<PathBuf>::new());
    assert_eq!(sshd.connections().unwrap().len(), 1);
    room.sleeper("p", NODE).await;
    room.has_logs("p").await;
    let said = room.kubectl_by(BY_WEBSOCKET, &["exec", "-i", "p", "--", "cat"], b"there and back").await;
    assert_eq!(shown(&said).1, "there and back", "{:?}", shown(&said));
    // It goes by the tunnel: with that it is lost, and comes again.
    let before = relay.figure("vk_relay_welcomed_total").await.unwrap();
    sshd.signal_connections(Signal::KILL).unwrap();
    let again = wait::until("the node to dial again", LONG, GLANCE, async || {
        let now = relay.figure("vk_relay_welcomed_total").await?;
        Ok(if now > before + 0.5 { Probe::Ready(()) } else { Probe::not_yet(now.to_string()) })
    });
    again.await.unwrap();
    room.has_logs("p").await;
    drop(site);

    // Where the API server comes to the node is not said twice.
    let Settings { node_flags, kubeconfig, .. } = settings;
    let mut run = std::process::Command::new(&vk_cmd_e2e::binaries::built().await.unwrap().node);
    run.args(["run", "--node-name", NODE, "--tunnel-bind", "127.7.0.13", "--kubeconfig"])
        .arg(kubeconfig)
        .args(node_flags);
    let said = exec::output(run, SOON).await.unwrap();
    assert!(!said.status.success() && shown(&said).2.contains("leave out --tunnel-bind"), "{:?}", shown(&said));
}
