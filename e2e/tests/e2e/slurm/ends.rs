//! What Slurm does to allocations, and what becomes of the jobs on them.
//!
//! Each test has a fleet of one node. Its job stays until it is ended the first time, and is done at once the second time; so the first
//! attempt shows how it was ended, and the second one that there was another node for it.

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use serde_json::{Value, json};
use vk_cmd_crds::{Attempt, State};
use vk_cmd_e2e::slurm;
use vk_cmd_e2e::wait::{self, Probe};

use super::Stage;
use crate::ground::{Ended, GLANCE, Job, LONG};

impl Stage {
    /// The job, when its process runs.
    pub(super) async fn stays_once(&self, more: &str) -> Job {
        let once = self.gateway.home().join("once");
        let script = format!(
            "if [ -e {0} ]; then echo again; exit 0; fi\n{more}\necho $$ >{0}\nsleep 1000 &\nwait\nwait\nsleep 1000\n",
            once.display()
        );
        let spec = json!({
            "target": {"fleet": self.name}, "script": script, "onUnknown": "Retry", "backoffLimit": 0,
            "podFailurePolicy": {"rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]},
        });
        let job = self.room.job("once", spec).await;
        job.running().await;
        let begun = wait::until("the process to say so", LONG, GLANCE, async || {
            Ok(if once.exists() { Probe::Ready(()) } else { Probe::not_yet("no") })
        });
        begun.await.unwrap();
        job
    }

    /// The end of the job, which is a good one, after one attempt that was ended with its node, and so counts for nothing. Both attempts.
    pub(super) async fn done_the_second_time(&self, job: &Job) -> [Attempt; 2] {
        let ended: Ended = job.ended().await;
        assert_eq!((ended.state, ended.succeeded, ended.failed), (Some(State::Complete), 1, 0), "{ended:?}");
        let mut attempts = ended.attempts.clone();
        attempts.sort_by_key(|attempt| attempt.attempt);
        attempts.try_into().unwrap_or_else(|attempts| panic!("{attempts:?}"))
    }

    /// The end of the job, whose first attempt was ended with its node, and whose second one ran on the same: it is the same allocation,
    /// and the same name of the node that came back with it.
    pub(super) async fn done_again_on(&self, job: &Job, nodes: &[String], allocation: &str) {
        let [first, second] = self.done_the_second_time(job).await;
        assert_eq!(first.signal.as_deref(), Some("SIGTERM"), "{first:?}");
        assert_eq!([vec![first.node], vec![second.node]], [nodes, nodes]);
        assert_eq!(self.allocation().await, allocation);
    }

    pub(super) async fn node(&self, name: &str) -> Option<Node> {
        let nodes: Api<Node> = Api::all(self.room.client.clone());
        nodes.get_opt(name).await.unwrap()
    }
}

async fn stage(name: &str, launcher: &Value) -> Option<Stage> {
    Stage::new(name, &json!({"maxNodes": 1}), launcher).await
}

#[tokio::test]
async fn scancel_of_an_allocation_ends_its_jobs_which_go_on_on_another() {
    let Some(stage) = stage("slurm-scancel", &json!({})).await else { return };
    let job = stage.stays_once("").await;
    let id = stage.allocation().await;
    stage.slurm.says("scancel", &[&id]).await.unwrap();
    let [first, _] = stage.done_the_second_time(&job).await;
    assert_eq!(first.signal.as_deref(), Some("SIGTERM"), "{first:?}");
    stage.close().await;
}

#[tokio::test]
async fn what_runs_on_an_allocation_that_is_requeued_goes_on_on_a_node_that_is_there() {
    // Longer than the pause before the job's second attempt: who needs no pilot in that time does not cancel it.
    let launcher = json!({"idleSeconds": 30, "slurm": {"requeue": true}});
    let Some(stage) = stage("slurm-requeue", &launcher).await else { return };
    let job = stage.stays_once("").await;
    let before = stage.nodes().await;
    let id = stage.allocation().await;
    stage.slurm.says("scontrol", &["requeue", &id]).await.unwrap();
    stage.done_again_on(&job, &before, &id).await;
    stage.close().await;
}

#[tokio::test]
async fn usr1_has_the_node_cordoned_and_its_jobs_end_in_time() {
    // Slurm sends it a minute early, if it likes: here that is in the first half minute.
    let launcher = json!({"walltimeSeconds": 60, "slurm": {"signalSeconds": 45}});
    let Some(stage) = stage("slurm-usr1", &launcher).await else { return };
    let job = stage.stays_once("").await;
    let node = stage.nodes().await.remove(0);
    let cordoned = wait::until("the node to be cordoned", LONG, GLANCE, async || {
        let node = stage.node(&node).await;
        let is_cordoned =
            node.as_ref().is_some_and(|node| node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)));
        Ok(if is_cordoned { Probe::Ready(()) } else { Probe::not_yet(format!("{:?}", node.map(|node| node.spec))) })
    });
    cordoned.await.unwrap();
    // The next one is not to be told so at once.
    stage.change(&json!({"launcher": {"slurm": {"signalSeconds": 0}}})).await;
    let [first, _] = stage.done_the_second_time(&job).await;
    assert_eq!(first.reason.as_deref(), Some("WalltimeExceeded"), "{first:?}");
    stage.close().await;
}

