//! Nodes that end: at the end of their walltime, by the signals of batch systems, and without a warning. See docs/explanation/walltime.md.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Node, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use vk_cmd_crds::{AttemptState, CmdJobStatus, State, labels};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};
use crate::node_object::{condition, is, reason};
use crate::plain_pods::phase;

/// The number of a job of Slurm that no Slurm of the tests gets to.
const JOB: &str = "60000017";

/// A node's file and a directory for what a test's tasks write, and what a batch system would say.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new(config: &str) -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap() };
        this.configure(config);
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, config: &str) {
        std::fs::write(self.path("node.yaml"), format!("version: 1\n{config}")).unwrap();
    }

    pub(crate) fn settings(&self, room: &Room, node: &str) -> Settings {
        let settings = Settings::on(room.ground.plane, node).unwrap();
        Settings { node_flags: vec!["--config".into(), self.path("node.yaml").into()], ..settings }
    }

    /// Has its squeue say that so much time is left, to whoever asks for the job.
    fn squeue(&self, left: &str) {
        // Whoever runs it finds one or the other.
        std::fs::write(self.path("left.new"), format!("{JOB} {left} N/A\n")).unwrap();
        std::fs::rename(self.path("left.new"), self.path("left")).unwrap();
    }

    /// The environment of a job of Slurm. The commands of Slurm are of this place, whatever the machine has: squeue says what it was
    /// told to, if it was, and scontrol nothing.
    pub(crate) fn job(&self) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        let squeue = format!("[ \"$*\" = '-h -j {JOB} -o %A %L %e' ] && exec cat \"${{0%/*}}/left\"");
        for (name, script) in [("squeue", squeue.as_str()), ("scontrol", "exit 1")] {
            std::fs::write(self.path(name), format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut path = self.directory.path().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap());
        vec![("SLURM_JOB_ID".into(), JOB.into()), ("PATH".into(), path)]
    }

    /// The lines that tasks have written to a file.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        std::fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Room {
    /// Binds a pod to a node that runs a script, with these more fields of its specification.
    pub(crate) async fn put(&self, node: &str, name: &str, script: &str, annotations: Value, more: Value) {
        let mut spec = json!({
            "nodeName": node, "restartPolicy": "Never", "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 3, "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["sh", "-c", script]}],
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let metadata = json!({"name": name, "annotations": annotations});
        self.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).await;
    }

    /// Waits until there is no Node of this name.
    pub(crate) async fn node_is_gone(&self, name: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let what = format!("node {name} to be gone");
        let gone = wait::until(&what, LONG, GLANCE, async || {
            Ok(match nodes.get_opt(name).await? {
                None => Probe::Ready(()),
                Some(node) => Probe::not_yet(format!("{node:?}")),
            })
        });
        gone.await.unwrap();
    }
}

/// Waits until the node's process has ended, which must be well.
pub(crate) async fn has_ended(site: &mut Site) {
    let ended = wait::until("the node to end", LONG, GLANCE, async || {
        Ok(site.node().unwrap().exited()?.map_or(Probe::not_yet("it runs"), Probe::Ready))
    });
    let status = ended.await.unwrap();
    assert!(status.success(), "{status}: {}", site.node().unwrap().log_tail(20));
}

pub(crate) fn annotation<'a>(node: &'a Node, name: &str) -> Option<&'a str> {
    node.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn is_cordoned(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

/// In how many seconds the node ends, as it says.
fn ends_in(node: &Node) -> Option<i64> {
    let at: Timestamp = annotation(node, labels::ENDS_AT)?.parse().unwrap();
    Some(at.duration_since(Timestamp::now()).as_secs())
}

pub(crate) fn failed_with(pod: &Pod, reason: &str) -> bool {
    phase(pod) == "Failed" && pod.status.as_ref().is_some_and(|status| status.reason.as_deref() == Some(reason))
}

pub(crate) fn was_disrupted(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().unwrap().conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|c| {
        c.type_ == "DisruptionTarget" && c.status == "True" && c.reason.as_deref() == Some("TerminationByKubelet")
    })
}

