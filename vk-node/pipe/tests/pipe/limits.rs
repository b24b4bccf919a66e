//! What a task may use at most, and what becomes of it when that is not enough.

use std::fs;

use vk_task::{End, LimitKind, Limits, TaskId, TaskSpec, TaskState};

use crate::Test;
use crate::support::{Host, block_on, eventually, id, script};

pub(crate) const TESTS: &[Test] =
    &[("a_task_whose_wall_time_is_over_is_told_so", wall_time), ("wall_time_needs_no_pipe", wall_time_without_pipe)];

fn limited(text: &str, limits: Limits) -> TaskSpec {
    TaskSpec { limits, ..script(text) }
}

/// How a task ended, and for which limit.
async fn outcome(host: &Host, id: &TaskId) -> (End, Option<LimitKind>) {
    match host.until(id, TaskState::is_final).await.state {
        TaskState::Ended { end, exceeded, .. } => (end, exceeded),
        other => panic!("{id} is {other:?}"),
    }
}

fn one_second() -> Limits {
    Limits { wall_seconds: Some(1), ..Limits::default() }
}

const SAYS_GOODBYE: &str =
    "trap 'echo term > $HOME/told; exit 7' TERM; touch $HOME/ready; while :; do sleep 1000; done";

fn wall_time() {
    block_on(async {
        let host = Host::new().await;
        let id = id("long");
        host.client.start(&id, &limited(SAYS_GOODBYE, one_second())).await.unwrap();
        assert_eq!(outcome(&host, &id).await, (End::Exited { code: 7 }, Some(LimitKind::WallTime)));
        assert_eq!(fs::read_to_string(host.file("told")).unwrap(), "term\n");
        // One that ends before is not touched by it.
        assert_eq!(host.run("short", "exit 3").await, End::Exited { code: 3 });
    });
}

fn wall_time_without_pipe() {
    block_on(async {
        let mut host = Host::new().await;
        let id = id("alone");
        host.client.start(&id, &limited(SAYS_GOODBYE, one_second())).await.unwrap();
        host.running(&id).await;
        host.kill_pipe();
        let exit = host.directory().join("tasks/alone/exit.json");
        eventually("the shim ends it", || exit.exists()).await;
        assert_eq!(fs::read_to_string(host.file("told")).unwrap(), "term\n");
        host.start_pipe().await;
        assert_eq!(outcome(&host, &id).await, (End::Exited { code: 7 }, Some(LimitKind::WallTime)));
    });
}
