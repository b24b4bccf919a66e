//! A fleet that grows and shrinks with its queue.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;
use vk_cmd_crds::{CmdJob, PilotsStatus, State};
use vk_cmd_e2e::wait::{self, Probe};

use super::Stage;

const JOBS: usize = 100;
/// What that takes if all other tests run at the same time.
const VERY_LONG: Duration = Duration::from_secs(600);
const SOMETIMES: Duration = Duration::from_millis(500);

/// What the jobs have written of themselves: how often each began, and came to its end.
fn told(stage: &Stage) -> BTreeMap<String, (usize, usize)> {
    let text = std::fs::read_to_string(stage.gateway.home().join("told")).unwrap_or_default();
    let mut all = BTreeMap::<String, (usize, usize)>::new();
    for line in text.lines() {
        let (name, what) = line.split_once(' ').unwrap();
        let (begun, ended) = all.entry(name.to_owned()).or_default();
        match what {
            "begins" => *begun += 1,
            "ends" => *ended += 1,
            other => panic!("{other}"),
        }
    }
    all
}

/// A hundred jobs, each of which says that it begins and ends.
async fn hundred_jobs(stage: &Stage, seconds: u32) -> Vec<CmdJob> {
    let told = stage.gateway.home().join("told");
    let spec = json!({
        "target": {"fleet": stage.name},
        // An attempt that is ended with its node counts for nothing, and is made again.
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        ]},
        "script": format!(
            "echo $VK_JOB begins >>{0}\nsleep {seconds}\necho $VK_JOB ends >>{0}\n", told.display()
        ),
    });
    join_all((0..JOBS).map(|n| {
        let mut spec = spec.clone();
        spec["env"] = json!([{"name": "VK_JOB", "value": format!("job-{n}")}]);
        async move { stage.room.job(&format!("job-{n}"), spec).await }
    }))
    .await;
    // All of them are waited for together: the machine may be busy with other tests.
    let jobs: Api<CmdJob> = Api::namespaced(stage.room.client.clone(), &stage.name);
    let is_ended =
        |job: &CmdJob| matches!(job.status.as_ref().and_then(|s| s.state), Some(State::Complete | State::Failed));
    let ended = wait::until("all jobs to end", VERY_LONG, SOMETIMES, async || {
        let all = jobs.list(&ListParams::default()).await?.items;
        let all: Vec<CmdJob> = all.into_iter().filter(|job| job.name_any().starts_with("job-")).collect();
        let open = all.iter().filter(|job| !is_ended(job)).count();
        Ok(if open == 0 && all.len() == JOBS { Probe::Ready(all) } else { Probe::not_yet(format!("{open} have not")) })
    });
    ended.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_goes_from_nothing_to_four_nodes_and_back_on_a_hundred_jobs() {
    let Some(stage) = Stage::new("slurm-scale", &json!({}), &json!({"walltimeSeconds": 60})).await else { return };
    assert_eq!(stage.nodes().await, Vec::<String>::new());
    let grown = stage.until("to have four nodes", |pilots| pilots.running == 4);
    let (grown, jobs) = futures::join!(grown, hundred_jobs(&stage, 12));
    assert_eq!(grown.status.unwrap().pilots.unwrap().wanted_nodes, 4);
    let told = told(&stage);
    let mut again = 0;
    for job in &jobs {
        let name = job.name_any();
        let status = job.status.as_ref().unwrap();
        assert_eq!(status.state, Some(State::Complete), "{name}: {status:?}");
        let (begun, ended) = told[&name];
        // As often as there were attempts, and the last one came to its end. Those before it say that their node has ended.
        let ran: Vec<_> = status.attempts.iter().filter(|attempt| attempt.started_at.is_some()).collect();
        assert!(ended >= 1 && begun == ran.len(), "{name}: {begun} {ended} {status:?}");
        let by_end = |reason: &str| matches!(reason, "WalltimeExceeded" | "Terminated");
        let disrupted = ran.iter().filter(|attempt| attempt.reason.as_deref().is_some_and(by_end)).count();
        assert_eq!(begun, disrupted + 1, "{name}: {status:?}");
        again += disrupted;
    }
    let shrunk = |pilots: &PilotsStatus| pilots.running == 0 && pilots.pending == 0 && pilots.cancelling == 0;
    let fleet = stage.until("to have none", shrunk).await;
    let pilots = fleet.status.unwrap().pilots.unwrap();
    assert!(pilots.last_number > Some(3), "their walltime has ended in the middle: {pilots:?}");
    assert_eq!(pilots.failures, 0, "{pilots:?}");
    stage.gone().await;
    println!("{again} attempts were ended with their nodes; {} pilots", pilots.last_number.unwrap() + 1);
    stage.close().await;
}

#[tokio::test]
async fn nodes_are_as_many_as_somebody_says_alone_in_an_array_and_together() {
    let launcher = json!({"nodesPerPilot": 2, "slurm": {"layout": "Array"}});
    let Some(stage) = Stage::new("slurm-array", &json!({"replicas": 2}), &launcher).await else { return };
    stage.until("to have a pilot", |pilots| pilots.running == 1 && pilots.recent[0].nodes == 2).await;
    assert_eq!(stage.allocations().await.len(), 2, "two allocations, of one node each");
    stage.change(&json!({"replicas": 0})).await;
    stage.gone().await;
    // By srun in one allocation.
    stage.change(&json!({"replicas": 2, "launcher": {"slurm": {"layout": "Allocation"}}})).await;
    let is_there =
        |pilots: &PilotsStatus| pilots.running == 1 && pilots.last_number == Some(1) && pilots.recent[0].nodes == 2;
    stage.until("to have another pilot", is_there).await;
    assert_eq!(stage.allocations().await.len(), 1);
    let job = stage.room.job("hello", json!({"target": {"fleet": "slurm-array"}, "script": "echo hello"})).await;
    job.ended().await;
    stage.change(&json!({"replicas": 0})).await;
    stage.gone().await;
    stage.close().await;
}

#[tokio::test]
async fn what_slurm_refuses_is_told_in_its_words_and_pauses_the_launcher() {
    let launcher = json!({"slurm": {"partition": "nowhere"}});
    let Some(stage) = Stage::new("slurm-refused", &json!({"replicas": 1}), &launcher).await else { return };
    let failed = stage.until("to have failed", |pilots| pilots.failures >= 1 && pilots.message.is_some()).await;
    let message = failed.status.unwrap().pilots.unwrap().message.unwrap();
    assert!(message.contains("invalid partition specified: nowhere"), "{message}");
    // Another launcher begins anew.
    stage.change(&json!({"launcher": {"slurm": {"partition": "all"}}})).await;
    stage.until("to have a node", |pilots| pilots.running == 1 && pilots.failures == 0).await;
    stage.close().await;
}
