//! Who asks this process on its own machine: `vk-node status`, `drain`, `stop` and `config diff`, by the socket `node.sock` in the
//! pipe's directory, which only its user can enter. See [`vk_node_core::report`].
//!
//! ```text
//!   node.sock ──▶ desk ──┬── reports, what is in force ──▶ the answer
//!                        ├── drain ──▶ node-drained.json ──▶ Endings: nothing new is taken
//!                        └── stop  ──▶ Endings (as TERM in a batch job), or the end of this process alone
//!   SIGHUP ──▶ the configuration, read again ──▶ Tuning: labels, amounts, pressure; the log
//! ```

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use jiff::Timestamp;
use rustix::fs::Mode;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};
use vk_api_client::chain;
use vk_node_core::config::{self, Difference, Reload, Shown};
use vk_node_core::report::{self, DRAINED, Drain, NodeReport, SOCKET, Stop};
use vk_record::Dir;

use super::shared::Shared;
use super::{Again, Launch};
use crate::tasks::Link;

/// Listens for SIGHUP, from when this is made: it would end the process before.
pub(super) struct Hangups(Signal);

impl Hangups {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?))
    }
}

/// What is asked here, and what was told.
#[derive(Clone)]
pub(super) struct Desk(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    again: Again,
    started_at: Timestamp,
    /// What is in force, and what is logged.
    shown: Mutex<(Vec<Shown>, String)>,
    drain: Mutex<Option<Drain>>,
    /// The pipe's directory, in which it is kept that the node is drained.
    directory: Dir,
    /// Whether the process is to end without its tasks.
    stop: watch::Sender<bool>,
}

impl Desk {
    /// Of a process whose pipe's directory is its own. What somebody asked of the one before it holds.
    pub(super) fn open(shared: &Arc<Shared>, shown: Vec<Shown>, log: String, again: Again) -> anyhow::Result<Self> {
        let directory = Dir::open(&shared.config.pipe.directory)?;
        let drain = drained(&directory);
        if let Some(drain) = &drain {
            warn!(since = %drain.since, reason = drain.reason, "the node is drained: it takes nothing new until `vk-node drain --undo`");
        }
        shared.endings.drain(drain.is_some());
        Ok(Self(Arc::new(Inner {
            shared: shared.clone(),
            again,
            started_at: Timestamp::now(),
            shown: Mutex::new((shown, log)),
            drain: Mutex::new(drain),
            directory,
            stop: watch::Sender::new(false),
        })))
    }

    /// Serves whoever asks, for ever. A place where there can be no socket is no reason to run nothing.
    pub(super) async fn serve(&self) {
        let served = async {
            let listener = listen(&self.0.directory).context("cannot listen there")?;
            axum::serve(listener, router(self.clone())).await.context("cannot go on listening")
        };
        if let Err(error) = served.await {
            let place = self.0.shared.config.pipe.directory.join(SOCKET);
            warn!("nobody can ask this node on its machine (vk-node status): {}: {}", place.display(), chain(&*error));
        }
        std::future::pending().await
    }

    /// Returns when somebody has asked for the end of the process without its tasks. Cancel-safe.
    pub(super) async fn told_to_stop(&self) {
        // The sender is here.
        let _ = self.0.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Reads the configuration again with each SIGHUP, for ever.
    pub(super) async fn keep(&self, mut hangups: Hangups) {
        while hangups.0.recv().await.is_some() {
            match (self.0.again.load)() {
                Ok(launch) => self.take_up(launch),
                Err(error) => {
                    error!(
                        "SIGHUP: the configuration is wrong, and what it said before is in force: {}",
                        chain(&*error)
                    )
                }
            }
        }
        std::future::pending().await
    }

    fn take_up(&self, launch: Launch) {
        let Launch { config, shown, log } = launch;
        let mut known = lock(&self.0.shown);
        let Reload { now, later } = config::reload(&known.0, &shown);
        if let Err(error) = self.0.again.logging.set(&log) {
            error!("SIGHUP: {}", chain(&*error));
        }
        self.0.shared.tuning.take_up(&config);
        // What waits for the next start is not in force.
        known.0 = in_force(&known.0, shown, &later);
        known.1 = log;
        let names = |all: &[Difference]| all.iter().map(|d| d.path.join(".")).collect::<Vec<_>>().join(", ");
        match (now.is_empty(), later.is_empty()) {
            (true, true) => info!("SIGHUP: the configuration is as it was"),
            (false, true) => info!("SIGHUP: now in force: {}", names(&now)),
            (true, false) => warn!("SIGHUP: in force with the next start only: {}", names(&later)),
            (false, false) => {
                warn!("SIGHUP: now in force: {}; with the next start only: {}", names(&now), names(&later))
            }
        }
        info!("the site's file needs no SIGHUP: the pipe looks at it before each decision");
    }

    fn report(&self) -> NodeReport {
        let Inner { shared, started_at, shown, drain, .. } = &*self.0;
        NodeReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: *started_at,
            pipe_answers: *shared.mirror.link().borrow() == Link::Live,
            log: lock(shown).1.clone(),
            drain: lock(drain).clone(),
            nodes: shared.reports.all(),
        }
    }

