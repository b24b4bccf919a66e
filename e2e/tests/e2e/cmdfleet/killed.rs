//! An operator that is killed with -9 again and again while a fleet is launched, given back, drained and uncordoned: nothing is submitted
//! twice, nobody is evicted twice, and in the end each node is as somebody wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use vk_cmd_crds::{CmdJob, State, labels};
use vk_cmd_e2e::binaries;
use vk_cmd_e2e::janitor::SITE_VARIABLE;
use vk_cmd_e2e::site::Site;
use vk_cmd_e2e::wait::{self, Probe};

use super::Fleet;
use crate::ground::{GLANCE, Ground, LONG, Room};
use crate::rough::{audit_log, rough};

/// Kills the operator so often, each time at another moment of what it has to do, and starts it again.
async fn haunt(ground: &Ground, kills: u32) {
    let mut operator = ground.operator.lock().await;
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..1500))).await;
        operator.must_be_running().unwrap();
        operator.kill().unwrap();
        operator.restart().unwrap();
    }
}

/// A test that has failed may have left it dead.
async fn alive(ground: &Ground) {
    let mut operator = ground.operator.lock().await;
    if operator.process().is_none() {
        operator.restart().unwrap();
    }
}

/// A batch system of four scripts, and the gateway from which it is spoken to. An allocation is a process, and starts at once.
struct Batch {
    gateway: Site,
    directory: PathBuf,
}

impl Batch {
    async fn new(room: &Room, name: &str) -> Self {
        let gateway = room.site(name).await;
        let directory = gateway.home().join("batch");
        std::fs::create_dir(&directory).unwrap();
        Self { gateway, directory }
    }

    /// A launcher whose nodes are real ones.
    async fn launcher(&self, room: &Room) -> Value {
        let (plane, directory) = (room.ground.plane, self.directory.display());
        let (kubeconfig, authority) =
            (plane.kubeconfig().display().to_string(), plane.client_ca().display().to_string());
        json!({
            "gateway": {"node": self.gateway.node_name()}, "namespace": room.namespace, "walltimeSeconds": 3600,
            "idleSeconds": 1, "pollSeconds": 1, "cancelSeconds": 60, "nodeResources": {"pods": "5"},
            "directory": self.gateway.home().join("p"),
            "environment": {SITE_VARIABLE: self.gateway.home()},
            "node": {
                "program": binaries::built().await.unwrap().node,
                "args": [
                    "--kubeconfig", kubeconfig, "--client-ca-file", authority, "--address", "127.0.0.1", "--kubelet-port", "0",
                    "--pipe", "node", "--on-term", "end", "--max-pods", "5",
                ],
            },
            "command": {
                "submit": format!(
                    "echo \"$PILOT_NAME\" >>{directory}/submitted\nsetsid \"$PILOT_SCRIPT\" >>\"$PILOT_LOG\" 2>&1 </dev/null &\n\
                     echo $! >{directory}/$PILOT_NAME\necho \"$PILOT_NAME\""
                ),
                "find": format!("if [ -e {directory}/$PILOT_NAME ]; then echo \"$PILOT_NAME\"; fi"),
                // One that nobody has waited for has a line in /proc still.
                "state": format!(
                    "read -r pid <{directory}/$PILOT_ID\ncase $(sed 's/.*) //' /proc/$pid/stat 2>/dev/null) in\n\
                     '' | Z*) echo ended ;;\n*) echo running ;;\nesac"
                ),
                "cancel": format!("read -r pid <{directory}/$PILOT_ID\nkill -TERM $pid"),
            },
        })
    }

