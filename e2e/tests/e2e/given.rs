//! What a process is given is what the user wrote: script, arguments, variables, directory.

use serde_json::json;

use crate::ground::room;

#[tokio::test]
async fn a_script_runs_unchanged() {
    let room = room("script").await;
    let site = room.site("vk-script").await;
    // The script copies itself: what arrived is compared with what was sent.
    let copy = site.home().join("copy");
    let mut script = format!("cat \"$0\" > {}\nexit 0\n", copy.display());
    script.push_str("'\"`$(A) $$ $$$$ ${B} \\ \t ü€😀\r\n$(rm -rf /)\n");
    while script.len() < 200 << 10 {
        script.push_str("# '\" $$ $(A) ü and so on\n");
    }
    let job = room.run("long", "vk-script", json!({"script": script, "env": [{"name": "A", "value": "no"}]})).await;
    let ended = job.ended().await;
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
    assert!(std::fs::read_to_string(copy).unwrap() == script, "the script was changed on its way");
}

#[tokio::test]
async fn a_shebang_decides_what_runs_a_script() {
    let room = room("shebang").await;
    let _site = room.site("vk-shebang").await;
    let bash = room.script("bash", "vk-shebang", "#!/bin/bash\necho \"${BASH_VERSION:+bash} $0\"").await;
    let awk = room.script("awk", "vk-shebang", "#!/usr/bin/awk -f\nBEGIN { print 6 * 7 }").await;
    let shell =
        room.run("shell", "vk-shebang", json!({"script": "echo ${BASH_VERSION:+bash}", "shell": "/bin/bash"})).await;
    for (job, expected) in [(bash, "bash /"), (awk, "42\n"), (shell, "bash\n")] {
        let ended = job.ended().await;
        assert_eq!(ended.exit_code, Some(0), "{ended:?}");
        let logs = room.says(&["logs", &ended.attempt().pod]).await;
        assert!(logs.starts_with(expected), "{}: {logs:?}", job.name);
    }
}

#[tokio::test]
async fn variables_arguments_and_directory_arrive_unchanged() {
    let room = room("given").await;
    let site = room.site("vk-given").await;
    room.says(&["create", "configmap", "settings", "--from-literal=colour=blue", "--from-literal=SIZE=7"]).await;
    room.says(&["create", "secret", "generic", "key", "--from-literal=token=s3cr3t\n'\""]).await;
    let value = "two\nlines with 'single' and \"double\" quotes, $HOME, `x`, ü\n";
    let spec = json!({
        "command": ["/usr/bin/env", "-0"],
        "env": [
            {"name": "PLAIN", "value": value},
            {"name": "USES", "value": "<$(PLAIN)> $$(PLAIN)"},
            {"name": "odd.name-1", "value": "odd"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "settings"}}],
    });
    let job = room.run("env", "vk-given", spec).await;
    let ended = job.ended().await;
    let logs = room.says(&["logs", &ended.attempt().pod]).await;
    let entries: Vec<&str> = logs.split('\0').collect();
    let expected = [
        format!("PLAIN={value}"),
        format!("USES=<{value}> $(PLAIN)"),
        "odd.name-1=odd".to_owned(),
        "TOKEN=s3cr3t\n'\"".to_owned(),
        "NODE=vk-given".to_owned(),
        "CM_colour=blue".to_owned(),
        "CM_SIZE=7".to_owned(),
        format!("HOME={}", site.home().display()),
    ];
    for entry in expected {
        assert!(entries.contains(&entry.as_str()), "{entry:?} is not in {entries:?}");
    }
    let directory = site.home().join("a b");
    std::fs::create_dir(&directory).unwrap();
    let spec = json!({
        "command": ["/bin/sh"], "args": ["-c", "pwd; printf '%s|' \"$@\"", "sh", "a b", "", "*", "$(X)", "'\""],
        "workingDir": directory,
    });
    let ended = room.run("args", "vk-given", spec).await.ended().await;
    let logs = room.says(&["logs", &ended.attempt().pod]).await;
    assert_eq!(logs, format!("{}\na b||*|$(X)|'\"|", directory.display()));
    let missing = json!({"script": "true", "workingDir": "/no/such/directory"});
    let ended = room.run("no-dir", "vk-given", missing).await.ended().await;
    assert_eq!(ended.attempt().reason.as_deref(), Some("WorkingDirectoryError"), "{ended:?}");
}

#[tokio::test]
async fn a_missing_source_is_waited_for_and_named() {
    let room = room("missing-source").await;
    let _site = room.site("vk-missing-source").await;
    let spec = json!({"script": "echo $colour", "envFrom": [{"configMapRef": {"name": "later"}}]});
    let job = room.run("waits", "vk-missing-source", spec).await;
    let pod = "{.items[0].status.containerStatuses[0].state.waiting}";
    let seen = vk_cmd_e2e::wait::until(
        "the pod to say what is missing",
        crate::ground::LONG,
        crate::ground::GLANCE,
        async || {
            let said = room.says(&["get", "pods", "-o", &format!("jsonpath={pod}")]).await;
            let is_told = said.contains("CreateContainerConfigError") && said.contains("later");
            Ok(if is_told { vk_cmd_e2e::wait::Probe::Ready(said) } else { vk_cmd_e2e::wait::Probe::not_yet(said) })
        },
    );
    seen.await.unwrap();
    room.says(&["create", "configmap", "later", "--from-literal=colour=blue"]).await;
    let ended = job.ended().await;
    assert_eq!(room.says(&["logs", &ended.attempt().pod]).await, "blue\n");
}
