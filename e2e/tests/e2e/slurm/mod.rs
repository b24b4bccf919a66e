//! Pilots on a real Slurm: a fleet that grows and shrinks with its queue, and what Slurm does to its allocations.
//!
//! One Slurm cluster and one control plane for all; each test has a fleet, a gateway and a namespace of its own.

mod cluster;
mod ends;
mod preempted;
mod scale;

use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vk_cmd_crds::certificates::BOOTSTRAP_GROUP;
use vk_cmd_crds::{CmdFleet, CmdJob, PilotsStatus, labels};
use vk_cmd_e2e::binaries;
use vk_cmd_e2e::janitor::SITE_VARIABLE;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::slurm::{self, Slurm};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room, room};

/// Tells how Slurm is, and leaves its logs there, if the test fails while this lives.
struct Witness(&'static Slurm);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.post_mortem());
        }
    }
}

/// A fleet with a launcher, and where it is.
struct Stage {
    room: Room,
    slurm: &'static Slurm,
    gateway: Site,
    name: String,
    _witness: Witness,
}

impl Stage {
    /// A fleet of this name, with this in its spec and its launcher beside what all have. None, if there is no Slurm here.
    async fn new(name: &str, spec: &Value, launcher: &Value) -> Option<Self> {
        let slurm = slurm::shared().await?;
        let witness = Witness(slurm);
        let room = room(name).await;
        let gateway = room.site_with(Settings {
            environment: vec![("SLURM_CONF".into(), slurm.conf().into())],
            ..Settings::on(room.ground.plane, &format!("vk-gw-{name}")).unwrap()
        });
        let this = Self { slurm, gateway: gateway.await, name: name.to_owned(), room, _witness: witness };
        this.write_node_file("").await;
        let mut all = json!({
            "maxNodes": 4, "walltimeMarginSeconds": 10,
            "launcher": {
                "gateway": {"node": format!("vk-gw-{name}")}, "namespace": name, "walltimeSeconds": 3600,
                "idleSeconds": 2, "pollSeconds": 2, "cancelSeconds": 60, "nodeResources": {"pods": "5"},
                "node": {"program": binaries::built().await.unwrap().node, "config": this.node_file()},
                "slurm": {"partition": "all", "signalSeconds": 0},
                "environment": {"SLURM_CONF": slurm.conf(), SITE_VARIABLE: this.gateway.home()},
            },
        });
        merge(&mut all, spec);
        merge(&mut all["launcher"], launcher);
        let fleet = json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "metadata": {"name": name}, "spec": all,
        });
        let made: CmdFleet = serde_json::from_value(fleet).unwrap();
        this.fleets().create(&PostParams::default(), &made).await.unwrap();
        Some(this)
    }

    fn node_file(&self) -> std::path::PathBuf {
        self.gateway.directory().join("node.yaml")
    }

    /// The file of the fleet's nodes, with more lines in it.
    async fn write_node_file(&self, more: &str) {
        // The id of a token has six characters.
        let token: String = self.name.chars().rev().filter(char::is_ascii_alphanumeric).take(6).collect();
        let path = self.gateway.directory().join("bootstrap.kubeconfig");
        if !path.exists() {
            let made = self.room.ground.plane.cluster().bootstrap_kubeconfig(&token, BOOTSTRAP_GROUP).await.unwrap();
            std::fs::copy(made, &path).unwrap();
        }
        let text = format!(
            "version: 1\nbootstrapKubeconfig: {}\naddress: 127.0.0.1\nport: 0\nmaxPods: 5\nwalltimeMarginSeconds: 10\nkillWaitSeconds: 5\npressure: {{nodefs.available: 1Mi}}\n{more}",
            path.display()
        );
        std::fs::write(self.node_file(), text).unwrap();
    }

    fn fleets(&self) -> Api<CmdFleet> {
        Api::all(self.room.client.clone())
    }

    fn pilot_jobs(&self) -> Api<CmdJob> {
        Api::namespaced(self.room.client.clone(), &self.name)
    }

    /// Changes the fleet's spec.
    async fn change(&self, spec: &Value) {
        let patch = json!({"spec": spec});
        self.fleets().patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Waits until the fleet says of its pilots what `wanted` asks for.
    async fn until(&self, what: &str, wanted: impl Fn(&PilotsStatus) -> bool) -> CmdFleet {
        let what = format!("{}: {what}", self.name);
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let fleet = self.fleets().get(&self.name).await?;
            let pilots = fleet.status.as_ref().and_then(|status| status.pilots.clone()).unwrap_or_default();
            Ok(if wanted(&pilots) { Probe::Ready(fleet) } else { Probe::not_yet(format!("{pilots:?}")) })
        });
        reached.await.unwrap()
    }

    /// Waits until Slurm has no allocation of this fleet any more, and the cluster no node.
    async fn gone(&self) {
        let what = format!("{}: all to be gone", self.name);
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let seen = self.allocations().await;
            let nodes = self.nodes().await;
            Ok(if seen.is_empty() && nodes.is_empty() {
                Probe::Ready(())
            } else {
                Probe::not_yet(format!("{seen:?} {nodes:?}"))
            })
        });
        reached.await.unwrap();
    }

    /// Waits until the cluster has none of these nodes.
    async fn gone_from(&self, nodes: &[String]) {
        let what = format!("{}: {nodes:?} to be gone", self.name);
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let seen = self.nodes().await;
            let left: Vec<&String> = seen.iter().filter(|node| nodes.contains(*node)).collect();
            Ok(if left.is_empty() { Probe::Ready(()) } else { Probe::not_yet(format!("{left:?}")) })
        });
        reached.await.unwrap();
    }

    /// The allocations that Slurm has for this fleet now, by their ids.
    async fn allocations(&self) -> Vec<(String, String)> {
        let seen = self.slurm.says("squeue", &["--noheader", "--format=%A %T %j"]).await.unwrap();
        let prefix = format!("vk-{}-", self.name);
        let words = seen.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned(), words.next()?.to_owned()))
        });
        words.filter(|(_, _, name)| name.starts_with(&prefix)).map(|(id, state, _)| (id, state)).collect()
    }

    /// Waits until there is an allocation that runs, and says its id.
    async fn allocation(&self) -> String {
        let what = format!("{}: an allocation", self.name);
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let seen = self.allocations().await;
            let running = seen.iter().find(|(_, state)| state == "RUNNING").map(|(id, _)| id.clone());
            Ok(running.map_or_else(|| Probe::not_yet(format!("{seen:?}")), Probe::Ready))
        });
        reached.await.unwrap()
    }

    /// The names of the fleet's nodes.
    async fn nodes(&self) -> Vec<String> {
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(self.room.client.clone());
        let of_fleet = ListParams::default().labels(&format!("{}={}", labels::FLEET, self.name));
        nodes.list(&of_fleet).await.unwrap().into_iter().filter_map(|node| node.metadata.name).collect()
    }

    /// Deletes the fleet: all its pilots go with it.
    async fn close(self) {
        self.fleets().delete(&self.name, &DeleteParams::background()).await.unwrap();
        let what = format!("{}: its pilots to be gone", self.name);
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let seen = self.allocations().await;
            let left = self.pilot_jobs().list(&ListParams::default().labels(labels::PILOT)).await?.items.len();
            Ok(if seen.is_empty() && left == 0 { Probe::Ready(()) } else { Probe::not_yet(format!("{seen:?} {left}")) })
        });
        reached.await.unwrap();
    }
}

/// As JSON merge patch, without taking anything out.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
