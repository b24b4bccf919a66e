//! The operator's rights against what it asks the API server for, by the audit log, while it does all that it can do: nothing is
//! granted that it never uses, nothing is asked for that is not granted.
//!
//! This is not the whole run of all tests, which ends in no place where somebody could look back at it, but a run of its own
//! that goes through the rights one by one. What is asked beyond, by whatever test, is refused by the API server there.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use kube::Api;
use kube::ResourceExt as _;
use rustix::process::Signal;
use serde_json::json;
use vk_cmd_crds::certificates::BOOTSTRAP_GROUP;
use vk_cmd_e2e::audit::Entry;
use vk_cmd_e2e::chart::{NAMESPACE, RELEASE};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::site::Settings;
use vk_cmd_e2e::tools::Tool;
use vk_cmd_e2e::wait::{self, Probe};

use super::{CHECKS, SYSTEM_NODE, Stage, measured, stage};
use crate::cmdfleet::Fleet;
use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room};

/// What is granted and is no request of the operator's: what somebody else looks up when it makes one.
const LOOKED_UP: [(&str, &str, &str); 4] = [
    // The admission policies, when a pod is made; and when `helm test` makes a CmdJob.
    ("vk-cmd.io", "nodes", "use"),
    // The admission plugin OwnerReferencesPermissionEnforcement, which is on here, when a pod is made, and a pilot.
    ("vk-cmd.io", "cmdjobs/finalizers", "update"),
    ("vk-cmd.io", "cmdfleets/finalizers", "update"),
    // The admission plugin CertificateApproval, for each of the two signers.
    ("certificates.k8s.io", "signers", "approve"),
];

/// A group of the API, a resource of it, and what may be done, or was.
type Right = (String, String, String);

#[tokio::test]
async fn the_operator_uses_all_its_rights_and_asks_for_nothing_else() {
    let stage = stage().await;
    let helm = stage.helm(Tool::Helm).await;
    // The release before, of another test, has left its Lease: who finds none makes one.
    stage.says(&["delete", "lease", "vk-operator", "--ignore-not-found"]).await;
    let (_, before) = stage.audit.entries_from(0).unwrap();
    let (values, port) = stage.values(&json!({}));
    helm.apply("install", &values).await;
    let room = stage.ground.room("rights").await;

    tokio::join!(jobs(&room), fleets(&room), joins(&room), strays(&room), leaves(&room));
    begins_anew(&stage, &room).await;
    helm.says(&["test", RELEASE, "--timeout=200s"]).await;
    // What is on the dashboards and in the alerts is there to be measured, after all that.
    measured::of_operator_and_nodes(&stage, &room, port).await;

    for account in ["vk-cmd", "vk-cmd-test"] {
        let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
        let (entries, _) = stage.audit.entries_from(before).unwrap();
        let entries: Vec<_> = entries.into_iter().filter(|entry| entry.user.username == user).collect();
        let refused: Vec<_> = entries.iter().filter(|entry| entry.is_forbidden()).map(Entry::act).collect();
        assert!(refused.is_empty(), "{account} was refused: {refused:?}");
        let used: BTreeSet<Right> = entries.iter().filter_map(asked).collect();
        let granted = granted(&stage, account).await;
        let looked_up = LOOKED_UP.map(|(group, resource, verb)| (group.into(), resource.into(), verb.into()));
        let never: Vec<_> = granted.difference(&used).filter(|right| !looked_up.contains(right)).collect();
        assert!(never.is_empty(), "{account} is granted what it never uses: {never:?}; it has used {used:?}");
        let ungranted: Vec<_> = used.difference(&granted).collect();
        assert!(ungranted.is_empty(), "{account} has used what the chart does not grant: {ungranted:?}");
    }
    room.says(&["delete", "cmdjobs", "--all", "--timeout=60s"]).await;
    helm.says(&["uninstall", RELEASE, "--wait", "--timeout=200s"]).await;
    stage.says(&["delete", "pod", "vk-cmd-test"]).await;
}

/// What a request needs; none, if it is about no object.
fn asked(entry: &Entry) -> Option<Right> {
    let object = entry.object_ref.as_ref()?;
    let subresource = object.subresource.iter().map(|part| format!("/{part}")).collect::<String>();
    let group = object.api_group.clone().unwrap_or_default();
    Some((group, format!("{}{subresource}", object.resource), entry.verb.clone()))
}

