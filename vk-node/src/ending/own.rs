//! The end of one node, as it is known to all parts of it.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tracing::info;
use vk_node_core::ending::{Came, EndFacts, EndPlan, Former, JobTerm, NodeEnd, Phase, SHUTDOWN, TERMINATED};
use vk_node_core::node::{Lasts, Lives, Nearing};
use vk_record::clock::{self, Clock};

/// The end of a node, and how far the node is on the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    pub(super) end: NodeEnd,
    pub(super) phase: Phase,
}

/// The end of one node, now and later. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OwnEnd {
    pub(super) plan: EndPlan,
    /// When its stay began, and the one before that was told to end.
    pub(super) started: Duration,
    pub(super) former: Option<Former>,
    /// Whether TERM ends it, and its tasks with it.
    pub(super) ends_on_term: bool,
    pub(super) clock: Arc<Clock>,
    pub(super) now: watch::Sender<Option<Now>>,
    /// Whether the site's administrator has the node take nothing new.
    pub(super) drained: watch::Receiver<bool>,
}

impl OwnEnd {
    pub(super) fn say(&self) {
        match *self.now.borrow() {
            Some(Now { end, phase }) => info!(
                left = end.at.saturating_sub(clock::boot()).as_secs(),
                by = end.source.words(),
                ?phase,
                "the node ends in so many seconds"
            ),
            None => info!("no end of the node is known"),
        }
    }

    /// For deciding about pods.
    pub(crate) fn facts(&self) -> Option<EndFacts> {
        let end = self.now.borrow().map(|now| now.end);
        let is_drained = *self.drained.borrow();
        if end.is_none() && !is_drained {
            return None;
        }
        let now = self.clock.now();
        let facts = end.map(|end| EndFacts::of(&end, self.plan.warning, now.boot, |boot| wall(&now, boot)));
        if is_drained { Some(EndFacts::drained(facts, wall(&now, now.boot), now.boot)) } else { facts }
    }

    /// What the clock that runs now would have shown when `recorded` was recorded.
    pub(crate) fn present(&self, recorded: Timestamp) -> Timestamp {
        self.clock.present(recorded)
    }

    /// For deciding whose doing it is that something has ended.
    pub(crate) fn job_term(&self) -> JobTerm {
        let told = self.now.borrow().filter(|now| now.end.at_once);
        let came = match (told, self.former) {
            (None, None) => None,
            (Some(Now { end, .. }), _) => {
                let now = self.clock.now();
                let EndFacts { cause, message, .. } = EndFacts::of(&end, None, now.boot, |boot| wall(&now, boot));
                Some(Came { at: wall(&now, end.ending_from), until: None, reason: cause.pod_reason(), message })
            }
            (None, Some(Former { term, until })) => {
                let now = self.clock.now();
                let (at, until) = (wall(&now, term), Some(wall(&now, until)));
                Some(Came { at, until, reason: TERMINATED, message: SHUTDOWN.to_owned() })
            }
        };
        JobTerm { is_shared: self.ends_on_term, came }
    }

    /// For the Node's condition.
    pub(crate) fn nearing(&self) -> Nearing {
        let is_drained = *self.drained.borrow();
        let Some(Now { end, phase }) = *self.now.borrow() else {
            return if is_drained { Nearing::Drained } else { Nearing::Unknown };
        };
        let at = wall(&self.clock.now(), end.at);
        match phase {
            Phase::Serving if is_drained => Nearing::Drained,
            Phase::Serving => Nearing::Far { source: end.source, at },
            Phase::Ending | Phase::Closing => Nearing::Near { cause: end.cause, source: end.source, at },
        }
    }

    /// For the Node's labels and annotations.
    pub(crate) fn lives(&self) -> Lives {
        let now = self.clock.now();
        let end = self.now.borrow().map(|now| now.end);
        let lasts =
            |end: NodeEnd| Lasts { whole: end.at.saturating_sub(self.started), left: end.at.saturating_sub(now.boot) };
        Lives { lasts: end.map(lasts), ends: end.map(|end| wall(&now, end.at)), margin: self.plan.margin.as_secs() }
    }

    /// When the node ends, by the wall clock, and whether that is near: for metrics.
    pub(crate) fn measured(&self) -> (Option<Timestamp>, bool) {
        let now = *self.now.borrow();
        let at = now.map(|now| wall(&self.clock.now(), now.end.at));
        (at, now.is_some_and(|now| now.phase > Phase::Serving))
    }

    /// Waits until the node takes nothing new, and is to go when nothing of it is left.
    pub(crate) async fn closing(&self) {
        let is_closing = |now: &Option<Now>| now.is_some_and(|now| now.phase == Phase::Closing);
        // The sender is here.
        let _ = self.now.subscribe().wait_for(is_closing).await;
    }

    /// Whether that is so now: an end may move away again.
    pub(crate) fn is_closing(&self) -> bool {
        self.now.borrow().is_some_and(|now| now.phase == Phase::Closing)
    }

    /// Tells of each change.
    pub(crate) fn changes(&self) -> impl Stream<Item = ()> + Send + use<> {
        stream::unfold(self.subscribe(), async |mut changes| {
            changes.next().await;
            Some(((), changes))
        })
    }

    /// The same, to be waited for.
    pub(crate) fn subscribe(&self) -> Changes {
        Changes { now: self.now.subscribe(), drained: self.drained.clone() }
    }
}

/// Changes of a node's end.
pub(crate) struct Changes {
    now: watch::Receiver<Option<Now>>,
    drained: watch::Receiver<bool>,
}

impl Changes {
    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        // Cancel-safe: a change that is not taken now is there the next time. Where nobody is left to change anything, nothing comes.
        tokio::select! {
            Ok(()) = self.now.changed() => {}
            Ok(()) = self.drained.changed() => {}
            else => std::future::pending().await,
        }
    }
}

/// What the wall clock shows at a time since boot.
fn wall(now: &clock::Now, boot: Duration) -> Timestamp {
    let boot = SignedDuration::try_from(boot).unwrap_or(SignedDuration::MAX);
    now.steps.wall(boot).unwrap_or(Timestamp::MAX)
}
