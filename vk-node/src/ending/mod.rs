//! When the nodes of this process end: asked of the batch system now and then, told by signals, and told to all parts of a node.
//! What follows from it is decided in [`vk_node_core::ending`].
//!
//! ```text
//!   environment, squeue, qstat ─┐
//!   USR1, TERM, INT ────────────┼──▶ Endings (the process) ──▶ OwnEnd (each node, by its own walltime) ──▶ pods, Node object, metrics
//!   configuration ──────────────┘
//! ```

mod ask;
mod kept;
mod own;
mod signals;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{info, warn};
use vk_api_client::chain;
use vk_node_core::ending::{
    self, Batch, BatchSays, EndPlan, Ends, Former, Here, Left, NodeEnd, Source, Stay, Told, Walltime,
};
use vk_record::clock::{self, Clock};
use vk_record::{Dir, RecordError};

use self::kept::Kept;
use self::own::Now;
pub(crate) use self::own::OwnEnd;
pub(crate) use self::signals::Signals;

/// The longest sleep before the time is looked at again: the clock that counts goes on while the host sleeps, timers do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// What the process knows of its end.
pub(crate) struct Endings {
    plan: EndPlan,
    batch: Option<Batch>,
    known: watch::Sender<Known>,
    /// The stay, once the pipe's directory is ours.
    kept: Mutex<Option<Kept>>,
    /// Whether the site's administrator has the nodes take nothing new.
    drained: watch::Sender<bool>,
}

/// What all nodes of the process have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// When the stay began: lengths count from there.
    started: Duration,
    batch: BatchSays,
    told: Told,
    /// The stay before, if that was told to end.
    former: Option<Former>,
}

impl Endings {
    /// What the environment tells.
    pub(crate) fn new(plan: EndPlan) -> Self {
        let batch = Batch::of(|name| std::env::var(name).ok());
        if let Some(batch) = &batch {
            info!(?batch, "in a job of a batch system");
        }
        let started = clock::boot();
        let known = Known { started, batch: environment(batch.as_ref(), started), told: Told::default(), former: None };
        Self {
            plan,
            batch,
            known: watch::Sender::new(known),
            kept: Mutex::default(),
            drained: watch::Sender::new(false),
        }
    }

    /// Goes on with the stay that is kept in the pipe's directory, which must be ours, or begins one there. `lengths` are those of the
    /// nodes, as far as they count from their start.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(crate) fn resume(&self, dir: Dir, lengths: impl Iterator<Item = Walltime>) -> Result<(), RecordError> {
        let job = self.batch.as_ref().map(Batch::key);
        let by_batch = match &self.batch {
            Some(Batch::Pbs { walltime, .. }) => *walltime,
            Some(Batch::Slurm { .. } | Batch::Other { .. }) | None => None,
        };
        let lasts = lengths.filter_map(|length| length.said.or(length.assumed)).chain(by_batch).max();
        let lasts = lasts.filter(|length| !length.is_zero());
        let now = clock::boot();
        let kept = Kept::resume(dir, |kept, boot_id| {
            Stay::resumed(kept, &Here { boot_id, job: job.as_deref(), lasts, kill_wait: self.plan.kill_wait, now })
        })?;
        let stay = kept.stay();
        let ago = now.saturating_sub(stay.started()).as_secs();
        if ago > 0 {
            info!(seconds_ago = ago, "started anew: how long the node is there counts from its first start");
        }
        if stay.term().is_some() {
            info!("told to end before it was started anew: so it does");
        }
        self.known.send_modify(|known| {
            known.started = stay.started();
            known.told.term = known.told.term.or(stay.term());
            known.former = stay.former();
            if by_batch.is_some() && known.batch != BatchSays::Never {
                known.batch = environment(self.batch.as_ref(), stay.started());
            }
        });
        *self.lock() = Some(kept);
        // It may have come before there was a place to keep it.
        self.keep_told();
        Ok(())
    }

    /// All nodes have left: the stay is over.
    pub(crate) fn left(&self) {
        if let Some(kept) = self.lock().take() {
            kept.end();
        }
    }

    /// Keeps it for the next start that the nodes were told to end.
    fn keep_told(&self) {
        let term = self.known.borrow().told.term;
        if let (Some(term), Some(kept)) = (term, &mut *self.lock()) {
            kept.change(|stay| Stay::told(stay, term));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// From now on the nodes take nothing new, or again what comes.
    pub(crate) fn drain(&self, drained: bool) {
        self.drained.send_replace(drained);
    }

    /// TERM or INT has come, and ends the nodes. The second one says nothing new.
    pub(crate) fn told_to_end(&self) {
        let now = clock::boot();
        self.known.send_modify(|known| known.told.term = known.told.term.or(Some(now)));
        // Whoever reads that it was told may rely on its being kept.
        self.keep_told();
        info!(kill_wait = self.plan.kill_wait.as_secs(), "told to end: so do the tasks, in so many seconds at most");
    }

    /// Returns when the nodes were told to end.
    pub(crate) async fn told(&self) {
        // The sender is here.
        let _ = self.known.subscribe().wait_for(|known| known.told.term.is_some()).await;
    }

    /// Returns when the nodes were told to end, and the time is over that there is for their tasks.
    pub(crate) async fn told_and_over(&self) {
        self.told().await;
        let end = NodeEnd::of(&self.plan, None, self.known.borrow().told);
        let left = end.map_or(Duration::ZERO, |end| end.kill_by.saturating_sub(clock::boot()));
        tokio::time::sleep(left).await;
    }

    /// Asks before the first node is registered, where the environment does not say when the end is.
    pub(crate) async fn ask_first(&self) {
        if self.known.borrow().batch == BatchSays::Nothing {
            self.ask().await;
        }
    }

    /// Asks for ever, now and then, and when USR1 comes: the end may have come nearer all of a sudden, as that of a job which is
    /// preempted does.
    pub(crate) async fn keep(&self) {
        let mut known = self.known.subscribe();
        let mut noticed = None;
        loop {
            let wait = ending::ask_after(&self.plan, self.known.borrow().batch, clock::boot());
            // Cancel-safe: both only wait. The sender is here.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = known.wait_for(|known| known.told.notice != noticed) => {}
            }
            noticed = self.known.borrow().told.notice;
            self.ask().await;
        }
    }

    async fn ask(&self) {
        let Some(batch) = &self.batch else { return };
        let (left, source) = match ask::left(batch).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return,
            Err(error) => return warn!("cannot learn how long the job has: {}; what was known holds", chain(&*error)),
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
        let Known { started, former, .. } = *self.known.borrow();
        OwnEnd {
            plan: self.plan.clone(),
            started,
            former,
            ends_on_term: self.end_on_term(),
            clock,
            now,
            drained: self.drained.subscribe(),
        }
    }

    fn look(&self, walltime: Walltime) -> Option<Now> {
        let known = *self.known.borrow();
        let ends: Option<Ends> = ending::ends(&walltime, known.batch, known.started);
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

/// What the environment says of a job whose first node was started then.
fn environment(batch: Option<&Batch>, started: Duration) -> BatchSays {
    match batch {
        Some(Batch::Slurm { end_time: Some(at), .. }) => {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            BatchSays::Nothing.after(Left::For(left), Source::SlurmEnvironment, clock::boot())
        }
        Some(Batch::Pbs { walltime: Some(length), .. }) => {
            BatchSays::Nothing.after(Left::For(*length), Source::PbsEnvironment, started)
        }
        Some(Batch::Slurm { .. } | Batch::Pbs { .. } | Batch::Other { .. }) | None => BatchSays::Nothing,
    }
}