    /// Has the nodes take nothing new, or again what comes. It is on disk before it is answered.
    fn drain(&self, drain: Option<Drain>) -> anyhow::Result<()> {
        let mut known = lock(&self.0.drain);
        match &drain {
            Some(drain) => {
                self.0.directory.write(DRAINED, &serde_json::to_vec(drain)?, Mode::RUSR | Mode::WUSR)?;
                info!(reason = drain.reason, "drained: the node takes nothing new, and what runs goes on");
            }
            None => {
                self.0.directory.remove_file(DRAINED)?;
                info!("no more drained: the node takes what comes");
            }
        }
        *known = drain;
        self.0.shared.endings.drain(known.is_some());
        Ok(())
    }
}

/// What is in force of a configuration that was read again.
fn in_force(before: &[Shown], after: Vec<Shown>, later: &[Difference]) -> Vec<Shown> {
    let waits = |path: &[String]| later.iter().any(|difference| difference.path == path);
    let mut all: Vec<Shown> = after.into_iter().filter(|shown| !waits(&shown.path)).collect();
    all.extend(before.iter().filter(|shown| waits(&shown.path)).cloned());
    all
}

/// That somebody has drained the node. What cannot be read is told of, and drains nothing.
fn drained(directory: &Dir) -> Option<Drain> {
    let read = || anyhow::Ok(directory.read(DRAINED)?.map(|bytes| serde_json::from_slice(&bytes)).transpose()?);
    read().unwrap_or_else(|error| {
        warn!(
            "cannot tell whether the node is drained: {}: {}",
            directory.path().join(DRAINED).display(),
            chain(&*error)
        );
        None
    })
}

/// Opens the socket, in place of one that a node before this one left: the directory is this one's now.
fn listen(directory: &Dir) -> io::Result<UnixListener> {
    directory.remove_file(SOCKET).map_err(io::Error::other)?;
    let listener = StdUnixListener::bind(Path::new(&directory.short_path(SOCKET)))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn router(desk: Desk) -> Router {
    Router::new()
        .route(report::paths::STATUS, get(status))
        .route(report::paths::CONFIG, get(show))
        .route(report::paths::DRAIN, put(begin_drain).delete(end_drain))
        .route(report::paths::STOP, post(stop))
        .with_state(desk)
}

async fn status(State(desk): State<Desk>) -> Json<NodeReport> {
    Json(desk.report())
}

async fn show(State(desk): State<Desk>) -> Json<Vec<Shown>> {
    Json(lock(&desk.0.shown).0.clone())
}

async fn begin_drain(
    State(desk): State<Desk>,
    Json(drain): Json<Drain>,
) -> Result<Json<NodeReport>, (StatusCode, String)> {
    desk.drain(Some(drain)).map_err(failed)?;
    Ok(Json(desk.report()))
}

async fn end_drain(State(desk): State<Desk>) -> Result<Json<NodeReport>, (StatusCode, String)> {
    desk.drain(None).map_err(failed)?;
    Ok(Json(desk.report()))
}

async fn stop(State(desk): State<Desk>, Json(stop): Json<Stop>) -> StatusCode {
    match stop.keep_jobs {
        true => {
            desk.0.stop.send_replace(true);
        }
        false => desk.0.shared.endings.told_to_end(),
    }
    StatusCode::NO_CONTENT
}

fn failed(error: anyhow::Error) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, chain(&*error))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
