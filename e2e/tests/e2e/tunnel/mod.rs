//! A node behind a tunnel: it reaches the API server, and is reached, through the system's own ssh and a real sshd.
//!
//! ```text
//!   node: kubelet's API on 127.0.0.1 only ◀── ssh ══ sshd ◀── 127.7.0.N:port, which the Node says ◀── API server
//!   node: socket ───────────────────────────▶ ssh ══ sshd ───────────────────────────────────────────▶ API server
//! ```
//!
//! All of 127.0.0.0/8 is this machine, so sshd can listen on an address that the node does not listen on, and what is told
//! there can have gone through the tunnel only.

mod at_terminal;
mod by_hand;
mod cuts;
mod own_config;
mod refusals;
mod shared;
mod works;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use rustix::process::Pid;
use vk_cmd_e2e::kubelet::Kubelet;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::sshd::Sshd;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room};

/// With which sshd lets the client choose the address that it listens on.
pub(crate) const GATEWAY: &str = "GatewayPorts clientspecified";

/// A sshd with these settings; `None`, after a loud word, where none can be had.
pub(crate) async fn sshd(settings: &[&str]) -> Option<Sshd> {
    Sshd::or_skip("the tests of tunnels", settings).await
}

/// Settings of a node behind the tunnel to this sshd, at an address of the far end.
pub(crate) fn behind(room: &Room, node: &str, address: &str, sshd: &Sshd) -> Settings {
    let config = sshd.client_config();
    let flags: [OsString; 4] =
        ["--tunnel".into(), format!("ssh:{}", Sshd::HOST).into(), "--tunnel-ssh-config".into(), config.into()];
    Settings {
        address: Some(address.parse::<IpAddr>().unwrap()),
        node_flags: flags.to_vec(),
        environment: vec![("TMPDIR".into(), sshd.directory().into())],
        ..Settings::on(room.ground.plane, node).unwrap()
    }
}

/// Where the Node says that it is reached.
async fn told_address(room: &Room, node: &str) -> SocketAddr {
    let nodes: Api<Node> = Api::all(room.client.clone());
    Kubelet::of(&nodes.get(node).await.unwrap()).unwrap().address()
}

/// Waits until a node's log says this, so many times.
pub(crate) async fn log_says(site: &Site, text: &str, times: usize) {
    let what = format!("the node to say {text:?}");
    let reached = wait::until(&what, LONG, GLANCE, async || {
        let log = std::fs::read_to_string(site.node_log())?;
        Ok(if log.matches(text).count() >= times { Probe::Ready(()) } else { Probe::not_yet(log) })
    });
    reached.await.unwrap();
}

/// Waits until the API server reaches the node again: what it says of a pod's log.
async fn logs_come(room: &Room, pod: &str) -> String {
    let what = format!("the log of {pod} to come");
    let reached = wait::until(&what, LONG, GLANCE, async || {
        let output = vk_cmd_e2e::exec::output(room.kubectl(&["logs", pod]), LONG).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(match output.status.success() {
            true => Probe::Ready(text(&output.stdout)),
            false => Probe::not_yet(text(&output.stderr)),
        })
    });
    reached.await.unwrap()
}

/// The ssh processes of a site.
fn sshes(site: &Site) -> Vec<i32> {
    let is_ssh =
        |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "ssh");
    site.processes().unwrap().into_iter().filter(is_ssh).collect()
}

/// Waits until no ssh of the site is left, and nothing at the far end serves one.
async fn no_ssh(site: &Site, sshd: &Sshd) {
    let reached = wait::until("all of ssh to be gone", LONG, GLANCE, async || {
        let (here, there) = (sshes(site), sshd.connections()?);
        let there: Vec<i32> = there.into_iter().map(Pid::as_raw_nonzero).map(Into::into).collect();
        Ok(match here.is_empty() && there.is_empty() {
            true => Probe::Ready(()),
            false => Probe::not_yet(format!("{here:?} here, {there:?} there")),
        })
    });
    reached.await.unwrap();
}
