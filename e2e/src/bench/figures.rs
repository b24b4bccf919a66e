//! What was measured, as it goes into the JSON.

use std::time::Duration;

use serde::Serialize;

use super::contestant::Contestant;
use super::kubelet::KubeletFigures;
use super::scale::ScaleFigures;
use super::sites::Sites;

/// All of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    pub(super) machine: Machine,
    /// The load averages of 1, 5 and 15 minutes: what else the machine did.
    pub(super) load_before: String,
    pub(super) load_after: String,
    pub(super) targets: Vec<Target>,
    /// The pipe alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pipe: Option<PipeFigures>,
    /// Many nodes in one process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fleet: Option<FleetFigures>,
    /// Very many CmdJobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) scale: Option<ScaleFigures>,
    /// Of fleets that share very many CmdJobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) sites: Vec<Sites>,
    pub(super) latency: Vec<Latency>,
    pub(super) rate: Vec<Rate>,
    pub(super) idle: Vec<Idle>,
    pub(super) writes: Vec<Writes>,
    /// A node as the kubelet of its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubelet: Option<KubeletFigures>,
}

/// Where it was measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) processors: usize,
    pub(super) memory: String,
    pub(super) kernel: String,
}

/// Between which two events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Span {
    #[serde(rename = "create → Running seen")]
    CreateToRunning,
    #[serde(rename = "exit → end seen")]
    ExitToEndSeen,
}

impl Span {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CreateToRunning => "create → Running seen",
            Self::ExitToEndSeen => "exit → end seen",
        }
    }
}

/// How long something took.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) who: Contestant,
    pub(super) at_once: usize,
    pub(super) span: Span,
    #[serde(flatten)]
    pub(super) milliseconds: Milliseconds,
}

/// A distribution.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Milliseconds {
    pub(super) samples: usize,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

impl Milliseconds {
    /// By nearest rank, so that each is a sample that there was. None of no samples.
    pub(super) fn of(samples: &[Duration]) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.iter().map(|sample| milliseconds(*sample)).collect();
        sorted.sort_by(f64::total_cmp);
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { samples: sorted.len(), p50: rank(50)?, p99: rank(99)?, max: rank(100)? })
    }
}

/// To the microsecond: more digits would say nothing.
pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// The middle one of the samples, so that it is one that there was; 0 of none.
pub(super) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or_default()
}

/// How many short jobs get to their end in a second.
#[derive(Debug, Serialize)]
pub(super) struct Rate {
    pub(super) who: Contestant,
    pub(super) at_once: usize,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    /// One alone, from its creation to its end.
    pub(super) alone_ms: f64,
}

/// What a process costs while nothing happens. Of several of a kind: the mean.
#[derive(Debug, Serialize)]
pub(super) struct Idle {
    pub(super) process: String,
    pub(super) when: &'static str,
    pub(super) processes: usize,
    pub(super) rss_kib: f64,
    pub(super) private_kib: f64,
    pub(super) pss_kib: f64,
    pub(super) threads: f64,
    pub(super) cpu_percent: f64,
    pub(super) wakeups_per_second: f64,
}

/// Writes to the API server for one job.
#[derive(Debug, Serialize)]
pub(super) struct Writes {
    pub(super) who: Contestant,
    pub(super) what: &'static str,
    /// How many jobs were counted.
    pub(super) jobs: usize,
    pub(super) per_job: f64,
    pub(super) by_writer: Vec<Writer>,
}

/// Of these, who wrote what.
#[derive(Debug, Serialize)]
pub(super) struct Writer {
    pub(super) writer: String,
    pub(super) what: String,
    pub(super) per_job: f64,
}

/// What was aimed at, and whether it was reached.
#[derive(Debug, Serialize)]
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) wanted: String,
    pub(super) measured: String,
    pub(super) reached: bool,
}

/// What was measured of the pipe.
#[derive(Debug, Serialize)]
pub(super) struct PipeFigures {
    pub(super) targets: Vec<Target>,
    pub(super) latency: Vec<PipeLatency>,
    pub(super) rates: Vec<PipeRate>,
    pub(super) output: Vec<PipeOutput>,
    pub(super) many: PipeMany,
}

/// How long a task took to begin or to be known to have ended.
#[derive(Debug, Serialize)]
pub(super) struct PipeLatency {
    pub(super) who: &'static str,
    pub(super) span: &'static str,
    #[serde(flatten)]
    pub(super) milliseconds: Milliseconds,
}

/// How many of something there were in a second; the median of the rounds.
#[derive(Debug, Serialize)]
pub(super) struct PipeRate {
    pub(super) who: &'static str,
    pub(super) parallel: usize,
    pub(super) samples: usize,
    pub(super) per_second: f64,
}

/// How fast output is taken, in 10⁶ bytes a second.
#[derive(Debug, Serialize)]
pub(super) struct PipeOutput {
    pub(super) what: &'static str,
    pub(super) shim: f64,
    /// By the processor time that the shim used.
    pub(super) shim_per_core: f64,
    pub(super) cat: f64,
}

/// Very many tasks that only run.
#[derive(Debug, Serialize)]
pub(super) struct PipeMany {
    pub(super) tasks: usize,
    pub(super) shim_private_mib: f64,
    pub(super) pipe_pss_mib: f64,
    pub(super) all_pss_mib: f64,
    /// Of one processor, the pipe and all shims together.
    pub(super) cpu_percent: f64,
}

/// What was measured of many nodes in one process.
#[derive(Debug, Serialize)]
pub(super) struct FleetFigures {
    pub(super) targets: Vec<Target>,
    pub(super) rows: Vec<Fleet>,
}

/// So many nodes.
#[derive(Debug, Serialize)]
pub(super) struct Fleet {
    pub(super) nodes: usize,
    /// From the start of the process.
    pub(super) ready_seconds: f64,
    pub(super) rss_kib: f64,
    pub(super) private_kib: f64,
    /// What is resident of the API server, which began with the first of the sizes and has seen them all.
    pub(super) api_server_kib: f64,
    /// To the API server, and to whoever asks.
    pub(super) connections: usize,
    pub(super) requests_per_node_minute: f64,
    pub(super) requests: Vec<FleetRequests>,
    /// Of one processor.
    pub(super) cpu_percent: f64,
}

/// Requests of one kind.
#[derive(Debug, Serialize)]
pub(super) struct FleetRequests {
    pub(super) what: String,
    pub(super) per_node_minute: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        let figures = Milliseconds::of(&samples).unwrap();
        assert_eq!((figures.p50, figures.p99, figures.max), (100.0, 198.0, 200.0));
        let one = Milliseconds::of(&[Duration::from_millis(7)]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (7.0, 7.0, 7.0));
        assert!(Milliseconds::of(&[]).is_none());
    }
}
