//! The log of one pod, line by line, however often its stream is cut.
//!
//! ```text
//!   open, from where it was read to ──▶ lines ──▶ its end ──┬─ the process had ended before it was opened ──▶ done
//!     ▲                                                     │
//!     └──────────── a pause, if nothing came ◀──────────────┘ else: the stream was cut, or the process has just ended
//! ```

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::sync::{mpsc, watch};
use vk_cli_core::logs::{Cursor, Life, PodOfJob};

/// The shortest pause before a stream is opened again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
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

/// Reads the log of a pod to its end.
pub(crate) async fn read(
    pods: Api<Pod>,
    pod: Arc<PodOfJob>,
    mut life: watch::Receiver<Life>,
    wanted: Wanted,
    lines: mpsc::Sender<Line>,
) -> Result<()> {
    let mut cursor = Cursor::default();
    let (mut pause, mut in_vain) = (PAUSES.0, 0_u32);
    let mut is_first = true;
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
                let (came, cut) = drain(stream, &pod, &mut cursor, &lines).await?;
                match cut {
                    None if has_ended || !wanted.follow => return Ok(()),
                    None => (came, None),
                    Some(error) => (came, Some(anyhow!(error))),
                }
            }
            // The pod is gone, and its log with it.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 401 | 403) => {
                return Err(anyhow::Error::new(kube::Error::Api(status))
                    .context(format!("cannot read the log of {}", pod.name)));
            }
            Err(error) => (false, Some(anyhow!(error))),
        };
        in_vain = if came { 0 } else { in_vain.saturating_add(1) };
        if let Some(error) = why.filter(|_| !wanted.follow && in_vain >= TRIES) {
            return Err(error.context(format!("cannot read the log of {}", pod.name)));
        }
        pause = if came { PAUSES.0 } else { pause.saturating_mul(2).min(PAUSES.1) };
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

/// Sends the lines of a stream on; whether some came, and what has cut it.
async fn drain(
    stream: impl AsyncBufRead,
    pod: &Arc<PodOfJob>,
    cursor: &mut Cursor,
    lines: &mpsc::Sender<Line>,
) -> Result<(bool, Option<std::io::Error>)> {
    let mut stream = std::pin::pin!(stream);
    let (mut buffer, mut came) = (Vec::new(), false);
    loop {
        buffer.clear();
        match stream.read_until(b'\n', &mut buffer).await {
            Ok(0) => return Ok((came, None)),
            Ok(_) => {
                let whole = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
                if let Some((at, text)) = cursor.take(whole) {
                    came = true;
                    let line = Line { pod: Arc::clone(pod), at, text: text.to_vec() };
                    // Nobody reads any more: whoever has closed the channel says why.
                    lines.send(line).await.map_err(|_| anyhow!("nobody reads the lines"))?;
                }
            }
            Err(error) => return Ok((came, Some(error))),
        }
    }
}
