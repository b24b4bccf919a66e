//! When the nodes of this process end: asked of the batch system now and then, told by signals, and told to all parts of a node.
//! What follows from it is decided in [`vk_node_core::ending`].
//!
//! ```text
//!   environment, squeue, qstat ─┐
//!   USR1, TERM, INT ────────────┼──▶ Endings (the process) ──▶ OwnEnd (each node, by its own walltime) ──▶ pods, Node object, metrics
//!   configuration ──────────────┘
//! ```

mod ask;
mod signals;

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tracing::{info, warn};
use vk_node_core::ending::{
    self, Batch, BatchSays, EndFacts, EndPlan, Ends, Left, NodeEnd, Phase, Source, Told, Walltime,
};
use vk_node_core::node::{Lasts, Lives, Nearing};
use vk_record::clock::{self, Clock};

pub(crate) use self::signals::Signals;

/// The longest sleep before the time is looked at again: the clock that counts goes on while the host sleeps, timers do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What the process knows of its end.
pub(crate) struct Endings {
    plan: EndPlan,
    batch: Option<Batch>,
    /// When the process was started, since boot.
    started: Duration,
    known: watch::Sender<Known>,
}

/// What all nodes of the process have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    batch: BatchSays,
    told: Told,
}

impl Endings {
    /// What the environment tells.
    pub(crate) fn new(plan: EndPlan) -> Self {
        let batch = Batch::of(|name| std::env::var(name).ok());
        let now = clock::boot();
        let says = match &batch {
            Some(Batch::Slurm { end_time: Some(at), .. }) => {
                let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
                BatchSays::Nothing.after(Left::For(left), Source::SlurmEnvironment, now)
            }
            Some(Batch::Pbs { walltime: Some(length), .. }) => {
                BatchSays::Nothing.after(Left::For(*length), Source::PbsEnvironment, now)
            }
            Some(Batch::Slurm { .. } | Batch::Pbs { .. } | Batch::Other { .. }) | None => BatchSays::Nothing,
        };
        if let Some(batch) = &batch {
            info!(?batch, "in a job of a batch system");
        }
        Self { plan, batch, started: now, known: watch::Sender::new(Known { batch: says, told: Told::default() }) }
    }

    /// Whether TERM ends the nodes, and their tasks with them.
    pub(crate) fn end_on_term(&self) -> bool {
        self.plan.on_term.ends(self.batch.is_some())
    }

    /// USR1 has come.
    fn noticed(&self) {
        let now = clock::boot();
        info!(
            seconds = self.plan.notice.as_secs(),
            "SIGUSR1: the end is near; so long from now, where nobody says when"
        );
        self.known.send_modify(|known| known.told.notice = known.told.notice.or(Some(now)));
    }

    /// TERM or INT has come, and ends the nodes. The second one says nothing new.
    fn told_to_end(&self) {
        let now = clock::boot();
        info!(kill_wait = self.plan.kill_wait.as_secs(), "told to end: so do the tasks, in so many seconds at most");
        self.known.send_modify(|known| known.told.term = known.told.term.or(Some(now)));
    }

    /// Asks before the first node is registered, where the environment does not say when the end is.
    pub(crate) async fn ask_first(&self) {
        if self.known.borrow().batch == BatchSays::Nothing {
            self.ask().await;
        }
    }

    /// Asks for ever, now and then.
    pub(crate) async fn keep(&self) {
        loop {
            let wait = ending::ask_after(&self.plan, self.known.borrow().batch, clock::boot());
            tokio::time::sleep(wait).await;
            self.ask().await;
        }
    }

    async fn ask(&self) {
        let Some(batch) = &self.batch else { return };
        let (left, source) = match ask::left(batch).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            Err(error) => return warn!("cannot learn how long the job has: {error:#}; what was known holds"),
        };
        let now = clock::boot();
        self.known.send_if_modified(|known| {
            let after = known.batch.after(left, source, now);
            std::mem::replace(&mut known.batch, after) != after
        });
    }

    /// Learns whether a job that was told to end was preempted. That is for people: nothing waits for it.
    async fn ask_why(&self) {
        if let Some(Batch::Slurm { job, .. }) = &self.batch
            && ask::is_preempted(job).await
        {
            self.known.send_modify(|known| known.told.preempted = true);
        }
    }

    /// The end of one node.
    pub(crate) fn of_node(&self, walltime: Walltime, clock: Arc<Clock>) -> OwnEnd {
        let now = watch::Sender::new(self.look(walltime));
        OwnEnd { plan: self.plan.clone(), started: self.started, clock, now }
    }

    fn look(&self, walltime: Walltime) -> Option<Now> {
        let known = *self.known.borrow();
        let ends: Option<Ends> = ending::ends(&walltime, known.batch, self.started);
        let end = NodeEnd::of(&self.plan, ends, known.told)?;
        Some(Now { end, phase: end.phase(clock::boot()) })
    }

    /// Keeps what a node knows of its end, for ever.
    pub(crate) async fn keep_node(&self, walltime: Walltime, own: &OwnEnd) {
        let mut known = self.known.subscribe();
        loop {
            known.mark_unchanged();
            let now = self.look(walltime);
            if own.now.send_if_modified(|before| std::mem::replace(before, now) != now) {
                own.say();
            }
            let boot = clock::boot();
            let next = now.and_then(|now| now.end.next_phase_at(boot)).map(|at| at.saturating_sub(boot));
            let wait = next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
            // Cancel-safe: both only wait. The sender lives as long as this.
            tokio::select! {
                _ = known.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// The end of a node, and how far the node is on the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Now {
    end: NodeEnd,
    phase: Phase,
}

/// The end of one node, now and later. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OwnEnd {
    plan: EndPlan,
    started: Duration,
    clock: Arc<Clock>,
    now: watch::Sender<Option<Now>>,
}

impl OwnEnd {
    fn say(&self) {
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
        let Now { end, .. } = (*self.now.borrow())?;
        let now = self.clock.now();
        Some(EndFacts::of(&end, self.plan.warning, now.boot, |boot| wall(&now, boot)))
    }

    /// For the Node's condition.
    pub(crate) fn nearing(&self) -> Nearing {
        let Some(Now { end, phase }) = *self.now.borrow() else { return Nearing::Unknown };
        let at = wall(&self.clock.now(), end.at);
        match phase {
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
        let changes = self.now.subscribe();
        stream::unfold(changes, async |mut changes| changes.changed().await.ok().map(|()| ((), changes)))
    }

    /// The same, to be waited for.
    pub(crate) fn subscribe(&self) -> Changes {
        Changes(self.now.subscribe())
    }
}

/// Changes of a node's end.
pub(crate) struct Changes(watch::Receiver<Option<Now>>);

impl Changes {
    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// What the wall clock shows at a time since boot.
fn wall(now: &clock::Now, boot: Duration) -> Timestamp {
    let boot = SignedDuration::try_from(boot).unwrap_or(SignedDuration::MAX);
    now.steps.wall(boot).unwrap_or(Timestamp::MAX)
}
