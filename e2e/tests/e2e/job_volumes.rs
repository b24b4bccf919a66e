//! The volumes of a CmdJob that runs on the host itself.

use serde_json::{Value, json};
use vk_cmd_crds::State;

use crate::ground::{Room, room};

/// What a CmdJob prints that must succeed.
async fn output_of(room: &Room, name: &str, node: &str, spec: Value) -> String {
    let ended = room.run(name, node, spec).await.ended().await;
    let output = room.says(&["logs", &ended.attempt().pod]).await;
    assert_eq!(ended.state, Some(State::Complete), "{output}\n{ended:?}");
    output
}

/// At relative paths by links, at absolute ones in a mount namespace of its own.
#[tokio::test]
async fn a_command_on_the_host_is_given_volumes_of_every_kind() {
    const NODE: &str = "vk-job-volumes";
    let room = room("job-volumes").await;
    let site = room.site(NODE).await;
    room.says(&["create", "configmap", "map", "--from-literal=one=1", "--from-literal=two=2"]).await;
    room.says(&["create", "secret", "generic", "key", "--from-literal=token=s3cr3t"]).await;
    let data = site.home().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("file"), "on the host").unwrap();
    let volumes = json!([
        {"name": "map", "configMap": {"name": "map", "items": [{"key": "two", "path": "deep/er", "mode": 0o600}]}},
        {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
        {"name": "self", "downwardAPI": {"items": [
            {"path": "index", "fieldRef": {"fieldPath": "metadata.labels['vk-cmd.io/index']"}},
            {"path": "memory", "resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}},
        ]}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "map"}}, {"secret": {"name": "key"}}]}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "data", "hostPath": {"path": data, "type": "Directory"}},
    ]);
    let mounts = |at: &str| {
        json!([
            {"name": "map", "mountPath": format!("{at}map")},
            {"name": "key", "mountPath": format!("{at}key")},
            {"name": "self", "mountPath": format!("{at}self")},
            {"name": "all", "mountPath": format!("{at}all")},
            {"name": "scratch", "mountPath": format!("{at}scratch"), "subPath": "mine"},
            {"name": "data", "mountPath": format!("{at}data")},
        ])
    };
    let script = |at: &str| {
        format!(
            "set -eu; cat {at}map/deep/er; stat -L -c ' %a' {at}map/deep/er; cat {at}key/token; echo; \
             cat {at}self/index {at}self/memory; echo; cat {at}all/one {at}all/token; echo; \
             echo x > {at}scratch/new; cat {at}data/file"
        )
    };
    let expected = "2 600\ns3cr3t\n064\n1s3cr3t\non the host";
    let spec = |at: &str| {
        json!({
            "script": script(at), "volumes": volumes, "volumeMounts": mounts(at),
            "resources": {"limits": {"memory": "64Mi"}},
        })
    };
    assert_eq!(output_of(&room, "relative", NODE, spec("given/")).await, expected);
    assert_eq!(output_of(&room, "absolute", NODE, spec("/mnt/job-volumes/")).await, expected);
}
