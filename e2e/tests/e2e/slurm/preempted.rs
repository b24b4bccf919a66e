//! Jobs of others that are more important take the place of an allocation.

use serde_json::json;
use vk_cmd_e2e::slurm::{self, Contested};

use super::Stage;

/// A fleet of one node that takes a whole machine, from which others may drive it away.
async fn stage(name: &str, contested: Contested, more: &serde_json::Value) -> Option<Stage> {
    let mut slurm = json!({"partition": contested.low, "extraArgs": ["--exclusive"]});
    super::merge(&mut slurm, more);
    // Longer than the pause before a job's second attempt.
    Stage::new(name, &json!({"maxNodes": 1}), &json!({"idleSeconds": 30, "slurm": slurm})).await
}

impl Stage {
    /// Somebody else has a job for the whole machine, which is more important. Its id.
    async fn somebody_comes(&self, contested: Contested) -> String {
        let partition = format!("--partition={}", contested.high);
        let script = "--wrap=exec sleep 1000";
        let submitted = ["--parsable", "--chdir=/", "--output=/dev/null", "--exclusive", &partition, script];
        self.slurm.says("sbatch", &submitted).await.unwrap().trim().to_owned()
    }
}

#[tokio::test]
async fn what_runs_on_an_allocation_that_is_preempted_goes_on_on_its_node_when_that_is_back() {
    let [contested, _] = slurm::CONTESTED;
    let Some(stage) = stage("slurm-preempted", contested, &json!({"requeue": true})).await else { return };
    let job = stage.stays_once("").await;
    let (before, id) = (stage.nodes().await, stage.allocation().await);
    let other = stage.somebody_comes(contested).await;
    // It is told as the end of its node; and no other pilot is submitted for it, for Slurm will run this one again.
    job.until("to have lost its first attempt", |status| status.attempts.iter().any(|one| one.finished_at.is_some()))
        .await;
    stage.gone_from(&before).await;
    stage.slurm.says("scancel", &[&other]).await.unwrap();
    stage.done_again_on(&job, &before, &id).await;
    stage.close().await;
}

#[tokio::test]
async fn preemption_with_a_grace_time_is_heard_by_usr1_and_the_node_has_left_by_then() {
    let [_, contested] = slurm::CONTESTED;
    // Half an hour early: what counts is that it comes with the preemption.
    let Some(stage) = stage("slurm-grace", contested, &json!({"signalSeconds": 1800})).await else { return };
    let job = stage.stays_once("").await;
    let before = stage.nodes().await;
    let other = stage.somebody_comes(contested).await;
    // Slurm says nothing but USR1. That the end has come nearer by an hour, squeue knows.
    stage.gone_from(&before).await;
    stage.slurm.says("scancel", &[&other]).await.unwrap();
    let [first, second] = stage.done_the_second_time(&job).await;
    assert_eq!(first.reason.as_deref(), Some("WalltimeExceeded"), "{first:?}");
    assert_eq!(vec![first.node.clone()], before);
    assert_ne!(first.node, second.node, "by another pilot");
    stage.close().await;
}
