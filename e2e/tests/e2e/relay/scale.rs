//! Many nodes on one relay, each with a connection of its own by which its name is proven.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use vk_cmd_e2e::control_plane::{ControlPlane, Options, Signed};
use vk_cmd_e2e::kubelet::{Kubelet, Who};
use vk_cmd_e2e::relay::{Relay, Settings as RelaySettings};
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::exec::resident;
use crate::fixture::control_plane;

/// The longest that all of them may take, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(900);
const GLANCE: Duration = Duration::from_millis(500);

/// The processor time of a process.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

/// Whether a certificate is for this DNS name: its subjectAltName has it, with its length before it.
fn is_for(certificate: &[u8], name: &str) -> bool {
    let wanted = [&[0x82, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    certificate.windows(wanted.len()).any(|part| part == wanted)
}

/// Gives each node a certificate of its own, where a relay's are looked for.
fn certify(plane: &ControlPlane, directory: &Path, prefix: &str, count: usize) {
    for n in 0..count {
        let user = format!("system:node:{prefix}{n}");
        let pair = plane.client_certificate(&user, Some("system:nodes"), Signed::Properly).unwrap();
        let own = directory.join(format!("{prefix}{n}"));
        std::fs::create_dir_all(&own).unwrap();
        std::fs::write(own.join("kubelet-client-current.pem"), pair.certificate + &pair.key).unwrap();
    }
}

async fn connected(relay: &Relay, count: usize) {
    let what = format!("{count} nodes to be connected");
    let all = wait::until(&what, LIMIT, GLANCE, async || {
        let now = relay.figure("vk_relay_nodes").await?;
        let is_all = (now - f64::from(u32::try_from(count)?)).abs() < 0.1;
        Ok(if is_all { Probe::Ready(()) } else { Probe::not_yet(now.to_string()) })
    });
    all.await.unwrap();
}

/// That each node is reached where its Node says, and that it is that very node.
async fn all_reached(plane: &ControlPlane, prefix: &str, count: usize) {
    let nodes: Api<Node> = Api::all(plane.client().await.unwrap());
    let all = nodes.list(&ListParams::default()).await.unwrap();
    let ours: Vec<Node> = all.into_iter().filter(|node| node.name_any().starts_with(prefix)).collect();
    assert_eq!(ours.len(), count);
    let asked = stream::iter(ours).map(|node| async move {
        let name = node.name_any();
        let answer = Kubelet::of(&node)?.ask(&Who::default(), &http::Method::GET, "/healthz", false).await?;
        // It wants to know who asks, which takes TLS from end to end, and shows a certificate of its own making.
        anyhow::ensure!(answer.status == http::StatusCode::UNAUTHORIZED, "{name}: {answer:?}");
        anyhow::ensure!(is_for(&answer.served, &name), "{name} is not who answers for it");
        Ok(())
    });
    let failed: Vec<anyhow::Error> = asked.buffer_unordered(16).filter_map(async |asked| asked.err()).collect().await;
    assert!(failed.is_empty(), "{} of {count}: {:#}", failed.len(), failed[0]);
}

async fn many(plane: &ControlPlane, prefix: &str, count: usize) {
    let certificates = Scratch::new("vk-relay-pki-").unwrap();
    certify(plane, certificates.path(), prefix, count);
    // A few more ports than nodes: some may be somebody else's.
    let ports = u16::try_from(count + 100).unwrap();
    let mut relay = Relay::start(plane, RelaySettings { ports, ..RelaySettings::default() }).await.unwrap();
    let idle = resident(relay.process().unwrap().pid());
    let began = Instant::now();
    let mut settings = Settings::new(&format!("{prefix}0"), plane.kubeconfig(), Some(plane.client_ca().into()));
    settings.address = Some(std::net::Ipv4Addr::LOCALHOST.into());
    settings.node_flags = relay.node_flags();
    settings.node_flags.extend(["--nodes".into(), format!("{prefix}={count}").into()]);
    settings.node_flags.extend(["--cert-dir".into(), certificates.path().into()]);
    let mut site = Site::start(settings).await.unwrap();
    connected(&relay, count).await;
    let all_here = began.elapsed();
    // The last of them register after they were let in.
    let nodes: Api<Node> = Api::all(plane.client().await.unwrap());
    let registered = wait::until("all Nodes to say where they are", LIMIT, GLANCE, async || {
        let all = nodes.list(&ListParams::default()).await?;
        let ours = all.iter().filter(|node| node.name_any().starts_with(prefix));
        let told = ours.filter(|node| Kubelet::of(node).is_ok()).count();
        Ok(if told == count { Probe::Ready(()) } else { Probe::not_yet(told.to_string()) })
    });
    registered.await.unwrap();
    all_reached(plane, prefix, count).await;
    let (pid, node) = (relay.process().unwrap().pid(), site.node().unwrap().pid());
    let (full, of_node) = (resident(pid), resident(node));
    let (used, since) = (cpu(pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let at_rest = (cpu(pid) - used).as_secs_f64() / since.elapsed().as_secs_f64() * 100.0;

    relay.kill().unwrap();
    relay.restart().await.unwrap();
    let began = Instant::now();
    connected(&relay, count).await;
    let all_back = began.elapsed();
    let came_back = cpu(relay.process().unwrap().pid());
    all_reached(plane, prefix, count).await;
    eprintln!(
        "{count} nodes on one relay: all here after {all_here:.1?}; relay {idle} KiB → {full} KiB ({:.1} KiB a node), node's \
         process {of_node} KiB; at rest {at_rest:.1} % of a processor; after kill -9 and a start all back after \
         {all_back:.1?} with {came_back:.1?} of processor",
        (full - idle) as f64 / count as f64,
    );
    drop(site);
    let mine = stream::iter(0..count).map(|n| {
        let nodes = nodes.clone();
        async move { nodes.delete(&format!("{prefix}{n}"), &DeleteParams::default()).await.map(drop) }
    });
    mine.buffer_unordered(16).collect::<Vec<_>>().await;
}

#[tokio::test]
async fn fifty_nodes_in_one_process_are_reached_by_one_relay() {
    many(control_plane().await, "vk-rel-", 50).await;
}

/// On a control plane of its own, for it is a load.
#[tokio::test]
#[ignore = "a thousand nodes take minutes"]
async fn a_thousand_nodes_in_one_process_are_reached_by_one_relay() {
    let plane = Box::pin(ControlPlane::start(Options::default())).await.unwrap();
    many(&plane, "vk-rel-", 1000).await;
}
