//! Letting go of the pipe's records.

use k8s_openapi::api::core::v1::PodStatus;
use vk_task::{Origin, TaskView};

use super::course::is_terminal;
use super::{Decision, Step};
use crate::look::Look;
use crate::runs::{ID_SCHEME, all_published};

/// Lets go of records. The last run and the one before it are kept, for `kubectl logs` and `kubectl logs --previous`;
/// how long so is for the pipe to decide once it knows that their ends have been told of.
pub(super) fn clear_up(look: &Look<'_>, decision: &mut Decision) {
    for task in look.facts.tasks.iter().filter(|t| t.state.is_final()) {
        if look.histories.iter().any(|h| h.outdated.contains(&task.id)) {
            decision.steps.push(Step::Forget(task.id.clone()));
        } else if !task.reported && is_told(task, look.facts.published) {
            decision.steps.push(Step::Reported(task.id.clone()));
        }
    }
}

/// Whether the API server has the end of `task`, which is final.
fn is_told(task: &TaskView, published: &PodStatus) -> bool {
    match &task.origin {
        // A pod's status has no place for it, and whoever wrote the line cannot wait for it.
        Origin::Fifo { .. } => true,
        // Nothing is added to a terminal status.
        Origin::Pod(_) if is_terminal(published) => true,
        Origin::Pod(_) => {
            let states = all_published(published).flat_map(|c| [&c.state, &c.last_state]);
            states.flatten().filter_map(|state| state.terminated.as_ref()).any(|terminated| {
                let id = terminated.container_id.as_deref().and_then(|id| id.strip_prefix(ID_SCHEME));
                id == Some(task.id.as_str())
            })
        }
    }
}
