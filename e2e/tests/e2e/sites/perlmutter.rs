//! Perlmutter: a batch machine with Shifter, whose containers have `$HOME`, the network and the environment of the host.
//! A stand-in with Shifter's command line runs Charliecloud's ch-run.

use vk_cmd_e2e::runtimes;
use vk_cmd_e2e::site::NodeIn;

use super::{GREETING, by_hand, by_image, by_pod, calls, deleted, says_runtime, site};
use crate::ground::room;

#[tokio::test]
async fn perlmutter() {
    let Some(runtimes) = runtimes::shared().await else { return };
    let room = room("perlmutter").await;
    let node_in = NodeIn::HomeBound { root: runtimes.root_of_node() };
    let site = site(&room, runtimes, "vk-perlmutter", node_in, "version: 1\nruntime: {kind: shifter}\n").await;
    let line = "shifter --image=docker:localhost/vk-cmd/tools:1 --entrypoint";
    by_hand(&room, &site, line, "entry point of tools\n").await;
    says_runtime(&room, &site, "shifter").await;
    by_image(&room, &site, "by-image").await;
    by_pod(&room, &site, "pod-by-image", true).await;
    deleted(&room, &site).await;
    let calls = calls(&site);
    // https://docs.nersc.gov/development/containers/shifter/how-to-use/
    let (image, data) = ("[shifter][--image=docker:localhost/vk-cmd/tools:1]", site.home().join("data"));
    for call in [
        format!("{image}[--entrypoint]\n"),
        format!("{image}[--workdir=/tmp][--volume={}:/data][--env=GREETING={GREETING}]", data.display()),
        format!("{image}[--env=KUBERNETES_PORT=tcp://"),
        "[--env=VK_CMD_CONTAINER=main][--env=VK_CMD_NAMESPACE=perlmutter]".to_owned(),
        "][/bin/cat][/etc/vk-image]\n".to_owned(),
    ] {
        assert!(calls.contains(&call), "{call} is not in\n{calls}");
    }
}
