//! docs/how-to/slurm.md, by a real Slurm, and docs/how-to/pbs.md, by what stands for a PBS.

use vk_cmd_e2e::slurm;

use super::play::{Play, Scene, all_of};

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of("docs/how-to/slurm.md", "*"), all_of("docs/how-to/pbs.md", "*")],
    words: &[],
    varies: &[],
    codes: &[],
};

pub(super) async fn play(play: &mut Play) {
    let Some(slurm) = slurm::shared().await else { return play.skip() };
    play.has_slurm(slurm);
    play.word("vk-cluster", "vk-docs-slurm");
    play.has_bootstrap_kubeconfig("bootstrap.kubeconfig", "dslurm").await;
    play.section("#any-slurm").await;
    play.ready("vk-docs-slurm-").await;
    play.machine.must("for job in $(squeue -h -n vk-node -o '%A %Z' | grep \" $HOME\" | cut -d ' ' -f 1); do scancel $job; done").await.unwrap();

    play.on_another_machine().await;
    play.word("vk-cluster", "vk-docs-pbs");
    play.has_qsub();
    play.has_bootstrap_kubeconfig("bootstrap.kubeconfig", "dobpbs").await;
    play.section("#any-pbs").await;
    play.ready("vk-docs-pbs-4711").await;
}
