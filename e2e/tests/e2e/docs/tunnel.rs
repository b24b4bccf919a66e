//! docs/how-to/tunnel.md: a node behind a real sshd, by itself and by hand.

use vk_cmd_e2e::control_plane::free_port;

use super::play::{Play, Scene, all_of};
use crate::tunnel::{GATEWAY, sshd};

const PAGE: &str = "docs/how-to/tunnel.md";
const NODE: &str = "vk-docs-tunnel";
/// An address of the ssh server's host at which the API server reaches it.
const FAR: &str = "127.7.0.77";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of(PAGE, "*")],
    words: &[("vk-ifarm1801", NODE), ("me@control-plane", "localhost"), ("172.17.0.1", FAR)],
    varies: &[],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let Some(sshd) = sshd(&[GATEWAY]).await else { return play.skip() };
    let plane = play.room.ground.plane;
    play.has_node_kubeconfig("node.kubeconfig", NODE);
    play.has_ssh(&sshd);
    play.section("#behind-a-firewall-the-tunnel").await;
    play.machine.stop().unwrap();

    let (here, kubelet) = (free_port().unwrap().to_string(), free_port().unwrap().to_string());
    let url = plane.server_url();
    let server = url.rsplit(':').next().unwrap();
    play.word("6443:127.0.0.1:6443", &format!("{here}:127.0.0.1:{server}"));
    play.word("10250", &kubelet);
    // Both ends are one machine here: the node must not listen where the far end does.
    let run = "vk-node run --node-name vk-ifarm1801 --kubeconfig node.kubeconfig";
    play.word(run, &run.replace("vk-ifarm1801", NODE).replace("run ", "run --listen-address 127.0.0.1 "));
    let kubeconfig = std::fs::read_to_string(plane.node_kubeconfig(NODE).unwrap()).unwrap();
    play.machine.has_file("node.kubeconfig", &kubeconfig.replace(&url, &format!("https://127.0.0.1:{here}"))).unwrap();
    play.section("#by-hand").await;
    let job = play.room.script("job", NODE, "echo by hand").await;
    job.ended().await;
    play.machine.must("kubectl logs -l vk-cmd.io/job=job").await.unwrap();
}
