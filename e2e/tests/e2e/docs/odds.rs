//! Pages with a command or two: who may use nodes, the FIFO, jobs that wait, limits.

use vk_cmd_e2e::wait::{self, Probe};

use super::play::{Play, Scene, all_of};
use crate::ground::{GLANCE, LONG};

const ADMISSION: &str = "docs/explanation/admission.md";
const FIFO: &str = "docs/reference/fifo.md";
const PENDING: &str = "docs/how-to/pending.md";
const MOVE: &str = "docs/how-to/from-hostpipe.md";
const LIMIT: &str = "docs/how-to/limit.md";
const NODE: &str = "vk-docs-odds";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of(ADMISSION, "*"), all_of(FIFO, "*"), all_of(PENDING, "*"), all_of(LIMIT, "*"), all_of(MOVE, "*")],
    words: &[("-n lab ", "-n docs-odds ")],
    varies: &[],
    codes: &[],
};

/// Waits until a file has this text.
async fn says(path: &std::path::Path, text: &str) {
    let what = format!("{} to have {text:?}", path.display());
    let reached = wait::until(&what, LONG, GLANCE, async || {
        let seen = std::fs::read_to_string(path).unwrap_or_default();
        Ok(if seen == text { Probe::Ready(()) } else { Probe::not_yet(seen) })
    });
    reached.await.unwrap();
}

pub(super) async fn play(play: &mut Play) {
    play.section("#what-is-asked-for").await;

    // What is run in the image says for whom. In the page's first line for nobody, in its second for a pod's task.
    play.machine.has_script("apptainer", "#!/bin/sh\necho \"$* for $VK_CMD_NAMESPACE\" | tee -a $HOME/told\n").unwrap();
    play.has_node_kubeconfig("node.kubeconfig", NODE);
    let log = play.machine.start(&format!("vk-node run --node-name {NODE} --kubeconfig node.kubeconfig")).unwrap();
    let fifo = play.machine.hostpipe().join("vk-cmd");
    let there = wait::until("the FIFO", LONG, GLANCE, async || {
        play.machine.must_be_running()?;
        Ok(if fifo.exists() { Probe::Ready(()) } else { Probe::not_yet(std::fs::read_to_string(&log)?) })
    });
    there.await.unwrap();
    play.section("#the-fifo").await;
    says(&play.machine.home().join("out.txt"), "exec image.sif program for \n").await;
    std::fs::remove_file(play.machine.home().join("told")).unwrap();

    let job = play.room.script("task", NODE, "echo $VK_CMD_TASK > $HOME/task; exec sleep 600").await;
    job.running().await;
    let task = play.machine.home().join("task");
    let id = wait::until("the task's id", LONG, GLANCE, async || {
        let id = std::fs::read_to_string(&task).unwrap_or_default().trim().to_owned();
        Ok(if id.is_empty() { Probe::not_yet("it is not there") } else { Probe::Ready(id) })
    });
    play.machine.exports("VK_CMD_TASK", &id.await.unwrap()).unwrap();
    play.word("NAME", "task");
    let pod = job.pods().await.remove(0).metadata.name.unwrap();
    play.word("POD", &pod);
    play.section("#a-job-waits-why").await;
    play.section("#it-is-pending-the-pod-is-made-and-its-process-has-not-started").await;
    play.section("#lines-of-a-pod").await;
    says(&play.machine.home().join("told"), "exec image.sif program for docs-odds\n").await;

    play.on_another_machine().await;
    play.has_node_kubeconfig("node.kubeconfig", NODE);
    let init = format!("vk-node init --profile workstation --node-name {NODE} --kubeconfig node.kubeconfig");
    play.machine.must(&init).await.unwrap();
    play.section("#at-the-site").await;
    play.section("#what-to-do-at-the-site").await;
    let fifo = play.machine.hostpipe().join("vk-cmd");
    let there = wait::until("the FIFO of the pipe", LONG, GLANCE, async || {
        Ok(if fifo.exists() { Probe::Ready(()) } else { Probe::not_yet("it is not there") })
    });
    there.await.unwrap();
}
