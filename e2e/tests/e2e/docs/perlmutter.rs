//! docs/how-to/perlmutter.md: in a real Slurm, behind a real sshd, and in Shifter, for which Charliecloud stands; with a job in
//! an image, docs/how-to/images.md.

use vk_cmd_e2e::{runtimes, slurm};

use super::play::{Play, Scene, all_of};
use crate::tunnel::{GATEWAY, sshd};

const PAGE: &str = "docs/how-to/perlmutter.md";
const IMAGES: &str = "docs/how-to/images.md";
const NODE: &str = "vk-docs-nersc-01";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of(PAGE, "*"), all_of(IMAGES, "*")],
    words: &[
        ("--node-name vk-perlmutter ", "--node-name vk-docs-nersc "),
        ("vk-perlmutter-01", NODE),
        ("YOUR-ACCOUNT", "m1234"),
        ("me@control-plane", "localhost"),
        // The image of the tests, and what is in it.
        ("docker://registry.example.org/me/tools:1", runtimes::IMAGE),
        ("tool --version", "cat /etc/vk-image"),
    ],
    varies: &[],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let (Some(sshd), Some(runtimes), Some(slurm)) =
        (sshd(&[GATEWAY]).await, runtimes::shared().await, slurm::shared().await)
    else {
        return play.skip();
    };
    play.has_slurm(slurm);
    play.has_bootstrap_kubeconfig("bootstrap.kubeconfig", "dnersc").await;
    play.section("#a-node-for-the-time-of-a-job").await;
    play.ready("vk-docs-nersc-").await;
    play.machine.must("scancel --name vk-node --account m1234").await.unwrap();

    play.on_another_machine().await;
    play.node = NODE.to_owned();
    play.has_node_kubeconfig("node.kubeconfig", NODE);
    play.has_runtimes(runtimes);
    play.has_ssh(&sshd);
    play.section("#a-node-on-a-login-node").await;

    play.for_container(runtimes, NODE, PAGE, "{kind: shifter}").await;
    play.section("#the-node-in-shifter").await;
    // The user is another one than the node.
    play.machine.must("unset KUBECONFIG").await.unwrap();
    play.section("#run-a-job-in-an-image").await;
    play.word("/scratch/me", &play.machine.home().join("data").display().to_string());
    play.machine.has_file("data/in", "from the host\n").unwrap();
    play.file("moo.yaml", IMAGES, "kind: CmdJob");
    // The image of the tests has no hostname.
    play.machine.must("sed -i 's/hostname/cat \\/etc\\/vk-image/' moo.yaml && kubectl apply -f moo.yaml").await.unwrap();
    let ended = play.room.created("moo").ended().await;
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
}
