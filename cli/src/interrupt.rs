//! Ctrl-C: see [`vk_cli_core::interrupt`].

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};
use vk_cli_core::exit;
use vk_cli_core::interrupt::{Deed, Event, PATIENCE, Phase, way_back};

use crate::cancel;
use crate::cluster::Cluster;
use crate::screen::{Progress, say};

/// Ctrl-C and TERM, from when this is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next one. Cancel-safe, as `recv` is.
    pub(crate) async fn next(&mut self) -> Event {
        tokio::select! {
            // A signal that is not taken now is taken by the next call.
            _ = self.interrupt.recv() => Event::Interrupt,
            _ = self.terminate.recv() => Event::Terminate,
        }
    }
}

/// A job that is attended.
pub(crate) struct Attended<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: &'a str,
    pub(crate) uid: Option<&'a str>,
}

/// What has become of some work.
pub(crate) enum Outcome<T> {
    /// It is done.
    Done(T),
    /// It was left, with this exit code.
    Left(u8),
}

/// Does some work about a job while heeding Ctrl-C. `pressed` are those that have come already.
pub(crate) async fn attend<T>(
    signals: &mut Signals,
    job: &Attended<'_>,
    pressed: Vec<Event>,
    work: impl Future<Output = Result<T>>,
) -> Result<Outcome<T>> {
    let mut phase = Phase::default();
    let mut asked: Option<Instant> = None;
    let mut pressed = pressed.into_iter();
    let mut work = Some(Box::pin(work));
    let mut cancelling = std::pin::pin!(async {
        let mut progress = Progress::begin();
        let gone = cancel::end(job.cluster, job.name, job.uid, &progress).await;
        progress.end();
        gone
    });
    loop {
        let event = match pressed.next() {
            Some(event) => event,
            None => tokio::select! {
                // Both futures live outside the loop, and lose nothing when another arm is first.
                done = going_on(&mut work) => return Ok(Outcome::Done(done?)),
                gone = &mut cancelling, if phase == Phase::Cancelling => {
                    gone?;
                    say(&format!("{} is cancelled", job.name));
                    return Ok(Outcome::Left(exit::INTERRUPTED));
                }
                event = signals.next() => event,
                // A point in time: it is the same when it is asked for again.
                () = sleep_until(asked.unwrap_or_else(Instant::now)), if asked.is_some() => Event::Passed,
            },
        };
        match phase.on(event) {
            Deed::Ask => {
                asked = Some(Instant::now() + PATIENCE);
                say(&format!(
                    "\n{}; Ctrl-C again within {} s does that",
                    way_back(&job.cluster.namespace, job.name),
                    PATIENCE.as_secs()
                ));
            }
            Deed::Cancel => {
                asked = None;
                // What it shows goes from the screen with it.
                work = None;
                say(&format!("\ncancelling {}", job.name));
            }
            Deed::Leave => {
                say(&way_back(&job.cluster.namespace, job.name));
                return Ok(Outcome::Left(exit::INTERRUPTED));
            }
            Deed::LeaveQuietly => {
                if phase == Phase::Cancelling {
                    say(&format!("{} is being cancelled all the same", job.name));
                }
                return Ok(Outcome::Left(exit::INTERRUPTED));
            }
            Deed::Nothing => {}
        }
    }
}

/// The work, or for ever where it was given up.
async fn going_on<F: Future + Unpin>(work: &mut Option<F>) -> F::Output {
    match work {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}