pub(crate) fn terminated(pod: &Pod) -> &ContainerStateTerminated {
    let container = &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0];
    container.state.as_ref().unwrap().terminated.as_ref().unwrap()
}

/// Says in a file which signals it gets, and goes on.
fn deaf(file: &Path) -> String {
    let file = file.display();
    format!(
        "for s in USR1 TERM; do trap \"echo $s >> {file}\" $s; done; echo begun >> {file}; while :; do sleep 0.1; done"
    )
}

#[tokio::test]
async fn a_node_whose_walltime_is_over_leaves_and_its_jobs_go_on_elsewhere() {
    let room = room("walltime").await;
    // Ending after 25 s, closed after 35, KILL by 40.
    let place = Place::new("fleet: walltime\nwalltimeMarginSeconds: 20\n");
    let mut settings = place.settings(&room, "vk-walltime-a");
    settings.node_flags.extend(["--walltime".into(), "45s".into()]);
    let mut ends = room.site_with(settings).await;
    let node = room.node("vk-walltime-a", "to say when it ends", |node| ends_in(node).is_some()).await;
    assert!(ends_in(&node).unwrap() <= 45, "{node:?}");
    assert_eq!(annotation(&node, labels::WALLTIME_MARGIN), Some("20"));
    assert_eq!(reason(&node, labels::ENDING), "WalltimeLasts");

    // Run again, it ends at once.
    let (told, again) = (place.path("told"), place.path("again"));
    let again = again.display();
    let script = format!("[ -e {again} ] && exit 0; touch {again}; {}", deaf(&told));
    let policy = json!({"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]});
    let job = json!({
        "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob",
        "metadata": {"name": "long", "annotations": {labels::WARNING_SIGNAL: "USR1@12"}},
        "spec": {
            "target": {"fleet": "walltime"}, "script": script, "podFailurePolicy": policy, "terminationGracePeriodSeconds": 3,
        },
    });
    room.apply(&job).await;
    let job = room.created("long");
    job.running().await;
    let other = Place::new("fleet: walltime\n");
    let _other = room.site_with(other.settings(&room, "vk-walltime-b")).await;

    let is_ending = |node: &Node| is(node, labels::ENDING, "True") && is_cordoned(node);
    let node = room.node("vk-walltime-a", "to be cordoned for its end", is_ending).await;
    assert_eq!(reason(&node, labels::ENDING), "WalltimeNearlyOver");
    assert_eq!(annotation(&node, labels::CORDONED_BY), Some("ending"));
    let first = job.pods().await.remove(0).metadata.name.unwrap();
    let pod = room.pod(&first, "to have exceeded the walltime", |pod| failed_with(pod, "WalltimeExceeded")).await;
    assert!(was_disrupted(&pod), "{pod:?}");
    let end = terminated(&pod);
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("WalltimeExceeded")));
    assert_eq!(place.lines("told"), ["begun", "USR1", "TERM"]);

    let ended = job.ended().await;
    assert_eq!((ended.state, ended.succeeded, ended.failed), (Some(State::Complete), 1, 0), "{ended:?}");
    let attempts: Vec<_> = ended.attempts.iter().map(|a| (&*a.node, a.reason.as_deref())).collect();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert!(attempts.contains(&("vk-walltime-a", Some("WalltimeExceeded"))), "{attempts:?}");
    assert!(attempts.contains(&("vk-walltime-b", None)), "{attempts:?}");
    has_ended(&mut ends).await;
    room.node_is_gone("vk-walltime-a").await;
}

