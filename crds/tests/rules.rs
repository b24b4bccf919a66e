//! The CEL rules of CmdJob, evaluated in memory. That the real API server takes them, and says the same, is shown in e2e.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so that it failed")]

use kube::core::cel::Validator;
use serde_json::Value;
use vk_cmd_crds::crd;

fn object(spec: &str) -> Value {
    serde_yaml_ng::from_str(&format!(
        "{{apiVersion: vk-cmd.io/v1alpha1, kind: CmdJob, metadata: {{name: hello}}, spec: {{backoffLimit: 0, \
         terminationGracePeriodSeconds: 30, {spec}}}}}"
    ))
    .unwrap()
}

/// What the rules say about an object, or about a change to it.
fn complaints(spec: &str, old: Option<&str>) -> String {
    let mut crd = serde_json::to_value(crd::cmdjob().unwrap()).unwrap();
    let schema = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").unwrap().take();
    let old = old.map(object);
    Validator::new().validate(&schema, &object(spec), old.as_ref()).err().map(|e| e.to_string()).unwrap_or_default()
}

const GOOD: &str = "target: {node: vk-a}, script: echo";

#[test]
fn good_objects_pass() {
    for spec in [
        GOOD,
        "target: {node: vk-ifarm1801.jlab.org}, command: [hostname, -f]",
        "target: {node: vk-a}, command: [echo], args: [a, b], workingDir: /tmp, backoffLimit: 3",
        "target: {node: vk-a}, script: echo, image: 'docker://godlovedc/lolcow', resources: {limits: {nvidia.com/gpu: 1, cpu: 500m}}, \
         volumes: [{name: data, hostPath: {path: /scratch/me}}], volumeMounts: [{name: data, mountPath: /data, readOnly: true}]",
        "target: {node: vk-a}, script: echo, resources: {limits: {memory: 4Gi}, requests: {cpu: 1}}",
        "target: {node: vk-a}, script: echo, volumes: [{name: a, emptyDir: {sizeLimit: 1Gi}}, {name: b, configMap: {name: b}}], \
         volumeMounts: [{name: a, mountPath: a}, {name: b, mountPath: b, readOnly: true}, {name: a, mountPath: /a, readOnly: true}]",
        "target: {node: vk-a}, script: echo, shell: /bin/bash, env: [{name: 'A.b-c d', value: ''}], activeDeadlineSeconds: 1",
    ] {
        assert_eq!(complaints(spec, None), "", "{spec}");
    }
}

#[test]
fn bad_objects_are_refused_with_help() {
    for (spec, help) in [
        ("target: {}, script: echo", "name the node to run on"),
        ("target: {node: node-1}, script: echo", "names begin with vk-"),
        ("target: {node: vk-A}, script: echo", "is a DNS name"),
        ("target: {node: vk-a}", "set script (a text for a shell) or command"),
        ("target: {node: vk-a}, script: echo, command: [echo]", "set either script or command, not both"),
        ("target: {node: vk-a}, script: echo, args: [a]", "args belong to command"),
        ("target: {node: vk-a}, command: [echo], shell: /bin/bash", "shell belongs to script"),
        ("target: {node: vk-a}, script: ''", "the script is empty"),
        ("target: {node: vk-a}, command: []", "its first entry is the program"),
        ("target: {node: vk-a}, script: echo, shell: bash", "absolute path of one program"),
        ("target: {node: vk-a}, script: echo, shell: /bin/bash -l", "options go into the script"),
        ("target: {node: vk-a}, script: echo, workingDir: ~/x", "absolute path, e.g. /home/me/run1"),
        ("target: {node: vk-a}, script: echo, env: [{name: A=B}]", "printable ASCII characters other than '='"),
        ("target: {node: vk-a}, script: echo, image: ''", "leave it out to run on the host itself"),
        ("target: {node: vk-a}, script: echo, image: 'a b'", "one name without spaces"),
        ("target: {node: vk-a}, script: echo, resources: {limits: {hugepages-2Mi: 1}}", "leave the other limits out"),
        (
            "target: {node: vk-a}, script: echo, resources: {limits: {amd.com/gpu: 1}}",
            "leave the limit out, or name an image",
        ),
        (
            "target: {node: vk-a}, script: echo, volumes: [{name: v, hostPath: {path: /v}}], volumeMounts: [{name: v, mountPath: v, readOnly: true}]",
            "leave readOnly out, or write an absolute path",
        ),
        (
            "target: {node: vk-a}, script: echo, image: a, volumeMounts: [{name: v, mountPath: /v}]",
            "names a volume that is not among spec.volumes",
        ),
        (
            "target: {node: vk-a}, script: echo, image: a, volumes: [{name: v, hostPath: {path: /v/../w}}]",
            "absolute and without ..",
        ),
        (
            "target: {node: vk-a}, script: echo, image: a, volumes: [{name: v, hostPath: {path: /v}}], volumeMounts: [{name: v, mountPath: ../v}]",
            "mountPath is a path without ..",
        ),
        ("target: {node: vk-a}, script: echo, volumes: [{name: V, hostPath: {path: /v}}]", "a volume's name consists"),
        ("target: {node: vk-a}, script: echo, volumes: [{name: v}]", "a volume is exactly one of"),
        (
            "target: {node: vk-a}, script: echo, resources: {limits: {cpu: 1}, requests: {cpu: 1001m}}",
            "a request is more than its limit",
        ),
        ("target: {node: vk-a}, script: echo, activeDeadlineSeconds: -1", "leave it out for no limit"),
        ("target: {node: vk-a}, script: echo, ttlSecondsAfterFinished: -1", "leave it out to keep the CmdJob"),
    ] {
        let said = complaints(spec, None);
        assert!(said.contains(help), "{spec}: {said:?} does not contain {help:?}");
    }
}

#[test]
fn what_may_have_run_cannot_be_changed() {
    for (changed, field) in [
        ("target: {node: vk-b}, script: echo", "target"),
        ("target: {node: vk-a}, script: other", "script"),
        ("target: {node: vk-a}, script: echo, shell: /bin/bash", "shell"),
        ("target: {node: vk-a}, script: echo, env: [{name: A}]", "env"),
        ("target: {node: vk-a}, script: echo, envFrom: [{prefix: A}]", "envFrom"),
        ("target: {node: vk-a}, script: echo, workingDir: /", "workingDir"),
        ("target: {node: vk-a}, command: [echo]", "command"),
        ("target: {node: vk-a}, script: echo, image: a", "image"),
        ("target: {node: vk-a}, script: echo, suspend: true, resources: {limits: {cpu: 1}}", "resources"),
        ("target: {node: vk-a}, script: echo, volumes: [{name: v, hostPath: {path: /v}}]", "volumes"),
    ] {
        let said = complaints(changed, Some(GOOD));
        assert!(said.contains(&format!("{field} cannot be changed")), "{changed}: {said:?}");
    }
    for changed in ["suspend: true", "activeDeadlineSeconds: 5", "ttlSecondsAfterFinished: 0"] {
        assert_eq!(complaints(&format!("{GOOD}, {changed}"), Some(GOOD)), "", "{changed}");
    }
}
