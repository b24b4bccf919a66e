//! Doing what a hook of a container's life asks for: the kubelet's `lifecycle/handlers.go`, with the means of the probes.

use tracing::debug;
use vk_api_client::chain;
use vk_node_core::admit::HookAction;
use vk_node_core::probe::machine::Answer;
use vk_pipe::client::ClientError;
use vk_task::ErrorReason;

use super::dial::PipeDialer;
use super::{Means, exec, http};

/// Who asks, in the audit log.
const USER: &str = "system:hook";

/// How a hook went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// It could not be done, or has failed.
    Failed(String),
    /// The way to it broke. That says nothing of it: it is to be done again.
    Interrupted(String),
}

/// Does it. It has no time limit of its own: the grace of the container ends it, or the end of the container.
pub(crate) async fn run(action: &HookAction, means: &Means<'_>) -> Outcome {
    match action {
        HookAction::Exec(argv) => match exec::to_its_end(means.pipe, means.task, argv, USER).await {
            Ok(Answer::Success | Answer::Warning { .. }) => Outcome::Done,
            Ok(Answer::Failure { message }) => {
                // What it has printed is not for everybody who sees the pod.
                debug!(task = %means.task, "a hook failed, and said: {message}");
                Outcome::Failed(format!("{:?} did not succeed", argv.join(" ")))
            }
            Ok(Answer::Error { message }) => Outcome::Failed(message),
            Err(ClientError::Refused(error)) if is_final(error.reason) => Outcome::Failed(error.message),
            Err(error) => Outcome::Interrupted(chain(&error)),
        },
        HookAction::Http(action) => {
            let dialer = PipeDialer { pipe: means.pipe.clone(), pod: means.pod.clone() };
            match http::any_answer(&dialer, action, means.address).await {
                Ok(()) => Outcome::Done,
                Err(http::Failed::There(why)) => Outcome::Failed(why),
                Err(http::Failed::Here(why)) => Outcome::Interrupted(why),
            }
        }
        HookAction::Sleep(time) => {
            tokio::time::sleep(time.unsigned_abs()).await;
            Outcome::Done
        }
    }
}

/// Whether asking again would come to the same.
fn is_final(reason: ErrorReason) -> bool {
    match reason {
        ErrorReason::Invalid | ErrorReason::Denied | ErrorReason::NotFound | ErrorReason::Conflict => true,
        ErrorReason::NoSpace | ErrorReason::Internal => false,
    }
}
