//! The command line of the benchmarks, and how much is measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::{fleet, scale, sites};

/// Measures vk-cmd, side by side with kwok, on a real control plane.
#[derive(Debug, Parser)]
#[command(name = "cargo bench", bin_name = "cargo bench --")]
pub(super) struct Cli {
    /// Only this part of it. The pipe's needs no control plane.
    #[arg(long, value_enum)]
    pub(super) only: Option<Part>,
    /// Few samples: whether it works at all, in about a minute.
    #[arg(long)]
    quick: bool,
    /// Where the figures go as JSON [default: vk-cmd-bench.json in cargo's target directory].
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Of the part `scale`: one-pod CmdJobs in one namespace.
    #[arg(long, value_name = "JOBS", default_value_t = 10_000)]
    scale_jobs: usize,
    /// Of the part `scale`: Indexed CmdJobs beside them.
    #[arg(long, value_name = "JOBS", default_value_t = 100)]
    scale_indexed: usize,
    /// Of the part `scale`: completions of each Indexed CmdJob.
    #[arg(long, value_name = "COMPLETIONS", default_value_t = 1000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    scale_completions: usize,
    /// Of the part `scale`: rounds of the rates; 0 leaves them out.
    #[arg(long, value_name = "ROUNDS", default_value_t = 3)]
    scale_rounds: usize,
    /// Of the part `sites`: CmdJobs.
    #[arg(long, value_name = "JOBS", default_value_t = 10_000)]
    sites_jobs: usize,
    /// cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// The pipe alone, next to plain system calls.
    Pipe,
    /// The whole, on a control plane, next to kwok.
    Cluster,
    /// Many nodes in one process, on a control plane of their own.
    Fleet,
    /// A node as a kubelet: pods that are bound to it, what it keeps of them, exec; next to kwok and ssh.
    Kubelet,
    /// Ten thousand CmdJobs and a hundred thousand processes, on control planes of their own. Only when it is asked for: it takes an hour.
    Scale,
    /// A hundred nodes and then a thousand, in 20 fleets that share 10,000 CmdJobs. Only when it is asked for: it takes ten minutes.
    Sites,
}

/// How much is measured of a node as a kubelet.
pub(super) struct KubeletPlan {
    /// How many pods are bound at once, and how often.
    pub(super) bound: &'static [(usize, usize)],
    /// Pods that a node keeps in the end.
    pub(super) records: usize,
    /// How long a process is left alone before its memory is looked at.
    pub(super) settle: Duration,
    /// Samples of each way to run a command.
    pub(super) execs: usize,
}

/// How much is measured of the pipe.
pub(super) struct PipePlan {
    /// Samples, one at a time.
    pub(super) singles: usize,
    /// Short tasks in each round.
    pub(super) tasks: usize,
    /// How often the contestants take turns.
    pub(super) rounds: usize,
    /// Bytes of output in each round.
    pub(super) output_bytes: u64,
    /// Tasks that only run.
    pub(super) many: usize,
    /// How long is looked at idle processes.
    pub(super) idle: Duration,
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
    /// Whether this part is wanted.
    pub(super) fn wants(&self, part: Part) -> bool {
        self.only.map_or(!matches!(part, Part::Scale | Part::Sites), |only| only == part)
    }

    pub(super) fn scale_plan(&self) -> scale::Plan {
        if self.quick {
            return scale::Plan { jobs: 100, indexed: 2, completions: 20, more: 5, round: [10, 20], rounds: 1 };
        }
        let (jobs, indexed, completions) = (self.scale_jobs, self.scale_indexed, self.scale_completions);
        scale::Plan { jobs, indexed, completions, more: 100, round: [200, 500], rounds: self.scale_rounds }
    }

    pub(super) fn sites_plan(&self) -> sites::Plan {
        if self.quick {
            return sites::Plan { sizes: [4, 8], fleets: 2, jobs: 20, counted: Duration::from_secs(5) };
        }
        sites::Plan { sizes: [100, 1000], fleets: 20, jobs: self.sites_jobs, counted: Duration::from_secs(60) }
    }

    pub(super) fn pipe_plan(&self) -> PipePlan {
        if self.quick {
            let idle = Duration::from_secs(5);
            PipePlan { singles: 20, tasks: 100, rounds: 1, output_bytes: 64 << 20, many: 100, idle }
        } else {
            let idle = Duration::from_secs(20);
            PipePlan { singles: 200, tasks: 400, rounds: 5, output_bytes: 256 << 20, many: 1000, idle }
        }
    }

    pub(super) fn kubelet_plan(&self) -> KubeletPlan {
        if self.quick {
            KubeletPlan { bound: &[(1, 5), (20, 1)], records: 60, settle: Duration::from_secs(3), execs: 5 }
        } else {
            // A node gives memory back every 15 s.
            let settle = Duration::from_secs(17);
            KubeletPlan { bound: &[(1, 100), (50, 4), (500, 3)], records: 510, settle, execs: 50 }
        }
    }

    pub(super) fn fleet_plan(&self) -> fleet::Plan {
        let (settle, counted) = (Duration::from_secs(30), Duration::from_secs(60));
        let sizes = if self.quick { [10, 50] } else { [100, 1000] };
        fleet::Plan { sizes, settle, counted }
    }

    pub(super) fn plan(&self) -> Plan {
        if self.quick {
            Plan { singles: 10, at_once: 10, rounds: 1, counted: 3, idle: Duration::from_secs(5) }
        } else {
            Plan { singles: 100, at_once: 50, rounds: 4, counted: 10, idle: Duration::from_secs(30) }
        }
    }
}
