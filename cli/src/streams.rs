//! The log of one pod, line by line, however often its stream is cut.
//!
//! ```text
//!   open, from where it was read to ──▶ lines ──▶ its end ──┬─ the process had ended before it was opened, and nothing new came ──▶ done
//!     ▲                                                     │
//!     └──────────── a pause, if nothing came ◀──────────────┘ else: the stream was cut, or the process has just ended
//! ```

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::{mpsc, watch};
use vk_api_client::chain;
use vk_cli_core::logs::{Cursor, Life, PodOfJob};
use vk_cli_core::refusals::{self, Refusals};
use vk_cli_core::tries::Tries;

use crate::cluster::Cluster;
use crate::screen::say;

/// How often it is tried in vain, where nobody waits for what is still to come.
const TRIES: u32 = 3;

/// A line of a log.
pub(crate) struct Line {
    pub(crate) pod: Arc<PodOfJob>,
    /// When it was written, if that is known.
    pub(crate) at: Option<Timestamp>,
    /// The line, without its line feed.
    pub(crate) text: Vec<u8>,
}

/// What of a log is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// What is still to come, too.
    pub(crate) follow: bool,
    /// The last lines only.
    pub(crate) tail: Option<i64>,
    /// Of these seconds only.
    pub(crate) since: Option<i64>,
}

/// Reads the log of a pod to its end. Whether all of it was read: if not, it has been told.
pub(crate) async fn read(
    cluster: Cluster,
    pod: Arc<PodOfJob>,
    mut life: watch::Receiver<Life>,
    wanted: Wanted,
    lines: mpsc::Sender<Line>,
) -> Result<bool> {
    let pods: Api<Pod> = cluster.namespaced();
    let mut cursor = Cursor::default();
    let (mut refusals, mut tries) = (Refusals::after_an_answer(), Tries::default());
    let mut is_first = true;
    // What stood at the end of the stream before, without a line feed.
    let mut open_line = Vec::new();
    loop {
        let has_ended = *life.borrow_and_update() >= Life::Ended;
        let since = cursor.since();
        let params = LogParams {
            follow: wanted.follow && !has_ended,
            timestamps: true,
            since_time: since,
            since_seconds: wanted.since.filter(|_| since.is_none()),
            tail_lines: wanted.tail.filter(|_| is_first),
            ..LogParams::default()
        };
        let (came, why) = match pods.log_stream(&pod.name, &params).await {
            Ok(stream) => {
                is_first = false;
                refusals.answered();
                let Drained { came, rest, cut } = drain(stream, &pod, &mut cursor, &lines).await?;
                let is_seen_again = !came && rest == open_line;
                // A stream that was cut between the API server and the node ends like one that was read to its end. So the log of a
                // process that has ended is at its end when it was asked for once more, and nothing came.
                if cut.is_none()
                    && (has_ended && (is_seen_again || wanted.tail.is_some()) || !has_ended && !wanted.follow)
                {
                    send_rest(&rest, &pod, &mut cursor, &lines).await?;
                    return Ok(true);
                }
                open_line = rest;
                (came || cut.is_none() && has_ended, cut.map(|error| anyhow!(error)))
            }
            // The pod is gone, and its log with it. But a node that has just been started says that, too, of pods that it has not heard of
            // yet, as the kubelet does.
            Err(kube::Error::Api(status)) if status.code == 404 && is_gone(&cluster, &pod).await => return Ok(true),
            Err(kube::Error::Api(status)) => {
                let is_refused = matches!(status.code, 401 | 403);
                let advice = refusals::advice(status.code);
                let error = anyhow::Error::new(kube::Error::Api(status.clone()));
                if !refusals.may_change(Some(status.code), Instant::now()) {
                    let why = advice.map_or_else(|| format!("cannot read the log of {}", pod.name), str::to_owned);
                    return Err(error.context(why));
                }
                // The API server answers, and the node does not: the job's end is known, and is not held up for its output.
                if has_ended && !is_refused && tries.are_over(Instant::now()) {
                    say(&format!("the rest of the output of {} cannot be read: {}", pod.name, in_words(&error)));
                    return Ok(false);
                }
                (false, Some(error))
            }
            Err(error) => (false, Some(anyhow!(error))),
        };
        if came {
            tries.succeed();
        } else {
            tries.fail(Instant::now());
        }
        if let Some(error) = why {
            if !wanted.follow && tries.in_vain() >= TRIES {
                return Err(error.context(format!("cannot read the log of {}", pod.name)));
            }
            if tries.in_vain() == TRIES {
                say(&format!(
                    "the output of {} cannot be read now, and is asked for again: {}",
                    pod.name,
                    in_words(&error)
                ));
            }
        }
        if came && has_ended {
            continue;
        }
        let pause = tries.pause();
        tokio::select! {
            // Both only say that it is time to look again.
            () = tokio::time::sleep(pause) => {}
            changed = life.changed(), if !has_ended => {
                // Nobody tells any more: then it is as it was.
                if changed.is_err() { tokio::time::sleep(pause).await; }
            }
        }
    }
}

