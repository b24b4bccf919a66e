//! `vk-node run`: the parts of a node, put together.
//!
//! ```text
//!                 API server
//!        ▲ Node, Lease      │ Pods        ▲ PodStatus      │ kubectl logs, exec …
//!        │                  ▼             │                ▼
//!   registration         pods (controller, orphans)     kubelet API      ─┐ a member: one of the process's nodes,
//!        ▲                  │  ▲                           │             ─┘ with a port of its own
//!        │ health           ▼  │ what is seen              │
//!        └───────────────  tasks (mirror of the pipe)  ◀───┘             ─┐ shared by all nodes of the process,
//!                             │ vk-cmd.sock                               │ as are the ways to API servers
//!                            pipe                                        ─┘
//! ```

mod api_server;
mod clock;
mod desk;
mod health;
mod host;
mod lean;
mod lease;
mod member;
mod only_one;
mod open_files;
mod own_node;
mod own_pipe;
mod registration;
mod reports;
mod requests;
mod shared;
mod tuned;
mod unregistered;

pub(crate) use self::requests::Requests;
pub(crate) use self::tuned::Tuned;

use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;
use vk_node_core::config::{NodeConfig, PipeOwner, Shown};

use self::desk::{Desk, Hangups};
use self::host::Host;
use self::member::Course;
use self::shared::Shared;
use crate::ending::Signals;
use crate::logging::Logging;

/// What a process is started with.
pub(crate) struct Launch {
    /// What it works with.
    pub(crate) config: NodeConfig,
    /// The same for people, with who says it.
    pub(crate) shown: Vec<Shown>,
    /// What is logged.
    pub(crate) log: String,
}

/// By which the same is found again, as it is then.
pub(crate) struct Again {
    /// Reads the configuration.
    pub(crate) load: Box<dyn Fn() -> anyhow::Result<Launch> + Send + Sync>,
    /// The log.
    pub(crate) logging: Logging,
}

/// Runs the nodes until the process is told to end, and tasks go on without it; or until the nodes have ended, and their tasks
/// with them: see [`crate::ending`].
pub(crate) async fn run(launch: Launch, again: Again) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let hangups = Hangups::new()?;
    let Launch { config, shown, log } = launch;
    let shared = Arc::new(Shared::new(config));
    let Shared { config, pipe, mirror, endings, .. } = &*shared;
    if config.pipe.owner == PipeOwner::Node {
        own_pipe::make_directory(&config.pipe.directory)?;
    }
    let open_files = open_files::raise_for(config.members.len());
    // Held to the end: dropping it ends the pipe that it started.
    let _own_pipe = (config.pipe.owner == PipeOwner::Node)
        .then(|| own_pipe::keep(&config.pipe, pipe.clone(), mirror.link(), open_files));
    // Cancel-safe: nothing has been done yet that somebody would have to take back, and a signal that was heard is kept.
    let (host, _only) = tokio::select! {
        () = signals.obey(endings) => {
            info!("told to end before the pipe answered: the tasks, if there are any, go on");
            return Ok(());
        }
        // What an earlier start has left here is ended with the node, if the pipe answers in time.
        () = endings.told_and_over() => {
            info!("told to end, and the pipe has not answered: what runs here, if anything, ends with the job");
            return Ok(());
        }
        host = shared.host() => host?,
    };
    // Cancel-safe, as above.
    tokio::select! {
        () = signals.obey(endings) => {
            info!("told to end before it was known how long the node is there: the tasks, if there are any, go on");
            return Ok(());
        }
        () = endings.told() => {}
        () = endings.ask_first() => {}
    }
    let desk = Desk::open(&shared, shown, log, again)?;
    let tunnel = shared.begin_tunnel()?;
    let (course, told) = watch::channel(Course::On);
    let mut members = std::pin::pin!(all(&shared, &host, &told));
    // Cancel-safe: the first two are only awaited; what the others have not done is done by the next start.
    let by_themselves = tokio::select! {
        () = signals.obey(endings) => {
            info!("told to end: the tasks go on, their ends are reported by the next start");
            None
        }
        () = desk.told_to_stop() => {
            info!("asked to end without the tasks: they go on, their ends are reported by the next start");
            None
        }
        ended = &mut members => Some(ended),
        () = desk.serve() => None,
        () = desk.keep(hangups) => None,
        () = mirror.follow(pipe) => None,
        () = host.keep(config, shared.tuning.tuned()) => None,
        () = lean::keep() => None,
        () = clock::keep(host.clock()) => None,
        () = endings.keep() => None,
    };
    let ended = match by_themselves {
        Some(ended) => ended.inspect(|()| endings.left()),
        None => {
            let _ = course.send(Course::Ending);
            members.await
        }
    };
    // The good-byes have gone by it.
    if let Some(tunnel) = tunnel {
        tunnel.end().await;
    }
    ended
}

/// Runs all members to their end. Where there is only one, its failure is the process's.
async fn all(shared: &Arc<Shared>, host: &Arc<Host>, course: &watch::Receiver<Course>) -> anyhow::Result<()> {
    if let [only] = shared.config.members.as_slice() {
        return Box::pin(member::run(shared, only, host, course.clone())).await;
    }
    let mut members = JoinSet::new();
    for member in &shared.config.members {
        members.spawn(member::keep(shared.clone(), member.clone(), host.clone(), course.clone()));
    }
    while let Some(ended) = members.join_next().await {
        ended.context("a node has panicked")?;
    }
    Ok(())
}

/// Waits for `SIGTERM` or `SIGINT`.
pub(crate) fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        // Cancel-safe: both only wait, and a signal that came stays with its receiver.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