    /// The names of all that was ever submitted.
    fn submitted(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.join("submitted")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// The nodes of a fleet.
async fn nodes(room: &Room, fleet: &str) -> Vec<Node> {
    let nodes: Api<Node> = Api::all(room.client.clone());
    nodes.list(&ListParams::default().labels(&format!("{}={fleet}", labels::FLEET))).await.unwrap().items
}

/// Waits until the fleet has neither pilots nor nodes.
async fn is_gone(room: &Room, fleet: &Fleet) {
    let jobs: Api<CmdJob> = Api::namespaced(room.client.clone(), &room.namespace);
    wait::until("pilots and nodes to be gone", LONG, GLANCE, async || {
        let pilots = jobs.list_metadata(&ListParams::default().labels(labels::PILOT)).await?.items;
        let nodes = nodes(room, &fleet.name).await;
        Ok(if pilots.is_empty() && nodes.is_empty() {
            Probe::Ready(())
        } else {
            Probe::not_yet(format!("{} pilots, {} nodes", pilots.len(), nodes.len()))
        })
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_operator_that_is_killed_while_it_launches_a_fleet_submits_nothing_twice() {
    const FLEET: &str = "cf-launch";
    let ground = rough().await;
    alive(&ground).await;
    let room = ground.room(FLEET).await;
    let batch = Batch::new(&room, "vk-gw-cf-launch").await;
    let launcher = batch.launcher(&room).await;
    let fleet = room.fleet(FLEET, json!({"replicas": 3, "maxNodes": 3, "launcher": launcher})).await;
    let up = fleet.until("to have its nodes", |status| {
        status.ready_nodes == 3 && status.pilots.as_ref().is_some_and(|pilots| pilots.running == 3)
    });
    futures::join!(haunt(&ground, 5), up);
    let submitted = batch.submitted();
    assert_eq!(submitted.iter().collect::<BTreeSet<_>>().len(), 3, "{submitted:?}");
    assert_eq!(submitted.len(), 3, "{submitted:?}");
    room.job("hello", json!({"target": {"fleet": FLEET}, "script": "true"})).await.ended().await;

    // They are given back, each once, and none comes for them.
    fleet.change(json!({"replicas": 0})).await;
    futures::join!(haunt(&ground, 4), is_gone(&room, &fleet));
    let after = fleet.until("to have none", |status| status.total_nodes == 0).await;
    assert_eq!(after.pilots.unwrap().failures, 0);
    assert_eq!(batch.submitted().len(), 3);
    fleet.remove().await;
}

/// Whether a node is unschedulable, and by whom, by its number.
async fn cordons(room: &Room, fleet: &str) -> BTreeMap<String, (bool, Option<String>)> {
    let of = |node: &Node| {
        let by = node.annotations().get(labels::CORDONED_BY).cloned();
        (node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default(), by)
    };
    nodes(room, fleet).await.iter().map(|node| (node.name_any(), of(node))).collect()
}

/// How often each pod of a namespace was evicted, by the API server's audit log.
fn evictions(namespace: &str) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    for entry in audit_log().entries().unwrap() {
        let code = entry.code();
        let Some(object) = entry.object_ref else { continue };
        let is_ours =
            object.namespace.as_deref() == Some(namespace) && object.subresource.as_deref() == Some("eviction");
        if is_ours && code == 201 {
            *all.entry(object.name.unwrap_or_default()).or_default() += 1;
        }
    }
    all
}

#[tokio::test]
async fn an_operator_that_is_killed_while_it_drains_a_fleet_evicts_nobody_twice_and_uncordons_what_it_has_cordoned() {
    const FLEET: &str = "cf-killed";
    const JOBS: usize = 6;
    let ground = rough().await;
    alive(&ground).await;
    let room = ground.room(FLEET).await;
    let fleet = room.fleet(FLEET, json!({})).await;
    let site = room.nodes_of(FLEET, 4, &["--max-pods", "2"]).await;
    fleet.until("to have its nodes", |status| status.ready_nodes == 4).await;
    // Somebody has cordoned one.
    let all: Api<Node> = Api::all(room.client.clone());
    let patch = Patch::Merge(json!({"spec": {"unschedulable": true}}));
    all.patch("vk-cf-killed-3", &PatchParams::default(), &patch).await.unwrap();
    fleet.until("to know of that", |status| status.cordoned_nodes == 1).await;

    let (told, end) = (site.home().join("told"), site.home().join("end"));
    let script = format!("echo $VK_JOB >>{}\nuntil test -e {}; do sleep 0.1; done\n", told.display(), end.display());
    let ignore = json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]});
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        let spec = json!({
            "target": {"fleet": FLEET}, "script": script, "env": [{"name": "VK_JOB", "value": format!("job-{n}")}],
            "backoffLimit": 0, "podFailurePolicy": ignore, "terminationGracePeriodSeconds": 2,
        });
        jobs.push(room.job(&format!("job-{n}"), spec).await);
    }
    for job in &jobs {
        job.running().await;
    }
    fleet.change(json!({"scheduling": "Draining"})).await;
    let (_, drained) = futures::join!(haunt(&ground, 4), fleet.is("Drained"));
    assert_eq!((drained.cordoned_nodes, drained.busy_nodes), (4, 0));
    let evicted = evictions(FLEET);
    assert_eq!(evicted.len(), JOBS, "{evicted:?}");
    assert!(evicted.values().all(|times| *times == 1), "{evicted:?}");

    std::fs::write(&end, "").unwrap();
    fleet.change(json!({"scheduling": "Active"})).await;
    let free = fleet.until("to be uncordoned", |status| {
        status.cordoned_nodes == 1 && super::reason_of(status) == Some("NodesReady")
    });
    futures::join!(haunt(&ground, 3), free);
    let by_person = |name: &str| name == "vk-cf-killed-3";
    for (name, is) in cordons(&room, FLEET).await {
        assert_eq!(is, (by_person(&name), None), "{name}");
    }
    // Each goes on once.
    for job in &jobs {
        let ended = job.ended().await;
        assert_eq!(
            (ended.state, ended.succeeded, ended.failed),
            (Some(State::Complete), 1, 0),
            "{}: {ended:?}",
            job.name
        );
    }
    let mut runs = BTreeMap::<String, u32>::new();
    for line in std::fs::read_to_string(&told).unwrap().lines() {
        *runs.entry(line.to_owned()).or_default() += 1;
    }
    assert!(runs.len() == JOBS && runs.values().all(|times| *times == 2), "{runs:?}");
    assert_eq!(evictions(FLEET), evicted);
    fleet.remove().await;
}