/// What the chart's roles say, in the cluster as in its namespaces.
async fn granted(stage: &Stage, account: &str) -> BTreeSet<Right> {
    let client = stage.ground.plane.client().await.unwrap();
    let mut rules: Vec<PolicyRule> = Vec::new();
    let role = if account == "vk-cmd" { "vk-cmd-operator" } else { account };
    for place in [NAMESPACE, CHECKS] {
        let role: Option<Role> = Api::namespaced(client.clone(), place).get_opt(role).await.unwrap();
        rules.extend(role.and_then(|role| role.rules).unwrap_or_default());
    }
    let of_cluster: Option<ClusterRole> = Api::all(client).get_opt(role).await.unwrap();
    rules.extend(of_cluster.and_then(|role| role.rules).unwrap_or_default());
    let mut all = BTreeSet::new();
    for rule in rules {
        assert_eq!(rule.non_resource_urls, None);
        for group in rule.api_groups.iter().flatten() {
            for resource in rule.resources.iter().flatten() {
                all.extend(rule.verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
            }
        }
    }
    let wildcard = all.iter().find(|(group, resource, verb)| [group, resource, verb].iter().any(|part| *part == "*"));
    assert_eq!(wildcard, None);
    all
}

/// Jobs that end and are deleted, that are suspended twice, whose pod's name is taken.
async fn jobs(room: &Room) {
    let short = room.run("short", SYSTEM_NODE, json!({"script": "exit 0", "ttlSecondsAfterFinished": 0})).await;
    let taken = room
        .run("taken", SYSTEM_NODE, json!({"script": "exit 0", "suspend": true, "terminationGracePeriodSeconds": 1}))
        .await;
    let paused =
        room.run("paused", SYSTEM_NODE, json!({"script": "exec sleep 1000", "terminationGracePeriodSeconds": 1})).await;
    for _ in 0..2 {
        paused.running().await;
        suspend(room, "paused", true).await;
        paused.until("to be suspended", |status| status.reason.as_deref() == Some("JobSuspended")).await;
        suspend(room, "paused", false).await;
    }
    let uid = taken.api.get("taken").await.unwrap().uid().unwrap().replace('-', "").to_lowercase();
    let pod = format!("taken-{}-0-0", &uid[..10]);
    room.says(&["run", &pod, "--image=somebody-elses"]).await;
    suspend(room, "taken", false).await;
    taken.until("to find its name taken", |status| status.reason.as_deref() == Some("NameTaken")).await;
    room.says(&["delete", "pod", &pod, "--force", "--grace-period=0"]).await;
    assert_eq!(taken.ended().await.exit_code, Some(0));
    let gone = wait::until("a job to be deleted in time", LONG, GLANCE, async || {
        let found = short.api.get_opt("short").await?;
        Ok(if found.is_none() { Probe::Ready(()) } else { Probe::not_yet("it is there") })
    });
    gone.await.unwrap();
}

async fn suspend(room: &Room, job: &str, is: bool) {
    let patch = json!({"spec": {"suspend": is}}).to_string();
    room.says(&["patch", "cmdjob", job, "--type=merge", "-p", &patch]).await;
}

/// A fleet that is drained, and one that asks a batch system for nodes.
async fn fleets(room: &Room) {
    let fleet = room.fleet("rights", json!({})).await;
    let _site = room.nodes_of("rights", 1, &[]).await;
    fleet.until("to have its node", |status| status.ready_nodes == 1).await;
    let spec = json!({"target": {"fleet": "rights"}, "script": "exec sleep 1000", "terminationGracePeriodSeconds": 1});
    room.job("evicted", spec).await.running().await;
    fleet.change(json!({"scheduling": "Draining"})).await;
    fleet.is("Drained").await;
    // A fleet that is gone keeps its nodes closed no longer: the job would go on there, and the node goes with this function.
    room.says(&["delete", "cmdjob", "evicted"]).await;

    let launcher = json!({
        "gateway": {"node": SYSTEM_NODE}, "namespace": room.namespace, "walltimeSeconds": 3600,
        "node": {"program": "/no/vk-node"}, "slurm": {"partition": "none"},
        // No batch system answers here, and its silence is never taken for an end.
        "cancelSeconds": 5,
    });
    let pilots = room.fleet("rights-pilots", json!({"minNodes": 1, "maxNodes": 1, "launcher": launcher})).await;
    let made = wait::until("a pilot to be made", LONG, GLANCE, async || {
        let jobs = room.says(&["get", "cmdjobs", "-o", "name"]).await;
        Ok(if jobs.contains("rights-pilots-") { Probe::Ready(()) } else { Probe::not_yet(jobs) })
    });
    made.await.unwrap();
    remove(&[fleet, pilots]).await;
}

async fn remove(fleets: &[Fleet]) {
    for fleet in fleets {
        fleet.remove().await;
    }
}

/// A node that asks for its certificates with the token of a fleet.
async fn joins(room: &Room) {
    let fleet = room.fleet("rights-join", json!({"nodeNames": ["vk-rights-join"]})).await;
    let groups = format!("{BOOTSTRAP_GROUP},{BOOTSTRAP_GROUP}:rights-join");
    let plane = room.ground.plane;
    let kubeconfig = plane.cluster().bootstrap_kubeconfig("rights", &groups).await.unwrap();
    let settings = Settings::on(plane, "vk-rights-join").unwrap();
    room.site_with(Settings { kubeconfig, bootstrap: true, client_ca: None, ..settings }).await;
    fleet.remove().await;
}

/// A node that ends for good.
async fn leaves(room: &Room) {
    let settings = Settings::on(room.ground.plane, "vk-rights-leaves").unwrap();
    let flags = ["--on-term", "end", "--kill-wait", "5"].map(Into::into).to_vec();
    let mut site = room.site_with(Settings { node_flags: flags, ..settings }).await;
    // It is at work before it is told to end.
    room.script("leaves", "vk-rights-leaves", "exit 0").await.ended().await;
    site.node().unwrap().signal(Signal::TERM).unwrap();
    let nodes: Api<Node> = Api::all(room.client.clone());
    let gone = wait::until("a node that has left to be removed", LONG, GLANCE, async || {
        let found = nodes.get_opt("vk-rights-leaves").await?;
        Ok(if found.is_none() { Probe::Ready(()) } else { Probe::not_yet("it is there") })
    });
    gone.await.unwrap();
}

/// A job that somebody has taken away by force, and left its pod.
async fn strays(room: &Room) {
    let job =
        room.run("forced", SYSTEM_NODE, json!({"script": "exec sleep 1000", "terminationGracePeriodSeconds": 1})).await;
    job.running().await;
    room.says(&["delete", "cmdjob", "forced", "--cascade=orphan", "--wait=false"]).await;
    let patch = json!({"metadata": {"finalizers": []}}).to_string();
    // It may be gone by itself.
    let kubectl = room.kubectl(&["patch", "cmdjob", "forced", "--type=merge", "-p", &patch]);
    exec::output(kubectl, SOON).await.unwrap();
    room.says(&["delete", "pods", "-l", "vk-cmd.io/job=forced", "--timeout=60s"]).await;
}

/// Another operator takes over while a job is at work, and asks before it goes on with it.
async fn begins_anew(stage: &Stage, room: &Room) {
    let go = stage.scratch.path().join("rights-go");
    let script = format!("until test -e {}; do sleep 0.1; done; exit 1", go.display());
    let job = room.run("twice", SYSTEM_NODE, json!({"script": script, "backoffLimit": 1})).await;
    job.running().await;
    // Not side by side: on one host they would want one port.
    let operator = "deployment/vk-cmd-operator";
    stage.says(&["scale", operator, "--replicas=0"]).await;
    let pods = ["pod", "-l", "app.kubernetes.io/component=operator"];
    stage.says(&[&["wait"][..], &pods, &["--for=delete", "--timeout=55s"]].concat()).await;
    stage.says(&["scale", operator, "--replicas=1"]).await;
    stage.says(&["rollout", "status", operator, "--timeout=55s"]).await;
    std::fs::write(go, "").unwrap();
    let ended = job.ended().await;
    assert_eq!((ended.failed, ended.attempts.len()), (2, 2), "{ended:?}");
}
