//! What the pipe tells of the host: asked now and then, once for all nodes of the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info};
use vk_node_core::config::{NodeConfig, Pressure};
use vk_node_core::node::{self, Shortages};
use vk_pipe::client::PipeClient;
use vk_record::clock::Clock;
use vk_task::{HostInfo, HostUsage};

use super::tuned::Tuned;

/// What is known of the host.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// Facts about it; the pipe may change what is in force while it runs.
    pub(super) info: HostInfo,
    /// What is used; none where the pipe has never told.
    pub(super) usage: Option<HostUsage>,
    /// What it is short of.
    pub(super) shortages: Shortages,
}

/// The host, now and later.
pub(super) struct Host {
    pipe: PipeClient,
    started: Instant,
    clock: Arc<Clock>,
    seen: watch::Sender<Seen>,
}

impl Host {
    /// The host of a pipe that has answered.
    pub(super) async fn new(pipe: PipeClient, info: HostInfo, config: &NodeConfig, clock: Arc<Clock>) -> Self {
        let seen = watch::Sender::new(Seen { info, usage: None, shortages: Shortages::default() });
        let this = Self { pipe, started: Instant::now(), clock, seen };
        this.look(&config.pressure).await;
        this
    }

    /// Its clock.
    pub(super) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// What is known of it, now and later.
    pub(super) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Looks for ever. A pipe that does not answer leaves what is known as it is; its link says that it is away.
    pub(super) async fn keep(&self, config: &NodeConfig, tuned: Tuned) {
        let mut ticks = interval(config.status_update_every.max(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(&tuned.pressure()).await;
        }
    }

    async fn look(&self, pressure: &Pressure) {
        let info = match self.pipe.info().await {
            Ok(info) => info,
            Err(error) => return debug!(%error, "the pipe does not tell of the host"),
        };
        // A pipe of an earlier version knows nothing of it.
        let usage = self.pipe.host_usage().await.inspect_err(|error| debug!(%error, "the pipe tells no usage")).ok();
        self.seen.send_modify(|seen| {
            if node::in_force(&seen.info) != node::in_force(&info) {
                info!("now in force: {}", node::in_force(&info));
            }
            if let Some(usage) = &usage {
                let now = self.started.elapsed();
                seen.shortages = seen.shortages.after(usage, info.memory_bytes, pressure, now);
            }
            seen.info = info;
            seen.usage = usage.or(seen.usage.take());
        });
    }
}