#[tokio::test]
async fn what_has_no_time_is_refused_and_counts_for_nothing() {
    let room = room("no-time").await;
    let place = Place::new("walltimeSeconds: 600\n");
    let mut site = room.site_with(place.settings(&room, "vk-no-time")).await;
    room.put("vk-no-time", "long", "true", json!({}), json!({"activeDeadlineSeconds": 3600})).await;
    let pod = room.pod("long", "to be refused", |pod| failed_with(pod, "OutOfWalltime")).await;
    let message = pod.status.as_ref().unwrap().message.clone().unwrap();
    let words = "Pod was rejected: it may take 3600 s (activeDeadlineSeconds), and the node, which ends at ";
    assert!(message.starts_with(words), "{message}");
    room.put("vk-no-time", "short", "true", json!({}), json!({"activeDeadlineSeconds": 60})).await;
    room.pod("short", "to succeed", |pod| phase(pod) == "Succeeded").await;

    // The operator places nothing there that takes so long, unless it is told a fable.
    let nodes: Api<Node> = Api::all(room.client.clone());
    let fable = json!({"metadata": {"annotations": {labels::ENDS_AT: "2100-01-01T00:00:00Z"}}});
    let tell = async || {
        nodes.patch_metadata("vk-no-time", &PatchParams::default(), &Patch::Merge(&fable)).await.unwrap();
    };
    let telling = async {
        // The node puts it right whenever it sees it.
        loop {
            tell().await;
            tokio::time::sleep(GLANCE).await;
        }
    };
    let job = room.run("job", "vk-no-time", json!({"script": "exit 0", "walltimeSeconds": 3600})).await;
    let refused = |status: &CmdJobStatus| status.attempts.iter().any(|attempt| attempt.state == AttemptState::Refused);
    // Cancel-safe: a fable more or less.
    let status = tokio::select! {
        status = job.until("to be refused", refused) => status,
        () = telling => unreachable!("it is told for ever"),
    };
    assert_eq!((status.attempts[0].reason.as_deref(), status.failed), (Some("OutOfWalltime"), 0), "{status:?}");
    let says = |status: &CmdJobStatus| {
        let message = status.message.as_deref().unwrap_or_default();
        status.reason.as_deref() == Some("NoNodeFits") && message.starts_with("node vk-no-time ends at ")
    };
    job.until("to say that the node ends too soon", says).await;
    // It is not so any more.
    site.stop_node().unwrap();
    place.configure("");
    site.start_node().unwrap();
    let ended = job.ended().await;
    assert_eq!((ended.state, ended.succeeded, ended.failed), (Some(State::Complete), 1, 0), "{ended:?}");
}

#[tokio::test]
async fn in_a_job_of_slurm_the_time_is_squeues_and_term_ends_the_tasks_too() {
    let room = room("in-slurm").await;
    let place = Place::new("walltimeCheckSeconds: 1\nkillWaitSeconds: 12\n");
    place.squeue("1:00:00");
    let settings = Settings { environment: place.job(), ..place.settings(&room, "vk-in-slurm") };
    let mut site = room.site_with(settings).await;
    // A squeue that was not answered in time is asked again; and annotations are written before conditions.
    let by_squeue = |node: &Node| {
        let told = condition(node, labels::ENDING).and_then(|ending| ending.message.clone()).unwrap_or_default();
        ends_in(node).is_some() && told.ends_with("(by squeue)")
    };
    let node = room.node("vk-in-slurm", "to say when it ends, by squeue", by_squeue).await;
    assert!((3000..=3600).contains(&ends_in(&node).unwrap()), "{node:?}");
    let file = place.path("told");
    room.put("vk-in-slurm", "deaf", &deaf(&file), json!({}), json!({})).await;
    room.put("vk-in-slurm", "polite", "trap 'exit 3' TERM; while :; do sleep 0.1; done", json!({}), json!({})).await;
    for name in ["deaf", "polite"] {
        room.pod(name, "to run", |pod| phase(pod) == "Running").await;
    }
    // It is made shorter, and then longer than it was.
    place.squeue("1:50");
    let near = |node: &Node| is(node, labels::ENDING, "True") && annotation(node, labels::CORDONED_BY).is_some();
    room.node("vk-in-slurm", "to be cordoned", |node| near(node) && is_cordoned(node)).await;
    place.squeue("1-00:00:00");
    let far = |node: &Node| is(node, labels::ENDING, "False") && !is_cordoned(node);
    let node = room.node("vk-in-slurm", "to be uncordoned", far).await;
    assert!(ends_in(&node).unwrap() > 80_000 && annotation(&node, labels::CORDONED_BY).is_none(), "{node:?}");
    // What somebody else cordons stays so.
    room.says(&["cordon", "vk-in-slurm"]).await;
    place.squeue("1:50");
    room.node("vk-in-slurm", "to be about to end", |node| is(node, labels::ENDING, "True")).await;
    place.squeue("1-00:00:00");
    let node = room.node("vk-in-slurm", "to serve", |node| is(node, labels::ENDING, "False")).await;
    assert!(is_cordoned(&node), "{node:?}");

    site.node().unwrap().signal(Signal::TERM).unwrap();
    for name in ["deaf", "polite"] {
        let pod = room.pod(name, "to be ended", |pod| failed_with(pod, "Terminated")).await;
        assert!(was_disrupted(&pod), "{pod:?}");
        assert_eq!(terminated(&pod).exit_code, if name == "deaf" { 137 } else { 3 });
    }
    assert_eq!(place.lines("told"), ["begun", "TERM"]);
    has_ended(&mut site).await;
    room.node_is_gone("vk-in-slurm").await;
}

