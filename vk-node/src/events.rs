//! Sending events. They are news for people, not state: one that cannot be sent is dropped, and nothing waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kube::{Client, Resource as _};
use kube_runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use vk_api_client::chain;
use vk_node_core::events::{Note, NoteKind};

/// How many events may wait. More than that come only in a storm, in which each of them says the same.
const WAITING: usize = 512;
/// How many are being sent at a time.
const AT_ONCE: usize = 4;
/// The longest that one may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses after failed tries; an event that fails after them is dropped.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];
/// Who sends them, as the kubelet calls itself: what filters for it finds ours.
const CONTROLLER: &str = "kubelet";

/// The way in: cheap to clone, never waits.
#[derive(Clone)]
pub(crate) struct Events {
    queue: mpsc::Sender<(ObjectReference, Note)>,
    overflowing: Arc<AtomicBool>,
}

/// What sends them.
pub(crate) struct Sender {
    client: Client,
    reporter: Reporter,
    /// Repeated warnings are counted in one event. It remembers each for some minutes, so only they go through it.
    series: Recorder,
    queue: mpsc::Receiver<(ObjectReference, Note)>,
}

/// The events of the node `name`.
pub(crate) fn channel(client: Client, name: &str) -> (Events, Sender) {
    let (sender, queue) = mpsc::channel(WAITING);
    let reporter = Reporter { controller: CONTROLLER.to_owned(), instance: Some(name.to_owned()) };
    let series = Recorder::new(client.clone(), reporter.clone());
    (Events { queue: sender, overflowing: Arc::default() }, Sender { client, reporter, series, queue })
}

impl Events {
    /// Tells of a pod.
    pub(crate) fn pod(&self, pod: &Pod, note: Note) {
        let reference = ObjectReference { field_path: note.field.clone(), ..pod.object_ref(&()) };
        self.tell(reference, note);
    }

    /// Tells of the node. As the kubelet, by its name in place of its UID: `kubectl describe node` looks for that.
    pub(crate) fn node(&self, name: &str, note: Note) {
        let node = Node {
            metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
            ..Node::default()
        };
        let reference = ObjectReference { uid: Some(name.to_owned()), ..node.object_ref(&()) };
        self.tell(reference, note);
    }

    fn tell(&self, about: ObjectReference, note: Note) {
        let full = self.queue.clone().try_send((about, note)).is_err_and(|error| error.is_full());
        if full && !self.overflowing.swap(true, Ordering::Relaxed) {
            warn!("more events wait than can be sent: some are dropped");
        } else if !full {
            self.overflowing.store(false, Ordering::Relaxed);
        }
    }
}

impl Sender {
    /// Sends what comes, until nobody is left to tell anything.
    pub(crate) async fn run(self) {
        let Self { client, reporter, series, queue } = self;
        let send = |(about, note): (ObjectReference, Note)| {
            let recorder = match note.kind {
                NoteKind::Normal => Recorder::new(client.clone(), reporter.clone()),
                NoteKind::Warning => series.clone(),
            };
            async move { send(&recorder, &about, note).await }
        };
        queue.for_each_concurrent(AT_ONCE, send).await;
    }
}

async fn send(recorder: &Recorder, about: &ObjectReference, note: Note) {
    let Note { kind, reason, message, field: _ } = note;
    let event = Event {
        type_: match kind {
            NoteKind::Normal => EventType::Normal,
            NoteKind::Warning => EventType::Warning,
        },
        // The API wants a verb for what was done; a reason is that already.
        action: reason.clone(),
        reason,
        note: Some(shortened(message)),
        secondary: None,
    };
    for pause in PAUSES.into_iter().map(Some).chain([None]) {
        match timeout(CALL_TIMEOUT, recorder.publish(&event, about)).await {
            Ok(Ok(())) => return,
            // Its namespace is going, or it makes no sense there: another try changes nothing.
            Ok(Err(kube::Error::Api(status))) if (400..500).contains(&status.code) && status.code != 429 => {
                debug!(reason = event.reason, "an event was refused: {}", status.message);
                return;
            }
            Ok(Err(error)) => debug!(reason = event.reason, "an event could not be sent: {}", chain(&error)),
            Err(_) => debug!(reason = event.reason, "an event could not be sent in time"),
        }
        match pause {
            Some(pause) => sleep(pause).await,
            None => warn!(reason = event.reason, "an event was dropped: the API server does not take it"),
        }
    }
}

/// The API takes notes of less than 1 kB.
fn shortened(mut message: String) -> String {
    const MOST: usize = 1000;
    if message.len() > MOST {
        let end = (0..=MOST).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_at_a_character() {
        assert_eq!(shortened("short".into()), "short");
        let cut = shortened("ü".repeat(800));
        assert!(cut.len() <= 1003 && cut.ends_with("ü…"), "{}", cut.len());
    }
}