#[tokio::test]
async fn what_does_not_hear_term_is_ended_before_slurm_does_it() {
    let Some(stage) = stage("slurm-killwait", &json!({})).await else { return };
    let job = stage.stays_once("trap '' TERM").await;
    let pid: i32 = std::fs::read_to_string(stage.gateway.home().join("once")).unwrap().trim().parse().unwrap();
    let id = stage.allocation().await;
    stage.slurm.says("scancel", &[&id]).await.unwrap();
    // Told by the node itself, within Slurm's KillWait, and truly gone.
    let [first, _] = stage.done_the_second_time(&job).await;
    assert_eq!(first.signal.as_deref(), Some("SIGKILL"), "{first:?}");
    assert!(first.message.as_ref().is_some_and(|words| words.contains("node shutdown")), "{first:?}");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    stage.close().await;
}

#[tokio::test]
async fn a_machine_that_goes_down_takes_its_jobs_with_it_and_another_pilot_comes() {
    let launcher = json!({"slurm": {"partition": "lone"}});
    let Some(stage) = stage("slurm-down", &launcher).await else { return };
    stage.stays_once("").await;
    let node = stage.nodes().await.remove(0);
    stage.slurm.kill_machine(slurm::LONE).unwrap();
    // Slurm notices, and says so to the pilot; there is none to take its place on this partition yet.
    let failed = stage.until("to notice", |pilots| pilots.failures == 1).await;
    let message = failed.status.unwrap().pilots.unwrap().message.unwrap();
    assert!(message.contains("NODE_FAIL"), "{message}");
    stage.slurm.start_machine(slurm::LONE).unwrap();
    let silent = wait::until("the node to be known as silent", LONG, GLANCE, async || {
        let found = stage.node(&node).await;
        let conditions = found.as_ref().and_then(|node| node.status.as_ref()?.conditions.clone()).unwrap_or_default();
        let is_ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
        Ok(if is_ready { Probe::not_yet("it is ready") } else { Probe::Ready(()) })
    });
    silent.await.unwrap();
    // The first attempt is of unknown end until its Node object is given up; the job behind it is done meanwhile.
    let behind = stage.room.job("behind", json!({"target": {"fleet": "slurm-down"}, "script": "true"})).await;
    assert_eq!(behind.ended().await.state, Some(State::Complete));
    assert!(stage.nodes().await.iter().any(|name| *name != node));
    stage.close().await;
}

#[tokio::test]
async fn an_allocation_that_slurm_cannot_start_is_given_up_and_another_pilot_comes() {
    let Some(stage) = stage("slurm-held", &json!({"slurm": {"partition": slurm::FAULTY, "requeue": true}})).await
    else {
        return;
    };
    stage.slurm.prolog_fails(true).unwrap();
    let job = stage.room.job("patient", json!({"target": {"fleet": "slurm-held"}, "script": "true"})).await;
    let failed = stage.until("to have given it up", |pilots| pilots.failures == 1).await;
    let message = failed.status.unwrap().pilots.unwrap().message.unwrap();
    for words in ["could not start", "launch failed requeued held", "ask the site's administrators"] {
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(stage.allocations().await, [], "nothing is left in the queue");
    // Slurm has drained the machine for it; somebody mends that.
    stage.slurm.prolog_fails(false).unwrap();
    let name = format!("NodeName={}", slurm::machine(slurm::FAULTY_MACHINE));
    stage.slurm.says("scontrol", &["update", &name, "State=RESUME"]).await.unwrap();
    assert_eq!(job.ended().await.state, Some(State::Complete));
    assert!(stage.nodes().await.iter().all(|node| node.starts_with("vk-slurm-held-1-")), "by the next pilot");
    stage.close().await;
}

#[tokio::test]
async fn a_full_disk_under_a_node_ends_no_job_and_loses_no_end() {
    // The nodes' TMPDIR and records are on a file system of 4 MiB, which goes with the allocation.
    let setup = "if [ -z \"${SMALL:-}\" ]; then\n  export SMALL=$PILOT_HOME/small-$PILOT_INDEX\n  mkdir -p \"$SMALL\"\n  \
                 exec unshare --mount /bin/sh \"$PILOT_HOME/node.sh\"\nfi\nmount -t tmpfs -o size=4m small \"$SMALL\"\n\
                 export TMPDIR=$SMALL VK_NODE_RECORDS=$SMALL/records\nmkdir \"$VK_NODE_RECORDS\"";
    let Some(stage) = stage("slurm-full", &json!({"node": {"setup": setup}})).await else { return };
    let home = stage.gateway.home();
    // One stays while another fills all there is; then the first ends.
    let script = format!("echo begins\nuntil [ -e {0}/go ]; do sleep 0.2; done\necho ends", home.display());
    let stays = stage.room.job("stays", json!({"target": {"fleet": "slurm-full"}, "script": script})).await;
    stays.running().await;
    let fill = format!(
        "dd if=/dev/zero of=$SMALL/fill bs=64k 2>&1\necho $? >{0}/filled\ntouch {0}/go\nsleep 1\nrm $SMALL/fill",
        home.display()
    );
    let spec = json!({
        "target": {"fleet": "slurm-full"}, "script": fill,
        "env": [{"name": "SMALL", "value": format!("{}/.vk-cmd/pilots/slurm-full-0/small-0", home.display())}],
    });
    let fills = stage.room.job("fills", spec).await;
    assert_eq!(fills.ended().await.state, Some(State::Complete));
    assert_eq!(std::fs::read_to_string(home.join("filled")).unwrap().trim(), "1", "there was no room left");
    assert_eq!(stays.ended().await.state, Some(State::Complete));
    let after = stage.room.job("after", json!({"target": {"fleet": "slurm-full"}, "script": "true"})).await;
    assert_eq!(after.ended().await.state, Some(State::Complete));
    stage.close().await;
}