/// Whether the API server says that there is no such pod any more. One that says nothing is asked another time.
async fn is_gone(cluster: &Cluster, pod: &PodOfJob) -> bool {
    let pods: Api<Pod> = cluster.namespaced();
    let found = cluster.call("ask for a pod of the job", pods.get_metadata_opt(&pod.name)).await;
    found.is_ok_and(|found| found.and_then(|there| there.metadata.uid).as_deref() != Some(&*pod.uid))
}

/// What the API server has said, or why it has said nothing.
fn in_words(error: &anyhow::Error) -> String {
    match error.downcast_ref::<kube::Error>() {
        Some(kube::Error::Api(status)) => status.message.trim().to_owned(),
        _ => chain(&**error),
    }
}

/// What has come of a stream.
struct Drained {
    /// Whether there were lines that had not been read before.
    came: bool,
    /// What stood at its end without a line feed: a line that is not at its end yet, or one that was cut.
    rest: Vec<u8>,
    /// What has cut it.
    cut: Option<std::io::Error>,
}

/// Sends the lines of a stream on.
async fn drain(
    stream: impl AsyncBufRead,
    pod: &Arc<PodOfJob>,
    cursor: &mut Cursor,
    lines: &mpsc::Sender<Line>,
) -> Result<Drained> {
    let mut stream = std::pin::pin!(stream);
    let (mut buffer, mut came) = (Vec::new(), false);
    loop {
        buffer.clear();
        match stream.read_until(b'\n', &mut buffer).await {
            Ok(0) => return Ok(Drained { came, rest: Vec::new(), cut: None }),
            Ok(_) => match buffer.strip_suffix(b"\n") {
                Some(whole) => came |= send(whole, pod, cursor, lines).await?,
                None => return Ok(Drained { came, rest: buffer, cut: None }),
            },
            Err(error) => return Ok(Drained { came, rest: Vec::new(), cut: Some(error) }),
        }
    }
}

/// Sends a line on, unless it has been read before.
async fn send(line: &[u8], pod: &Arc<PodOfJob>, cursor: &mut Cursor, lines: &mpsc::Sender<Line>) -> Result<bool> {
    let Some((at, text)) = cursor.take(line) else { return Ok(false) };
    let line = Line { pod: Arc::clone(pod), at, text: text.to_vec() };
    // Nobody reads any more: whoever has closed the channel says why.
    lines.send(line).await.map_err(|_| anyhow!("nobody reads the lines"))?;
    Ok(true)
}

/// Sends what stands at the very end without a line feed.
async fn send_rest(rest: &[u8], pod: &Arc<PodOfJob>, cursor: &mut Cursor, lines: &mpsc::Sender<Line>) -> Result<()> {
    if !rest.is_empty() {
        send(rest, pod, cursor, lines).await?;
    }
    Ok(())
}
