use k8s_openapi::serde_json::{Value, from_value, json};

use vk_task::{Gpus, HostPathType, Image, MountNamespaces, Stdin, VolumeSource};

use super::*;

fn pod(spec: Value) -> Pod {
    from_value(json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec})).unwrap()
}

fn admitted(spec: Value) -> AdmittedPod {
    admit(&pod(spec), &NodeFacts::default()).unwrap()
}

fn messages(spec: Value) -> Vec<String> {
    match admit(&pod(spec), &NodeFacts::default()) {
        Ok(_) => vec![],
        Err(refusal) => refusal.0.iter().map(|p| p.field.clone()).collect(),
    }
}

#[test]
fn a_plain_pod_with_the_defaults_of_an_api_server_is_admitted() {
    let spec = json!({
        "automountServiceAccountToken": true, "dnsPolicy": "ClusterFirst", "enableServiceLinks": true,
        "nodeName": "vk-a", "priority": 0, "restartPolicy": "Always", "schedulerName": "default-scheduler",
        "securityContext": {}, "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
        "containers": [{
            "name": "c", "image": "vk-cmd.io/host", "command": ["true"], "imagePullPolicy": "Always", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": [{"name": "kube-api-access-x", "readOnly": true,
                              "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        }],
        "volumes": [{"name": "kube-api-access-x", "projected": {"sources": []}}],
    });
    let admitted = admitted(spec);
    assert_eq!(admitted.containers[0].restarts, Restarts { policy: RestartPolicy::Always, rules: vec![] });
    assert_eq!(admitted.containers[0].program, ProgramTemplate::Exec(vec!["true".into()]));
}

#[test]
fn every_field_that_cannot_be_honoured_is_named_at_once() {
    let fields = messages(json!({
        "initContainers": [{"name": "i", "image": "x"}],
        "resources": {"limits": {"cpu": "1"}},
        "volumes": [{"name": "v", "nfs": {"server": "a", "path": "/b"}}, {"name": "t", "hostPath": {"path": "/t", "type": "Dir"}},
                    {"name": "e", "emptyDir": {"sizeLimit": "-1", "medium": "HugePages"}}],
        "securityContext": {"runAsUser": 5},
        "containers": [{
            "name": "c", "image": "vk-cmd.io/host", "livenessProbe": {},
            "resources": {"limits": {"cpu": "x", "memory": "-1", "nvidia.com/gpu": "1", "ephemeral-storage": "x"}},
            "volumeMounts": [{"name": "e", "mountPath": "/t"}],
        }],
    }));
    assert_eq!(
        fields,
        [
            "spec.resources.limits",
            "spec.volumes[v]",
            "spec.volumes[t].hostPath",
            "spec.volumes[e].emptyDir",
            "spec.volumes[e].emptyDir",
            "spec.initContainers[0].securityContext.runAsUser",
            "spec.initContainers[0].command",
            "spec.containers[0].livenessProbe",
            "spec.containers[0].securityContext.runAsUser",
            "spec.containers[0].resources.limits[cpu]",
            "spec.containers[0].resources.limits[ephemeral-storage]",
            "spec.containers[0].resources.limits[memory]",
            "spec.containers[0].resources.limits[nvidia.com/gpu]",
            "spec.containers[0].volumeMounts[e]",
            "spec.containers[0].command",
        ]
    );
}

#[test]
fn a_container_is_limited_and_has_the_streams_that_it_asks_for() {
    let with = |container: Value| {
        let mut container = container;
        container["name"] = json!("c");
        container["image"] = json!("vk-cmd.io/host:1");
        container["command"] = json!(["true"]);
        admitted(json!({"containers": [container]})).containers.remove(0)
    };
    let limited = with(json!({"resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "1"}}}));
    assert_eq!(limited.place, Place::Host);
    assert_eq!((limited.limits.cpu_millis, limited.limits.memory_bytes), (Some(1500), Some(1 << 30)));
    let unlimited = with(json!({"resources": {"limits": {"cpu": "0", "memory": "0", "example.com/licence": "2"}}}));
    assert_eq!(unlimited.limits, Limits::default());
    for (fields, stdin, terminal) in [
        (json!({}), Stdin::Null, false),
        (json!({"stdin": true}), Stdin::Open, false),
        (json!({"stdin": true, "stdinOnce": true, "tty": true}), Stdin::Once, true),
        (json!({"stdinOnce": true}), Stdin::Null, false),
    ] {
        assert_eq!(with(fields.clone()).stdio, Stdio { stdin, terminal }, "{fields}");
    }
}

#[test]
fn an_image_is_run_with_the_hosts_paths_and_gpus_that_it_asks_for() {
    let admitted = admitted(json!({
        "volumes": [{"name": "data", "hostPath": {"path": "/data/run 1", "type": ""}},
                    {"name": "spare", "hostPath": {"path": "/spare"}}],
        "containers": [{
            "name": "c", "image": "docker://godlovedc/lolcow", "command": ["cowsay"],
            "resources": {"limits": {"nvidia.com/gpu": "2"}},
            "volumeMounts": [{"name": "data", "mountPath": "/in", "readOnly": true}, {"name": "data", "mountPath": "/out"}],
        }],
    }));
    let container = &admitted.containers[0];
    let image = Image { reference: "docker://godlovedc/lolcow".into(), mounts: vec![], gpus: Gpus::Nvidia(2) };
    assert_eq!(container.place, Place::Image(image));
    let source = VolumeSource::Host { path: "/data/run 1".into(), expects: HostPathType::Unchecked };
    let mount = |target: &str, read_only| AdmittedMount {
        source: source.clone(),
        part: Part::Whole,
        target: target.into(),
        read_only,
    };
    assert_eq!(container.mounts, [mount("/in", true), mount("/out", false)]);
}

#[test]
fn what_no_runtime_is_told_of_is_refused() {
    for (mount, word) in [
        (json!({"mountPath": "/a", "subPath": "x/../y"}), "no path within a volume"),
        (json!({"mountPath": "/a", "subPath": "/x"}), "no path within a volume"),
        (json!({"mountPath": "/"}), "nothing can be mounted"),
        (json!({"mountPath": "/a/../b"}), "\"..\""),
        (json!({"mountPath": "/a", "mountPropagation": "Bidirectional"}), "mountPropagation"),
        (json!({"mountPath": "/a", "readOnly": true, "recursiveReadOnly": "Enabled"}), "recursiveReadOnly"),
    ] {
        let mut mount = mount;
        mount["name"] = json!("v");
        let spec = json!({
            "volumes": [{"name": "v", "hostPath": {"path": "/v"}}],
            "containers": [{"name": "c", "image": "busybox", "command": ["true"], "volumeMounts": [mount]}],
        });
        let refusal = admit(&pod(spec), &NodeFacts::default()).unwrap_err();
        assert_eq!(refusal.0.len(), 1, "{refusal}");
        assert!(refusal.to_string().contains(word), "{refusal}");
    }
    let both = json!({"limits": {"nvidia.com/gpu": "1", "amd.com/gpu": "1"}});
    let spec = json!({"containers": [{"name": "c", "image": "busybox", "command": ["true"], "resources": both}]});
    assert_eq!(messages(spec), ["spec.containers[0].resources.limits"]);
    let plain = json!({"containers": [{"name": "c", "image": "busybox"}]});
    assert_eq!(messages(plain), ["spec.containers[0].command"]);
}

#[test]
fn the_operators_annotation_turns_the_last_argument_into_a_script() {
    let with = |kind: &str, command: Value| {
        let mut pod = pod(json!({"containers": [{"name": "c", "image": "vk-cmd.io/host", "command": command}]}));
        pod.metadata.annotations = Some([(labels::SCRIPT.to_owned(), kind.to_owned())].into());
        admit(&pod, &NodeFacts::default()).map(|p| p.containers[0].program.clone())
    };
    let argv = json!(["/bin/bash", "-c", "echo hi"]);
    let script = |runner| Ok(ProgramTemplate::Script { text: "echo hi".into(), runner });
    assert_eq!(with("shell", argv.clone()), script(ScriptRunner::Shell { path: "/bin/bash".into() }));
    assert_eq!(with("shebang", argv.clone()), script(ScriptRunner::Shebang));
    assert!(with("other", argv).is_err());
    assert!(with("shell", json!(["/bin/bash"])).is_err());
}

#[test]
fn an_image_of_the_map_is_a_command_of_the_host() {
    let rules = json!([{"match": "busybox:*", "command": ["/opt/busybox"], "args": ["sh"], "env": {"A": "1"}, "workingDir": "~/b"},
                       {"match": "empty:*"}]);
    let node = NodeFacts { images: crate::images::ImageMap::new(from_value(rules).unwrap()), ..NodeFacts::default() };
    let with = |image: &str, fields: Value| {
        let mut container = fields;
        container["name"] = json!("c");
        container["image"] = json!(image);
        admit(&pod(json!({"containers": [container]})), &node).map(|mut pod| pod.containers.remove(0))
    };
    let argv = |container: AdmittedContainer| match container.program {
        ProgramTemplate::Exec(argv) => argv.join(" "),
        ProgramTemplate::Script { text, .. } => text,
    };
    for (fields, expected) in [
        (json!({}), "/opt/busybox sh"),
        (json!({"args": ["ls", "-l"]}), "/opt/busybox ls -l"),
        (json!({"command": ["mine"]}), "mine"),
        (json!({"command": ["mine"], "args": ["a"]}), "mine a"),
    ] {
        let container = with("busybox:1", fields.clone()).unwrap();
        assert_eq!(container.place, Place::Host);
        assert_eq!(container.working_dir, Some("~/b".into()));
        assert_eq!(container.image_env.values().collect::<Vec<_>>(), ["1"]);
        assert_eq!(argv(container), expected, "{fields}");
    }
    assert_eq!(with("busybox:1", json!({"workingDir": "/w"})).unwrap().working_dir, Some("/w".into()));
    for (image, why) in [("empty:1", "image map one"), ("other:1", "knows no entry point")] {
        assert!(with(image, json!({})).unwrap_err().to_string().contains(why));
    }
}

/// Where the mounts of a container on the host go, on a node that has namespaces or has none, or why not.
fn targets(namespaces: MountNamespaces, volume: Value, mounts: Value) -> Result<Vec<String>, String> {
    let node = NodeFacts { mount_namespaces: namespaces, ..NodeFacts::default() };
    let spec = json!({
        "volumes": [volume],
        "containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["true"], "volumeMounts": mounts}],
    });
    let admitted = admit(&pod(spec), &node).map_err(|refusal| refusal.to_string())?;
    let line =
        |mount: &AdmittedMount| format!("{} {}", mount.target.display(), if mount.read_only { "ro" } else { "rw" });
    Ok(admitted.containers[0].mounts.iter().map(line).collect())
}

#[test]
fn absolute_mounts_on_the_host_take_a_namespace() {
    let available = || MountNamespaces::Available;
    let unavailable = || MountNamespaces::Unavailable { why: "user.max_user_namespaces is 0".into() };
    let empty = json!({"name": "v", "emptyDir": {}});
    let at = |path: &str| json!([{"name": "v", "mountPath": path}]);
    assert_eq!(targets(available(), empty.clone(), at("/data")).unwrap(), ["/data rw"]);
    assert_eq!(targets(unavailable(), empty.clone(), at("./data/")).unwrap(), ["data rw"]);
    let told = targets(unavailable(), empty.clone(), at("/data")).unwrap_err();
    assert!(told.contains("user.max_user_namespaces is 0") && told.contains("\"data\""), "{told}");
    assert!(targets(MountNamespaces::Unknown, empty.clone(), at("/data")).unwrap_err().contains("earlier version"));
    let read_only = json!([{"name": "v", "mountPath": "d", "readOnly": true}]);
    assert!(targets(available(), empty, read_only).unwrap_err().contains("a link"));
    let secret = json!({"name": "v", "secret": {"secretName": "s"}});
    assert_eq!(targets(unavailable(), secret, at("d")).unwrap(), ["d ro"]);
}

#[test]
fn what_a_host_process_sees_anyway_takes_no_namespace() {
    let host = json!({"name": "v", "hostPath": {"path": "/data/"}});
    let both = json!([{"name": "v", "mountPath": "/data"}, {"name": "v", "mountPath": "d"}]);
    let elsewhere = json!([{"name": "v", "mountPath": "/data"}, {"name": "v", "mountPath": "/in", "readOnly": true}]);
    for namespaces in [MountNamespaces::Available, MountNamespaces::Unknown] {
        assert_eq!(targets(namespaces, host.clone(), both.clone()).unwrap(), ["d rw"]);
    }
    assert_eq!(targets(MountNamespaces::Available, host.clone(), elsewhere.clone()).unwrap(), ["/data rw", "/in ro"]);
    assert!(targets(MountNamespaces::Unknown, host, elsewhere).is_err());
    let checked = json!({"name": "v", "hostPath": {"path": "/data", "type": "Directory"}});
    assert!(targets(MountNamespaces::Unknown, checked, json!([{"name": "v", "mountPath": "/data"}])).is_err());
}

#[test]
fn the_service_accounts_volume_is_found_by_a_relative_path_where_there_is_no_other() {
    let volume =
        json!({"name": "kube-api-access-x7", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let path = "/var/run/secrets/kubernetes.io/serviceaccount";
    let mounts = json!([{"name": "kube-api-access-x7", "mountPath": path, "readOnly": true}]);
    assert_eq!(targets(MountNamespaces::Available, volume.clone(), mounts.clone()).unwrap(), [format!("{path} ro")]);
    assert_eq!(
        targets(MountNamespaces::Unknown, volume.clone(), mounts.clone()).unwrap(),
        [format!("{} ro", &path[1..])]
    );
    let container = json!({"name": "c", "image": "busybox", "command": ["true"], "volumeMounts": mounts});
    let object = pod(json!({"volumes": [volume], "containers": [container]}));
    for (runtime, mounts) in
        [(None, 1), (Some("podman"), 1), (Some("apptainer"), 1), (Some("shifter"), 0), (Some("charliecloud"), 0)]
    {
        let node = NodeFacts { image_runtime: runtime.map(str::to_owned), ..NodeFacts::default() };
        let admitted = admit(&object, &node).unwrap();
        assert_eq!((admitted.containers[0].mounts.len(), admitted.volumes.len()), (mounts, mounts), "{runtime:?}");
    }
}

#[test]
fn a_volume_that_cannot_be_had_is_named_with_its_kind() {
    for (volume, word) in [
        (json!({"persistentVolumeClaim": {"claimName": "c"}}), "of the kind persistentVolumeClaim"),
        (json!({"csi": {"driver": "d"}}), "of the kind csi"),
        (json!({"ephemeral": {}}), "of the kind ephemeral"),
        (json!({"image": {"reference": "r"}}), "of the kind image"),
        (json!({}), "without a source"),
        (json!({"projected": {"sources": [{"clusterTrustBundle": {"path": "p", "name": "n"}}]}}), "clusterTrustBundle"),
        (json!({"configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}), "no path within a volume"),
    ] {
        let mut volume = volume;
        volume["name"] = json!("v");
        let told = targets(MountNamespaces::Available, volume, json!([{"name": "v", "mountPath": "/v"}])).unwrap_err();
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_host_name_has_no_meaning_where_nobody_can_count_on_it() {
    let of_index = json!({
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "sum", "uid": "j", "controller": true}],
        "annotations": {"batch.kubernetes.io/job-completion-index": "3"},
    });
    for (meta, host_network, hostname, expected) in [
        (json!({}), false, "other", false),
        (json!({}), true, "other", true),
        (of_index.clone(), false, "sum-3", true),
        (of_index, false, "other", false),
    ] {
        let containers = json!([{"name": "c", "image": "vk-cmd.io/host", "command": ["true"]}]);
        let spec = json!({"hostname": hostname, "hostNetwork": host_network, "containers": containers});
        let pod: Pod = from_value(json!({"metadata": meta, "spec": spec})).unwrap();
        assert_eq!(admit(&pod, &NodeFacts::default()).is_ok(), expected, "{pod:?}");
    }
}