#[tokio::test]
async fn usr1_says_that_the_end_is_near() {
    let room = room("usr1").await;
    let place = Place::new("noticeSeconds: 20\nwarningSignal: USR1@15\n");
    let mut site = room.site_with(place.settings(&room, "vk-usr1")).await;
    let file = place.path("told");
    let own = place.path("own");
    room.put("vk-usr1", "deaf", &deaf(&file), json!({}), json!({})).await;
    let saves = format!("trap 'echo saved > {}; exit 0' USR2; while :; do sleep 0.1; done", own.display());
    room.put("vk-usr1", "saves", &saves, json!({labels::WARNING_SIGNAL: "USR2@18"}), json!({})).await;
    for name in ["deaf", "saves"] {
        room.pod(name, "to run", |pod| phase(pod) == "Running").await;
    }
    let node = room.node("vk-usr1", "to serve", |node| is(node, labels::ENDING, "False")).await;
    assert_eq!((reason(&node, labels::ENDING), ends_in(&node)), ("NoEndKnown", None));
    site.node().unwrap().signal(Signal::USR1).unwrap();
    let node = room.node("vk-usr1", "to be about to end", |node| is(node, labels::ENDING, "True")).await;
    assert_eq!(reason(&node, labels::ENDING), "Signalled");
    // Who uses the warning to come to an end has ended well.
    room.pod("saves", "to succeed", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(place.lines("own"), ["saved"]);
    let pod = room.pod("deaf", "to be ended", |pod| failed_with(pod, "Terminated")).await;
    assert!(was_disrupted(&pod), "{pod:?}");
    assert_eq!(place.lines("told"), ["begun", "USR1", "TERM"]);
    has_ended(&mut site).await;
    room.node_is_gone("vk-usr1").await;
}

#[tokio::test]
async fn the_operator_cordons_and_removes_vk_nodes_and_no_others() {
    let room = room("others").await;
    let chart = crate::fixture::chart().await;
    let operator = format!("--as=system:serviceaccount:{}:{}", chart.namespace, chart.service_account);
    let node = |name: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"unschedulable": true}});
    for (name, may) in [("not-a-vk-node", false), ("vk-operators-own", true)] {
        room.apply(&node(name)).await;
        for act in [&["annotate", "node", name, "example.org/a=b"][..], &["delete", "node", name]] {
            let output = exec::output(room.kubectl(&[act, &[&operator]].concat()), SOON).await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.success(), may, "{act:?}: {said}");
            assert!(may || said.contains("vk-nodes only"), "{said}");
        }
    }
    room.says(&["delete", "node", "not-a-vk-node"]).await;
}

