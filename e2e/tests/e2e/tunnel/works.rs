//! What works behind a tunnel, and that nothing of it stays behind.

use std::io::Write;
use std::net::TcpStream;

use kube::ResourceExt;
use rustix::process::Signal;
use vk_cmd_e2e::site::Settings;

use super::{GATEWAY, behind, log_says, no_ssh, sshd, sshes, told_address};
use crate::exec::{BY_SPDY, BY_WEBSOCKET, shown};
use crate::ground::room;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_tunnel_is_a_node() {
    const NODE: &str = "vk-tunnel";
    let Some(sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("tunnel").await;
    let plane = room.ground.plane;
    // The kubeconfig's server has a name that nobody here knows: by it the certificate is checked, and nothing else. Where it
    // is, as the far end calls it, is in the node's file.
    let settings = Settings::on(plane, NODE).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (kubeconfig, file) = (directory.path().join("kubeconfig"), directory.path().join("node.yaml"));
    let url = plane.server_url();
    let text = std::fs::read_to_string(&settings.kubeconfig).unwrap();
    std::fs::write(&kubeconfig, text.replace(&url, "https://kubernetes.default.svc:443")).unwrap();
    write!(
        std::fs::File::create(&file).unwrap(),
        "version: 1\ntunnel:\n  to: ssh:localhost\n  configFile: {}\n  apiServer: {}\n  options: [Compression=yes]\n",
        sshd.client_config().display(),
        url.strip_prefix("https://").unwrap()
    )
    .unwrap();
    let settings = Settings {
        kubeconfig,
        node_flags: vec!["--config".into(), file.into()],
        ..behind(&room, NODE, "127.7.0.1", &sshd)
    };
    let mut site = room.site_with(settings).await;

    let at = told_address(&room, NODE).await;
    assert_eq!(at.ip().to_string(), "127.7.0.1");
    assert_eq!((sshes(&site).len(), sshd.connections().unwrap().len()), (1, 1), "one connection for all");
    let job = room.script("job", NODE, "echo through; exit 3").await;
    let pod = job.ended().await.attempt().pod.clone();
    assert_eq!(room.says(&["logs", &pod]).await, "through\n");
    room.sleeper("p", NODE).await;
    for by in [BY_WEBSOCKET, BY_SPDY] {
        let (code, out, err) = shown(&room.kubectl_by(by, &["exec", "-i", "p", "--", "cat"], b"there and back").await);
        assert_eq!((code, out.as_str()), (Some(0), "there and back"), "{err}");
    }
    assert_eq!((sshes(&site).len(), sshd.connections().unwrap().len()), (1, 1));

    // It says good-bye through the tunnel, and takes it along.
    site.stop_node().unwrap();
    let node =
        room.says(&["get", "node", NODE, "--output", "jsonpath={.status.conditions[?(@.type=='Ready')].reason}"]).await;
    assert_eq!(node, "NodeShutdown");
    no_ssh(&site, &sshd).await;
    TcpStream::connect(at).unwrap_err();
    let left = std::fs::read_dir(sshd.directory())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("vk-tunnel-"));
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_share_one_connection() {
    let Some(sshd) = sshd(&[]).await else { return };
    let room = room("tunnel-many").await;
    let kubeconfig = room.ground.plane.kubeconfig().to_owned();
    let mut settings = Settings { kubeconfig, ..behind(&room, "vk-tunnel-many-0", "127.0.0.1", &sshd) };
    settings.node_flags.extend(["--nodes".into(), "vk-tunnel-many-=3".into()]);
    let site = room.site_with(settings).await;
    let mut ports = std::collections::BTreeSet::new();
    for n in 0..3 {
        let node = format!("vk-tunnel-many-{n}");
        let job = room.script(&format!("on-{n}"), &node, &format!("echo {n}")).await;
        let pod = job.ended().await.attempt().pod.clone();
        assert_eq!(room.says(&["logs", &pod]).await, format!("{n}\n"));
        ports.insert(told_address(&room, &node).await.port());
    }
    assert_eq!((ports.len(), sshes(&site).len(), sshd.connections().unwrap().len()), (3, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_a_node_that_is_killed_and_the_next_takes_up() {
    const NODE: &str = "vk-tunnel-killed";
    let Some(sshd) = sshd(&[GATEWAY]).await else { return };
    let room = room("tunnel-killed").await;
    let mut site = room.site_with(behind(&room, NODE, "127.7.0.2", &sshd)).await;
    let gate = site.home().join("gate");
    let script = format!("until test -e {}; do sleep 0.05; done; exit 4", gate.display());
    let job = room.script("job", NODE, &script).await;
    job.running().await;
    site.kill_node().unwrap();
    no_ssh(&site, &sshd).await;
    std::fs::write(&gate, "").unwrap();
    site.start_node().unwrap();
    assert_eq!(job.ended().await.exit_code, Some(4));
    log_says(&site, "the tunnel is up", 2).await;
    // A Ctrl-C is sent to ssh, too, where it has the terminal; the node still needs it then.
    let status = std::fs::read_to_string(format!("/proc/{}/status", sshes(&site)[0])).unwrap();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
    let interrupt = 1_u64 << (Signal::INT.as_raw() - 1);
    assert_ne!(u64::from_str_radix(blocked, 16).unwrap() & interrupt, 0, "{status}");
    site.node().unwrap().signal(Signal::INT).unwrap();
    no_ssh(&site, &sshd).await;
    let pods = job.pods().await;
    assert_eq!(pods.len(), 1, "{:?}", pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>());
}
