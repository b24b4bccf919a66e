//! The signals that tell a node of its end.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Endings;

/// `SIGTERM`, `SIGINT` and `SIGUSR1`: caught from when this is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    user: Signal,
}

/// What has come.
enum Came {
    /// `SIGTERM` or `SIGINT`.
    Stop,
    /// `SIGUSR1`.
    Notice,
}

impl Signals {
    /// Listens.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
            user: signal(SignalKind::user_defined1()).context("cannot listen for SIGUSR1")?,
        })
    }

    async fn next(&mut self) -> Came {
        // Cancel-safe: all only wait, and a signal that came stays with its receiver.
        tokio::select! {
            _ = self.terminate.recv() => Came::Stop,
            _ = self.interrupt.recv() => Came::Stop,
            _ = self.user.recv() => Came::Notice,
        }
    }

    /// Takes what comes, and returns when the process is to end without its tasks. What ends the nodes with their tasks is told to
    /// them, and they end by themselves. Cancel-safe: what was told is told.
    pub(crate) async fn obey(&mut self, endings: &Endings) {
        loop {
            match self.next().await {
                Came::Notice => endings.noticed(),
                Came::Stop if endings.end_on_term() => {
                    endings.told_to_end();
                    endings.ask_why().await;
                }
                Came::Stop => return,
            }
        }
    }
}