/// Whoever has its ServiceAccount may not do more either: no pods of other nodes, and none as somebody else's ServiceAccount.
#[tokio::test]
async fn the_operator_makes_and_changes_pods_of_vk_nodes_and_no_others() {
    let room = room("others-pods").await;
    let chart = crate::fixture::chart().await;
    let operator = format!("--as=system:serviceaccount:{}:{}", chart.namespace, chart.service_account);
    let pod = |name: &str, node: &str, account: &str| {
        let containers = json!([{"name": "c", "image": "vk-cmd.io/host", "command": ["true"]}]);
        let mut spec =
            json!({"serviceAccountName": account, "automountServiceAccountToken": false, "containers": containers});
        if !node.is_empty() {
            spec["nodeName"] = json!(node);
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}).to_string()
    };
    let asked = async |arguments: &[&str], input: &str| {
        let kubectl = room.kubectl(&[arguments, &[&operator]].concat());
        let output = exec::output_with_input(kubectl, input.as_bytes(), SOON).await.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    room.says(&["create", "serviceaccount", "mighty"]).await;
    // The namespace's own ServiceAccount is made by a controller.
    room.apply(&serde_json::from_str(&pod("of-others", "others-own", "default")).unwrap()).await;
    for (name, node, account, words) in [
        ("elsewhere", "others-own", "default", "vk-nodes only"),
        ("anywhere", "", "default", "vk-nodes only"),
        ("as-somebody", "vk-others-pods", "mighty", "ServiceAccount default only"),
    ] {
        let (done, said) = asked(&["create", "-f", "-"], &pod(name, node, account)).await;
        assert!(!done && said.contains(words), "{name}: {said}");
    }
    let (done, said) = asked(&["create", "-f", "-"], &pod("its-own", "vk-others-pods", "default")).await;
    assert!(done, "{said}");
    for (name, may) in [("of-others", false), ("its-own", true)] {
        for act in [&["annotate", "pod", name, "example.org/a=b"][..], &["delete", "pod", name, "--wait=false"]] {
            let (done, said) = asked(act, "").await;
            assert_eq!(done, may, "{act:?}: {said}");
            assert!(may || said.contains("vk-nodes only"), "{said}");
        }
    }
}

#[tokio::test]
async fn without_any_warning_the_next_start_tells_the_true_ends() {
    let room = room("no-warning").await;
    let place = Place::new("walltimeSeconds: 3600\n");
    let settings = Settings { environment: place.job(), ..place.settings(&room, "vk-no-warning") };
    let mut site = room.site_with(settings).await;
    let gate = place.path("open");
    let (gate_text, ended) = (gate.display(), place.path("ended"));
    let gated = format!("until [ -e {gate_text} ]; do sleep 0.1; done; echo x > {}; exit 7", ended.display());
    room.put("vk-no-warning", "gated", &gated, json!({}), json!({})).await;
    room.put("vk-no-warning", "killed", "sleep 1000", json!({}), json!({})).await;
    for name in ["gated", "killed"] {
        room.pod(name, "to run", |pod| phase(pod) == "Running").await;
    }
    // The node is killed, a task comes to its end without it, and then all that is left is killed at once.
    site.kill_node().unwrap();
    std::fs::write(&gate, "").unwrap();
    let exits = site.hostpipe().join("tasks");
    let written = wait::until("the end to be written down", LONG, GLANCE, async || {
        let mut all = std::fs::read_dir(&exits)?.flatten();
        let has = all.any(|entry| entry.path().join("exit.json").exists());
        Ok(if has { Probe::Ready(()) } else { Probe::not_yet("no task has ended") })
    });
    written.await.unwrap();
    for pid in site.processes().unwrap() {
        // One that has ended meanwhile is as dead.
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
    site.start_node().unwrap();
    let pod = room.pod("gated", "to have failed", |pod| phase(pod) == "Failed").await;
    assert_eq!(terminated(&pod).exit_code, 7);
    let pod = room.pod("killed", "to have failed", |pod| phase(pod) == "Failed").await;
    assert_eq!(terminated(&pod).reason.as_deref(), Some("ContainerStatusUnknown"));
}
