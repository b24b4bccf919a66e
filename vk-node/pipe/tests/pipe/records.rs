//! What becomes of the records of tasks that have ended.

use std::time::Duration;

use vk_task::ErrorReason;

use crate::Test;
use crate::support::{Host, block_on, exec, id, stop_in};

pub(crate) const TESTS: &[Test] = &[("that_an_end_was_told_of_is_remembered", reported)];

fn reported() {
    block_on(async {
        let mut host = Host::new().await;
        let id = id("told");
        let reason = |e: vk_pipe::ClientError| e.refusal().unwrap().reason;
        assert_eq!(reason(host.client.reported(&id).await.unwrap_err()), ErrorReason::NotFound);
        host.client.start(&id, &exec(&["sleep", "1000"])).await.unwrap();
        assert_eq!(reason(host.client.reported(&id).await.unwrap_err()), ErrorReason::Conflict);
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        host.ended(&id).await;
        assert!(!host.client.get(&id).await.unwrap().reported);
        for _ in 0..2 {
            host.client.reported(&id).await.unwrap();
            assert!(host.client.get(&id).await.unwrap().reported);
        }
        host.kill_pipe();
        host.start_pipe().await;
        assert!(host.client.get(&id).await.unwrap().reported);
    });
}
