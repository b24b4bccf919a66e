//! Termination messages: what a container has left for them, or the end of its output.

use std::collections::BTreeMap;

use serde_json::json;

use crate::ground::room;
use crate::plain_pods::{phase, placed};

#[tokio::test]
async fn a_container_has_the_last_word() {
    let room = room("last-words").await;
    let _site = room.site("vk-last-words").await;
    let container = |name: &str, policy: &str, script: &str| {
        json!({
            "name": name, "image": "vk-cmd.io/host", "command": ["sh", "-c", script],
            "terminationMessagePolicy": policy,
        })
    };
    let mut spec = placed("vk-last-words");
    let mut named = container("named", "File", "echo by path > my/words");
    named["terminationMessagePath"] = json!("my/words");
    spec["restartPolicy"] = json!("Never");
    spec["containers"] = json!([
        container("told", "File", "echo output; printf 'why it failed' > $VK_CMD_TERMINATION_LOG; exit 3"),
        container("logged", "FallbackToLogsOnError", "echo the end of the output >&2; exit 1"),
        container("fine", "FallbackToLogsOnError", "echo output"),
        named,
    ]);
    room.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "words"}, "spec": spec})).await;
    let pod = room.pod("words", "to fail", |pod| phase(pod) == "Failed").await;
    let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
    let words: BTreeMap<String, Option<String>> = statuses
        .into_iter()
        .map(|status| (status.name, status.state.and_then(|state| state.terminated).and_then(|end| end.message)))
        .collect();
    let said = |name: &str| words[name].as_deref();
    assert_eq!(said("told"), Some("why it failed"));
    assert_eq!(said("logged"), Some("the end of the output\n"));
    assert_eq!(said("fine"), None);
    assert_eq!(said("named"), Some("by path\n"));
}
