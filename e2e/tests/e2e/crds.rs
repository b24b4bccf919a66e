//! The API server's own checks of CmdJobs: what it refuses and how it says so, what it fills in, what it explains.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use vk_cmd_crds::{CmdJob, labels};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::wait::{self, Probe};

use crate::fixture::{SOON, chart, control_plane, namespace};
use crate::ground::GLANCE;

/// CmdJobs as the API server sees them, not as our types do.
async fn objects(place: &str) -> Api<DynamicObject> {
    chart().await;
    let plane = control_plane().await;
    namespace(plane, place).await;
    let kind = GroupVersionKind::gvk(labels::GROUP, labels::VERSION, "CmdJob");
    Api::namespaced_with(plane.client().await.unwrap(), place, &ApiResource::from_gvk(&kind))
}

fn object(name: &str, spec: Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "metadata": {"name": name}, "spec": spec
    });
    serde_json::from_value(object).unwrap()
}

/// A spec that is right, with some fields set (or, with null, taken out).
fn spec(changes: Value) -> Value {
    let mut spec = json!({"target": {"node": "vk-a"}, "script": "echo hello"});
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

#[tokio::test]
async fn bad_objects_are_refused_with_help() {
    let api = objects("bad-objects").await;
    let long = "x".repeat(524_289);
    let data = |path: &str| json!({"name": "data", "hostPath": {"path": path}});
    let command = |rest: Value| {
        let mut changes = json!({"script": null, "command": ["echo"]});
        changes.as_object_mut().unwrap().append(&mut rest.as_object().unwrap().clone());
        spec(changes)
    };
    let rows = [
        (json!({}), "spec.target: Required value"),
        (spec(json!({"target": {}})), "the target is empty: name the node to run on"),
        (spec(json!({"target": {"node": null}})), "the target is empty: name the node to run on"),
        (spec(json!({"target": {"node": "worker-1"}})), "their names begin with vk-, e.g. vk-perlmutter-01"),
        (spec(json!({"target": {"node": "vk-"}})), "a node's name is a DNS name"),
        (spec(json!({"target": {"node": "vk-Perlmutter"}})), "a node's name is a DNS name"),
        (spec(json!({"target": {"node": "vk-a_b"}})), "a node's name is a DNS name"),
        (spec(json!({"target": {"node": "vk-a..b"}})), "a node's name is a DNS name"),
        (spec(json!({"target": {"node": format!("vk-{}", "a".repeat(61))}})), "may not be more than 63"),
        (spec(json!({"script": null})), "set script (a text for a shell) or command (a program with args)"),
        (spec(json!({"command": ["echo"]})), "set either script or command, not both"),
        (spec(json!({"script": ""})), "the script is empty: write what is to be run"),
        (spec(json!({"script": long})), "may not be more than 524288"),
        (spec(json!({"script": 5})), "must be of type string"),
        (spec(json!({"args": ["a"]})), "args belong to command: set command, or write the arguments into the script"),
        (spec(json!({"shell": "bash"})), "shell is the absolute path of one program, e.g. /bin/bash"),
        (spec(json!({"shell": "/bin/bash -l"})), "options go into the script"),
        (command(json!({"shell": "/bin/bash"})), "shell belongs to script"),
        (command(json!({"command": []})), "its first entry is the program"),
        (command(json!({"command": [""]})), "its first entry is the program"),
        (command(json!({"command": "echo"})), "must be of type array"),
        (spec(json!({"workingDir": "data"})), "workingDir is an absolute path"),
        (spec(json!({"workingDir": "~/data"})), "a script can cd"),
        (spec(json!({"image": ""})), "leave it out to run on the host itself"),
        (spec(json!({"image": "a b"})), "one name without spaces"),
        (spec(json!({"resources": {"limits": {"cpu": "1 Gi"}}})), "spec.resources.limits.cpu"),
        (spec(json!({"resources": {"limits": {"ephemeral-storage": 1}}})), "leave the other limits out"),
        (spec(json!({"resources": {"limits": {"nvidia.com/gpu": 1}}})), "leave the limit out, or name an image"),
        (
            spec(json!({"volumes": [data("/v")], "volumeMounts": [{"name": "data", "mountPath": "/v"}]})),
            "volumeMounts belong to image",
        ),
        (
            spec(json!({"image": "a", "volumeMounts": [{"name": "data", "mountPath": "/v"}]})),
            "names a volume that is not among spec.volumes",
        ),
        (spec(json!({"image": "a", "volumes": [data("v")]})), "absolute and without .."),
        (spec(json!({"image": "a", "volumes": [data("/v"), data("/w")]})), "Duplicate value"),
        (spec(json!({"image": "a", "volumes": [{"name": "v", "emptyDir": {}}]})), "hostPath: Required value"),
        (spec(json!({"env": [{"name": "A=B"}]})), "printable ASCII characters other than '='"),
        (spec(json!({"env": [{"name": ""}]})), "printable ASCII characters other than '='"),
        (spec(json!({"env": [{"value": "x"}]})), "spec.env[0].name: Required value"),
        (
            spec(json!({"backoffLimit": -1})),
            "backoffLimit is a number of further attempts: 0 (never run again) or more",
        ),
        (spec(json!({"backoffLimit": 1.5})), "must be of type integer"),
        (spec(json!({"activeDeadlineSeconds": 0})), "leave it out for no limit"),
        (spec(json!({"ttlSecondsAfterFinished": -1})), "leave it out to keep the CmdJob"),
        (
            spec(json!({"terminationGracePeriodSeconds": 0})),
            "Kubernetes would forget the pod before its process is gone",
        ),
        (spec(json!({"suspend": "yes"})), "must be of type boolean"),
        (spec(json!({"nodeSelector": {"a": "b"}})), "unknown field \"spec.nodeSelector\""),
    ];
    let strict = PostParams { dry_run: true, ..PostParams::default() };
    for (spec, help) in rows {
        let shown: String = spec.to_string().chars().take(200).collect();
        // Unknown fields are dropped silently unless one asks for strictness, as kubectl does.
        let said = if help.starts_with("unknown field") {
            let mut kubectl = control_plane().await.kubectl();
            kubectl.args(["create", "--dry-run=server", "-f", "-"]);
            let input = serde_json::to_vec(&object("bad", spec)).unwrap();
            let output = exec::output_with_input(kubectl, &input, SOON).await.unwrap();
            String::from_utf8_lossy(&output.stderr).into_owned()
        } else {
            api.create(&strict, &object("bad", spec)).await.unwrap_err().to_string()
        };
        assert!(said.contains(help), "{shown}\nis answered with\n{said}\nwhich does not contain\n{help}");
    }
    let name = "n".repeat(64);
    let said = api.create(&strict, &object(&name, spec(json!({})))).await.unwrap_err().to_string();
    assert!(said.contains("a CmdJob's name has at most 63 characters"), "{said}");
}

#[tokio::test]
async fn good_objects_are_taken_and_filled_in() {
    let api = objects("good-objects").await;
    let made = api.create(&PostParams::default(), &object("plain", spec(json!({"suspend": true})))).await.unwrap();
    assert_eq!(made.data["spec"].get("backoffLimit"), None);
    assert_eq!(made.data["spec"]["completionMode"], "NonIndexed");
    assert_eq!(made.data["spec"]["terminationGracePeriodSeconds"], 30);
    assert_eq!(made.data["spec"].get("shell"), None);
    let script = "echo 'a line of a long script'\n".repeat(200 * 1024 / 31 + 1);
    for (name, changes) in [
        ("long", json!({"script": script})),
        ("nulls", json!({"command": null, "args": null, "shell": null, "env": null})),
        ("command", json!({"script": null, "command": ["hostname"], "args": ["-f"], "workingDir": "/tmp"})),
        ("env", json!({"env": [{"name": "odd.name (1)", "value": "two\nlines"}, {"name": "A"}]})),
        (
            "image",
            json!({
                "image": "docker://godlovedc/lolcow", "resources": {"limits": {"cpu": 2, "memory": "4Gi", "nvidia.com/gpu": "1"}},
                "volumes": [{"name": "data", "hostPath": {"path": "/scratch/me"}}],
                "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}],
            }),
        ),
        ("limits", json!({"backoffLimit": 6, "activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 0})),
    ] {
        let object = object(name, spec(changes));
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let made = api.create(&dry_run, &object).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        // What the API server takes, the operator can read.
        serde_json::from_value::<CmdJob>(serde_json::to_value(made).unwrap()).unwrap();
    }
}

#[tokio::test]
async fn what_may_have_run_cannot_be_changed() {
    let api = objects("changes").await;
    let made = object("job", spec(json!({"suspend": true, "shell": "/bin/sh", "env": [{"name": "A", "value": "1"}]})));
    api.create(&PostParams::default(), &made).await.unwrap();
    let change = async |spec: Value| {
        let patch = Patch::Merge(json!({"spec": spec}));
        api.patch("job", &PatchParams::default(), &patch).await.map(drop).map_err(|error| error.to_string())
    };
    for (spec, field) in [
        (json!({"target": {"node": "vk-b"}}), "target"),
        (json!({"script": "echo other"}), "script"),
        (json!({"script": null, "shell": null, "command": ["echo"]}), "script"),
        (json!({"shell": null}), "shell"),
        (json!({"shell": "/bin/bash"}), "shell"),
        (json!({"env": null}), "env"),
        (json!({"env": [{"name": "A", "value": "2"}]}), "env"),
        (json!({"envFrom": [{"configMapRef": {"name": "x"}}]}), "envFrom"),
        (json!({"workingDir": "/tmp"}), "workingDir"),
        (json!({"image": "a"}), "image"),
        (json!({"resources": {"limits": {"cpu": 1}}}), "resources"),
        (json!({"volumes": [{"name": "v", "hostPath": {"path": "/v"}}]}), "volumes"),
        (json!({"terminationGracePeriodSeconds": 5}), "terminationGracePeriodSeconds"),
    ] {
        let said = change(spec.clone()).await.unwrap_err();
        let help = format!("{field} cannot be changed");
        assert!(said.contains(&help) && said.contains("make a new CmdJob"), "{spec}: {said}");
    }
    for spec in [
        json!({"backoffLimit": 2, "activeDeadlineSeconds": 9, "ttlSecondsAfterFinished": 9}),
        json!({"script": "echo hello"}),
    ] {
        change(spec).await.unwrap();
    }
}

#[tokio::test]
async fn kubectl_knows_the_kind() {
    objects("kinds").await;
    let says = async |arguments: &[&str]| {
        let mut kubectl = control_plane().await.kubectl();
        kubectl.args(arguments);
        // kubectl breaks lines as it likes.
        exec::text(kubectl, SOON).await.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    // What there is to explain is published some moments after the kind itself.
    let explains = async || {
        let mut kubectl = control_plane().await.kubectl();
        kubectl.args(["explain", "cmdjobs"]);
        exec::text(kubectl, SOON).await
    };
    wait::until("the API server to explain CmdJobs", SOON, GLANCE, async || {
        Ok(explains().await.map_or_else(|error| Probe::not_yet(error.to_string()), Probe::Ready))
    })
    .await
    .unwrap();
    let explained = says(&["explain", "cmdj.spec.backoffLimit"]).await;
    assert!(explained.contains("a command on a host is never run twice unasked"), "{explained}");
    let explained = says(&["explain", "cmdjob.status.state"]).await;
    assert!(explained.contains("Waiting") && explained.contains("Terminating"), "{explained}");

    let api = objects("columns").await;
    api.create(&PostParams::default(), &object("job", spec(json!({"suspend": true})))).await.unwrap();
    let table = says(&["-n", "columns", "get", "cmdjobs"]).await;
    assert!(table.starts_with("NAME STATUS NODE EXIT AGE job "), "{table}");
    let wide = says(&["-n", "columns", "get", "cmdj", "-o", "wide"]).await;
    assert!(wide.contains("DURATION") && wide.contains("REASON") && wide.contains("MESSAGE"), "{wide}");
    assert!(says(&["-n", "columns", "get", "all"]).await.contains("cmdjob.vk-cmd.io/job"));
}
