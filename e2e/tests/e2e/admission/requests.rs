//! The requests of the rows, and what they stand on.

use kube::Client;
use serde_json::{Value, json};
use vk_cmd_e2e::control_plane::ControlPlane;
use vk_cmd_e2e::exec;

use super::rows::{Way, Who};
use super::{NODE, PLACE};
use crate::asking::{Asking, Said};
use crate::fixture::{SOON, namespace};

/// What stands between the braces of a YAML mapping.
fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(&format!("{{{text}}}")).unwrap()
}

fn pod_spec(more: &str) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["true"]}]});
    spec.as_object_mut().unwrap().append(yaml(more).as_object_mut().unwrap());
    spec
}

fn template(more: &str) -> Value {
    json!({"metadata": {"labels": {"app": "a"}}, "spec": pod_spec(more)})
}

/// Method, path below the namespace, and body.
fn request(way: Way) -> (&'static str, String, Value) {
    let post = |path: &str, kind: &str, spec: Value| {
        let (version, _) = path.rsplit_once('/').unwrap();
        (
            "POST",
            path.to_owned(),
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "row"}, "spec": spec}),
        )
    };
    let binding = |path: &str, node: &str| {
        let target = json!({"apiVersion": "v1", "kind": "Node", "name": node});
        let meta = json!({"name": "waiting"});
        ("POST", path.to_owned(), json!({"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": target}))
    };
    match way {
        Way::Pod(more) => post("v1/pods", "Pod", pod_spec(more)),
        Way::Template(path, more) => {
            let kind = match path.rsplit_once('/').unwrap().1 {
                "deployments" => "Deployment",
                "replicasets" => "ReplicaSet",
                "statefulsets" => "StatefulSet",
                "daemonsets" => "DaemonSet",
                "jobs" => "Job",
                _ => "ReplicationController",
            };
            let mut spec = json!({"template": template(more)});
            match kind {
                "Job" => spec["template"]["spec"]["restartPolicy"] = json!("Never"),
                "ReplicationController" => spec["selector"] = json!({"app": "a"}),
                _ => spec["selector"] = json!({"matchLabels": {"app": "a"}}),
            }
            post(path, kind, spec)
        }
        Way::CronJob(more) => {
            let mut template = template(more);
            template["spec"]["restartPolicy"] = json!("Never");
            let spec = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}});
            post("batch/v1/cronjobs", "CronJob", spec)
        }
        Way::Change(more) => ("PATCH", "v1/pods/waiting".into(), json!({"spec": yaml(more)})),
        Way::ChangeThere(more) => ("PATCH", "v1/pods/there".into(), json!({"spec": yaml(more)})),
        Way::Label => ("PATCH", "v1/pods/there".into(), json!({"metadata": {"labels": {"b": "c"}}})),
        Way::Debug => {
            let container = json!({"name": "debugger", "image": "vk-cmd.io/host", "command": ["true"]});
            let change = json!({"spec": {"ephemeralContainers": [container]}});
            ("PATCH", "v1/pods/there/ephemeralcontainers".into(), change)
        }
        Way::Bind(node) => binding("v1/pods/waiting/binding", node),
        Way::OldBind(node) => binding("v1/bindings", node),
        Way::CmdJob(target) => {
            post("vk-cmd.io/v1alpha1/cmdjobs", "CmdJob", json!({"script": "true", "target": yaml(target)}))
        }
    }
}

/// Asks, without a trace.
pub(super) async fn ask(client: &Client, who: Who, way: Way) -> Said {
    let (method, path, body) = request(way);
    // The group and version come before the namespace.
    let parts: Vec<&str> = path.split('/').collect();
    let (version, rest) = match parts.as_slice() {
        ["v1", rest @ ..] => ("api/v1".to_owned(), rest),
        [group, version, rest @ ..] => (format!("apis/{group}/{version}"), rest),
        _ => panic!("{path}"),
    };
    let url = format!("/{version}/namespaces/{PLACE}/{}?dryRun=All", rest.join("/"));
    let content = if method == "PATCH" { "application/strategic-merge-patch+json" } else { "application/json" };
    Asking { method, url: &url, content, user: who.name().map(|name| (name, &[] as &[&str])) }.send(client, &body).await
}

/// The namespace, the node, what waits and what is there, and the rights of those who ask.
pub(super) async fn set(plane: &ControlPlane) {
    namespace(plane, PLACE).await;
    let everything = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: all}\nrules:\n\
        - {apiGroups: ['', apps, batch, vk-cmd.io], resources: [pods, pods/binding, pods/ephemeralcontainers, bindings, \
           replicationcontrollers, deployments, replicasets, statefulsets, daemonsets, jobs, cronjobs, cmdjobs], \
           verbs: [create, update, patch]}";
    let of_one = format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: one}}\nrules:\n\
         - {{apiGroups: [vk-cmd.io], resources: [nodes], resourceNames: [{NODE}], verbs: [use]}}"
    );
    let bind = |name: &str, kind: &str, role: &str, users: &[Who]| {
        let users = users.iter().filter_map(|who| who.name());
        let users: Vec<String> =
            users.map(|user| format!("{{apiGroup: rbac.authorization.k8s.io, kind: User, name: '{user}'}}")).collect();
        format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: {role}}}\nsubjects: [{}]",
            users.join(", ")
        )
    };
    let all = [Who::Stranger, Who::User, Who::OfOneNode, Who::DaemonSets, Who::ReplicaSets];
    let node = format!(
        "apiVersion: v1\nkind: Node\nmetadata: {{name: {NODE}, labels: {{kubernetes.io/hostname: {NODE}}}}}\n\
         spec: {{taints: [{{key: virtual-kubelet.io/provider, value: vk-cmd, effect: NoSchedule}}]}}"
    );
    let pod = |name: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{{more}, containers: [{{name: c, image: \
             vk-cmd.io/host, command: ['true']}}]}}"
        )
    };
    let objects = [
        everything.to_owned(),
        of_one,
        bind("all", "Role", "all", &all),
        bind("user", "ClusterRole", "vk-cmd-node-user", &[Who::User]),
        bind("one", "Role", "one", &[Who::OfOneNode]),
        node,
        pod("waiting", "schedulerName: nobody"),
        pod("there", &format!("nodeName: {NODE}, tolerations: [{{operator: Exists}}]")),
    ];
    let mut apply = plane.kubectl();
    apply.args(["--namespace", PLACE, "apply", "-f", "-"]);
    let output = exec::output_with_input(apply, objects.join("\n---\n").as_bytes(), SOON).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
