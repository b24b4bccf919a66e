use k8s_openapi::serde_json::{Value, from_value, json};

use super::*;

fn pod(spec: Value) -> Pod {
    from_value(json!({"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": spec})).unwrap()
}

fn messages(spec: Value) -> Vec<String> {
    match admit(&pod(spec)) {
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
    let admitted = admit(&pod(spec)).unwrap();
    assert_eq!(admitted.restart_policy, RestartPolicy::Always);
    assert_eq!(admitted.containers[0].program, ProgramTemplate::Exec(vec!["true".into()]));
}

#[test]
fn every_field_that_cannot_be_honoured_is_named_at_once() {
    let fields = messages(json!({
        "initContainers": [{"name": "i", "image": "x"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
        "securityContext": {"runAsUser": 5},
        "containers": [{
            "name": "c", "image": "busybox", "livenessProbe": {}, "tty": true,
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
        }],
    }));
    assert_eq!(
        fields,
        [
            "spec.initContainers",
            "spec.securityContext",
            "spec.volumes",
            "spec.containers[0].image",
            "spec.containers[0].livenessProbe",
            "spec.containers[0].resources.limits",
            "spec.containers[0].tty",
            "spec.containers[0].command",
        ]
    );
}

#[test]
fn the_operators_annotation_turns_the_last_argument_into_a_script() {
    let with = |kind: &str, command: Value| {
        let mut pod = pod(json!({"containers": [{"name": "c", "image": "vk-cmd.io/host", "command": command}]}));
        pod.metadata.annotations = Some([(labels::SCRIPT.to_owned(), kind.to_owned())].into());
        admit(&pod).map(|p| p.containers[0].program.clone())
    };
    let argv = json!(["/bin/bash", "-c", "echo hi"]);
    let script = |runner| Ok(ProgramTemplate::Script { text: "echo hi".into(), runner });
    assert_eq!(with("shell", argv.clone()), script(ScriptRunner::Shell { path: "/bin/bash".into() }));
    assert_eq!(with("shebang", argv.clone()), script(ScriptRunner::Shebang));
    assert!(with("other", argv).is_err());
    assert!(with("shell", json!(["/bin/bash"])).is_err());
}
