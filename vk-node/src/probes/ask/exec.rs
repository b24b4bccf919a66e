//! A probe that runs a program in the container.

use std::time::Duration;

use tokio::time::timeout;
use vk_api_client::chain;
use vk_node_core::probe::machine::Answer;
use vk_pipe::StreamEvent;
use vk_pipe::client::{ClientError, PipeClient};
use vk_task::stream::StreamEnd;
use vk_task::{End, TaskId};

use super::{MAX_ANSWER_BYTES, seconds};

/// Who asks, in the audit log.
const USER: &str = "system:probe";

/// Runs it to its end. One that takes too long is ended: dropping the stream hangs up.
pub(super) async fn run(pipe: &PipeClient, task: &TaskId, argv: &[String], within: Duration) -> Answer {
    match timeout(within, to_its_end(pipe, task, argv, USER)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::Error { message: chain(&error) },
        Err(_) => Answer::Failure {
            message: format!("command timed out: {:?} timed out after {}", argv.join(" "), seconds(within)),
        },
    }
}

/// Runs it to its end, however long that takes, for `user`.
pub(super) async fn to_its_end(
    pipe: &PipeClient,
    task: &TaskId,
    argv: &[String],
    user: &str,
) -> Result<Answer, ClientError> {
    let (_input, mut output) = pipe.exec(task, argv.to_vec(), false, false, user).await?.split();
    let mut said = Vec::new();
    loop {
        match output.next().await? {
            StreamEvent::Stdout(bytes) | StreamEvent::Stderr(bytes) => {
                // The rest is read too, and dropped: the program must not wait for us.
                let room = MAX_ANSWER_BYTES.saturating_sub(said.len()).min(bytes.len());
                said.extend_from_slice(bytes.get(..room).unwrap_or_default());
            }
            StreamEvent::Closed(_) => {}
            StreamEvent::Ended(end) => return Ok(answer(end, &said)),
        }
    }
}

fn answer(end: StreamEnd, said: &[u8]) -> Answer {
    match end {
        StreamEnd::Ended { end: End::Exited { code: 0 } } => Answer::Success,
        StreamEnd::Ended { end: End::Exited { .. } | End::Signaled { .. } } => {
            Answer::Failure { message: String::from_utf8_lossy(said).into_owned() }
        }
        // As the kubelet with containerd: what cannot be executed says nothing about the container.
        StreamEnd::Ended { end: End::NotStarted { message, .. } } => Answer::Error { message },
        StreamEnd::Failed { error } => Answer::Error { message: error.message },
        StreamEnd::Closed => Answer::Error { message: "the stream was closed before the program had ended".into() },
    }
}
