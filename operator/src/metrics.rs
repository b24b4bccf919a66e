//! What the operator measures: with controller-runtime's names and labels where it measures the same, so that dashboards work,
//! and `cmdjob_…` for the rest.
//!
//! The work queue is kube-runtime's own and tells nothing of itself: of controller-runtime's `workqueue_…` there is nothing here.

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use strum::VariantArray as _;
use tokio::sync::watch;
use vk_cmd_crds::{CmdJob, CmdJobStatus, State};
use vk_operator_core::status;

use crate::cache::{Caches, MaybeJob};

/// The value of controller-runtime's label `controller`.
const CONTROLLER: &str = "cmdjob";
/// Of controller-runtime's buckets, in seconds.
const RECONCILE_SECONDS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From the end of the last process to the word of it in the CmdJob. Kubernetes tells of ends in whole seconds.
const DELAY_SECONDS: [f64; 6] = [1.0, 2.0, 5.0, 10.0, 60.0, 600.0];

/// What is measured.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    errors: IntCounter,
    panics: IntCounter,
    seconds: Histogram,
    workers: IntGauge,
    leads: IntGauge,
    is_leader: watch::Receiver<bool>,
    jobs: IntGaugeVec,
    waiting: IntGauge,
    pods_made: IntCounter,
    status_writes: IntCounter,
    finished: IntCounterVec,
    delay: Histogram,
}

/// How a reconcile ended: controller-runtime's values of the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is nothing more to do until something changes.
    Success,
    /// It is to be looked at again in a while.
    RequeueAfter,
    /// It failed.
    Error,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error => "error",
        }
    }
}

impl Metrics {
    /// What has not been measured yet, of an operator that leads or does not.
    ///
    /// # Errors
    /// When two of them have one name.
    pub fn new(workers: u16, is_leader: watch::Receiver<bool>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let of_controller = |name: &str, help: &str| Opts::new(name, help).const_label("controller", CONTROLLER);
        let histogram =
            |name: &str, help: &str, buckets: &[f64]| HistogramOpts::new(name, help).buckets(buckets.into());
        let max = IntGauge::with_opts(of_controller(
            "controller_runtime_max_concurrent_reconciles",
            "Maximum number of concurrent reconciles per controller",
        ))?;
        max.set(i64::from(workers));
        let this = Self {
            reconciles: IntCounterVec::new(
                of_controller("controller_runtime_reconcile_total", "Total number of reconciliations per controller"),
                &["result"],
            )?,
            errors: IntCounter::with_opts(of_controller(
                "controller_runtime_reconcile_errors_total",
                "Total number of reconciliation errors per controller",
            ))?,
            panics: IntCounter::with_opts(of_controller(
                "controller_runtime_reconcile_panics_total",
                "Total number of reconciliation panics per controller",
            ))?,
            seconds: Histogram::with_opts(
                histogram(
                    "controller_runtime_reconcile_time_seconds",
                    "Length of time per reconciliation per controller",
                    &RECONCILE_SECONDS,
                )
                .const_label("controller", CONTROLLER),
            )?,
            workers: IntGauge::with_opts(of_controller(
                "controller_runtime_active_workers",
                "Number of currently used workers per controller",
            ))?,
            leads: IntGauge::with_opts(
                Opts::new(
                    "leader_election_master_status",
                    "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master",
                )
                .const_label("name", "vk-operator"),
            )?,
            jobs: IntGaugeVec::new(Opts::new("cmdjob_jobs", "CmdJobs by state; New: nobody has looked at it"), &["state"])?,
            waiting: IntGauge::new("cmdjob_queue_jobs", "CmdJobs that wait for room on a node")?,
            pods_made: IntCounter::new("cmdjob_pods_created_total", "Pods made for attempts")?,
            status_writes: IntCounter::new("cmdjob_status_writes_total", "Writes of the status of a CmdJob")?,
            finished: IntCounterVec::new(
                Opts::new("cmdjob_finished_total", "CmdJobs that have finished, by state and reason"),
                &["state", "reason"],
            )?,
            delay: Histogram::with_opts(histogram(
                "cmdjob_completion_delay_seconds",
                "From the end of the last process of a CmdJob until its status says so",
                &DELAY_SECONDS,
            ))?,
            is_leader,
            registry,
        };
        let all: [Box<dyn Collector>; 14] = [
            Box::new(max),
            Box::new(this.reconciles.clone()),
            Box::new(this.errors.clone()),
            Box::new(this.panics.clone()),
            Box::new(this.seconds.clone()),
            Box::new(this.workers.clone()),
            Box::new(this.leads.clone()),
            Box::new(this.jobs.clone()),
            Box::new(this.waiting.clone()),
            Box::new(this.pods_made.clone()),
            Box::new(this.status_writes.clone()),
            Box::new(this.finished.clone()),
            Box::new(this.delay.clone()),
            Box::new(ProcessCollector::for_self()),
        ];
        for outcome in [Outcome::Success, Outcome::RequeueAfter, Outcome::Error] {
            this.reconciles.with_label_values(&[outcome.label()]);
        }
        all.into_iter().try_for_each(|collector| this.registry.register(collector))?;
        Ok(this)
    }

    /// A reconcile begins.
    pub fn begin(&self) -> Instant {
        self.workers.inc();
        Instant::now()
    }

    /// The reconcile that has begun then has ended.
    pub fn end(&self, begun: Instant, outcome: Outcome) {
        self.workers.dec();
        self.seconds.observe(begun.elapsed().as_secs_f64());
        self.reconciles.with_label_values(&[outcome.label()]).inc();
        if outcome == Outcome::Error {
            self.errors.inc();
        }
    }

    /// So many pods have been made.
    pub fn pods_made(&self, count: usize) {
        self.pods_made.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// A status was written; whether it finishes the job, and how long after the end of its last process.
    pub fn status_written(&self, before: &CmdJobStatus, written: &CmdJobStatus, now: jiff::Timestamp) {
        self.status_writes.inc();
        if status::finished_at(written).is_none() || status::finished_at(before).is_some() {
            return;
        }
        let state = written.state.map(|state| state.to_string()).unwrap_or_default();
        self.finished.with_label_values(&[&*state, written.reason.as_deref().unwrap_or_default()]).inc();
        let ended = written.attempts.iter().filter_map(|attempt| attempt.finished_at.as_ref()).map(|time| time.0).max();
        if let Some(delay) = ended.and_then(|ended| Duration::try_from(now.duration_since(ended)).ok()) {
            self.delay.observe(delay.as_secs_f64());
        }
    }

    /// All of it, in Prometheus' text format.
    pub fn text(&self, caches: &Caches) -> String {
        self.count(caches);
        let mut text = Vec::new();
        // Writing to memory does not fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }

    fn count(&self, caches: &Caches) {
        self.leads.set(i64::from(*self.is_leader.borrow()));
        self.waiting.set(i64::try_from(caches.floor(|floor| floor.waiting())).unwrap_or(i64::MAX));
        for state in State::VARIANTS {
            self.jobs.with_label_values(&[state.to_string()]).set(0);
        }
        self.jobs.with_label_values(&["New"]).set(0);
        for job in caches.jobs.state() {
            self.jobs.with_label_values(&[state(&job)]).inc();
        }
    }
}

fn state(job: &MaybeJob) -> String {
    let of = |job: &CmdJob| job.status.as_ref().and_then(|status| status.state);
    match &job.0 {
        Ok(job) => of(job).map_or_else(|| "New".to_owned(), |state| state.to_string()),
        Err(_) => State::Invalid.to_string(),
    }
}
