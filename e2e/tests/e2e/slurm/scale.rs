//! A fleet that grows and shrinks with its queue.

use serde_json::json;

use vk_cmd_crds::PilotsStatus;

use super::Stage;

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
