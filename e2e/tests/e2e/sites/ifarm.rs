//! ifarm: an interactive farm node with Apptainer, whose containers have `$HOME`, the network and the environment of the
//! host. Charliecloud has the same properties; a stand-in with Apptainer's command line runs its ch-run.

use vk_cmd_e2e::runtimes::{self, IMAGE};
use vk_cmd_e2e::site::NodeIn;

use super::{by_hand, by_image, by_pod, calls, deleted, says_runtime, site};
use crate::ground::room;

#[tokio::test]
async fn ifarm() {
    let Some(runtimes) = runtimes::shared().await else { return };
    let room = room("ifarm").await;
    let node_in = NodeIn::HomeBound { root: runtimes.root_of_node() };
    let site = site(&room, runtimes, "vk-ifarm1801", node_in, "version: 1\nruntime: {kind: apptainer}\n").await;
    by_hand(&room, &site, &format!("apptainer exec {IMAGE} /bin/echo hello"), "hello\n").await;
    says_runtime(&room, &site, "apptainer").await;
    by_image(&room, &site, "by-image").await;
    // Apptainer makes what it is to mount over; what stands in for it here cannot.
    by_pod(&room, &site, "pod-by-image", false).await;
    deleted(&room, &site).await;
    let calls = calls(&site);
    // https://apptainer.org/docs/user/latest/cli/apptainer_exec.html
    let data = site.home().join("data");
    for call in [
        format!("[apptainer][exec][{IMAGE}][/bin/echo][hello]\n"),
        format!("[apptainer][exec][--pwd][/tmp][--bind][{}:/data]", data.display()),
        format!("[apptainer][exec][{IMAGE}][/bin/cat][/etc/vk-image]\n"),
    ] {
        assert!(calls.contains(&call), "{call} is not in\n{calls}");
    }
}
