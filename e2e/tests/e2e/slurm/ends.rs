//! What becomes of the jobs on an allocation when something is wrong there.

use serde_json::json;
use vk_cmd_crds::State;

use super::Stage;

#[tokio::test]
async fn a_full_disk_under_a_node_ends_no_job_and_loses_no_end() {
    // The nodes' TMPDIR and records are on a file system of 4 MiB, which goes with the allocation.
    let setup = "if [ -z \"${SMALL:-}\" ]; then\n  export SMALL=$PILOT_HOME/small-$PILOT_INDEX\n  mkdir -p \"$SMALL\"\n  \
                 exec unshare --mount /bin/sh \"$PILOT_HOME/node.sh\"\nfi\nmount -t tmpfs -o size=4m small \"$SMALL\"\n\
                 export TMPDIR=$SMALL VK_NODE_RECORDS=$SMALL/records\nmkdir \"$VK_NODE_RECORDS\"";
    let Some(stage) = Stage::new("slurm-full", &json!({"maxNodes": 1}), &json!({"node": {"setup": setup}})).await
    else {
        return;
    };
    let home = stage.gateway.home();
    // One stays while another fills all there is; then the first ends.
    let script = format!("echo begins\nuntil [ -e {0}/go ]; do sleep 0.2; done\necho ends", home.display());
    let stays = stage.room.job("stays", json!({"target": {"fleet": "slurm-full"}, "script": script})).await;
    stays.running().await;
    let fill = format!(
        "dd if=/dev/zero of=$SMALL/fill bs=64k 2>&1\necho $? >{0}/filled\ntouch {0}/go\nsleep 1\nrm $SMALL/fill",
        home.display()
    );
    let spec = json!({
        "target": {"fleet": "slurm-full"}, "script": fill,
        "env": [{"name": "SMALL", "value": format!("{}/.vk-cmd/pilots/slurm-full-0/small-0", home.display())}],
    });
    let fills = stage.room.job("fills", spec).await;
    assert_eq!(fills.ended().await.state, Some(State::Complete));
    assert_eq!(std::fs::read_to_string(home.join("filled")).unwrap().trim(), "1", "there was no room left");
    assert_eq!(stays.ended().await.state, Some(State::Complete));
    let after = stage.room.job("after", json!({"target": {"fleet": "slurm-full"}, "script": "true"})).await;
    assert_eq!(after.ended().await.state, Some(State::Complete));
    stage.close().await;
}
