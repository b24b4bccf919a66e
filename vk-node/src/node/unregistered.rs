//! The end of a node that is not registered yet: it was told to end, or its time is over, before the API server knew of it.
//!
//! ```text
//!   told to end ──▶ does anything of it run? ──no──▶ is there an end to tell of? ──no──▶ it ends, and gives its name back
//!                        │ what an earlier start has left         │ of what an earlier start has run
//!                        ▼                                        ▼
//!                    TERM, KILL in time;                      it goes on trying to register, and tells of it;
//!                    why is in the records                    what it cannot tell, the next start does
//! ```

use tracing::{info, warn};
use vk_node_core::config::MemberConfig;
use vk_task::{Origin, TaskView};

use super::member::LOOK_EVERY;
use super::registration::Registration;
use super::shared::Shared;
use crate::ending::OwnEnd;

/// Returns when the node has ended without having been registered: nothing of it runs, and there is nothing to tell.
pub(super) async fn ended(shared: &Shared, config: &MemberConfig, end: &OwnEnd, registration: Option<&Registration>) {
    let mut said = false;
    loop {
        end.closing().await;
        // As long as the pipe has not told what runs, nothing is known. A Node that is there, or may be, is to say that it has ended.
        if shared.mirror.is_live() && registration.is_none_or(|registration| !registration.may_have_node()) {
            let left = left(shared, config);
            if left.is_empty() && end.is_closing() {
                return info!(node = %config.name, "it ends before it was registered: nothing of it runs, and nothing is to be told");
            }
            if !left.is_empty() && !said {
                warn!(
                    node = %config.name,
                    tasks = left.len(),
                    "it is to end, and is not registered: its tasks are ended, and it goes on trying to register, to tell of them; \
                     else its next start does"
                );
                said = true;
            }
            stop(shared, end, &left).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What of the node runs, and what has ended without the API server knowing of it for sure.
fn left(shared: &Shared, config: &MemberConfig) -> Vec<TaskView> {
    let pods = shared.mirror.pods_of(config.name.as_str());
    let tasks = pods.iter().flat_map(|key| shared.mirror.of_pod(&key.uid));
    let is_left = |task: &TaskView| {
        let is_told = task.reported || matches!(task.origin, Origin::Fifo { .. });
        !task.state.is_final() || !is_told
    };
    tasks.filter(is_left).collect()
}

/// Has the pipe end what runs.
async fn stop(shared: &Shared, end: &OwnEnd, tasks: &[TaskView]) {
    let Some(facts) = end.facts() else { return };
    for task in tasks {
        let Some(request) = facts.ends_unregistered(task, |recorded| end.present(recorded)) else { continue };
        match shared.pipe.stop(&task.id, &request).await {
            Ok(task) => shared.mirror.learn(task),
            Err(error) => warn!(task = %task.id, %error, "cannot end it yet; trying again"),
        }
    }
}
