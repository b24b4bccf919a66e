//! The command line of the benchmarks, and how much is measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Measures vk-cmd, side by side with kwok, on a real control plane.
#[derive(Debug, Parser)]
#[command(name = "cargo bench", bin_name = "cargo bench --")]
pub(super) struct Cli {
    /// Few samples: whether it works at all, in about a minute.
    #[arg(long)]
    quick: bool,
    /// Where the figures go as JSON [default: vk-cmd-bench.json in cargo's target directory].
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How much is measured.
pub(super) struct Plan {
    /// Samples of each contestant, one at a time.
    pub(super) singles: usize,
    /// How many are made at once.
    pub(super) at_once: usize,
    /// How often that is done with each contestant.
    pub(super) rounds: usize,
    /// Jobs of each kind whose writes are counted.
    pub(super) counted: usize,
    /// How long is looked at idle processes.
    pub(super) idle: Duration,
}

impl Cli {
    pub(super) fn plan(&self) -> Plan {
        if self.quick {
            Plan { singles: 10, at_once: 10, rounds: 1, counted: 3, idle: Duration::from_secs(5) }
        } else {
            Plan { singles: 100, at_once: 50, rounds: 4, counted: 10, idle: Duration::from_secs(30) }
        }
    }
}
