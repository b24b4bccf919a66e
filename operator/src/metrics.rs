//! What the operator measures: with controller-runtime's names and labels where it measures the same, so that dashboards work,
//! and `cmdjob_…` for the rest.
//!
//! The work queue is kube-runtime's own and tells nothing of itself: of controller-runtime's `workqueue_…` there is nothing here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::Timestamp;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use strum::VariantArray as _;
use tokio::sync::watch;
use vk_api_client::{Ended, Observer};
use vk_cmd_crds::{CmdJob, CmdJobStatus, State};
use vk_operator_core::status;

use crate::cache::{Caches, MaybeJob};

/// The value of controller-runtime's label `controller`.
const CONTROLLER: &str = "cmdjob";
/// Of controller-runtime's buckets, in seconds.
const RECONCILE_SECONDS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// From the end of the last process to the word of it in the CmdJob. Kubernetes tells of ends in whole seconds.
const DELAY_SECONDS: [f64; 6] = [1.0, 2.0, 5.0, 10.0, 60.0, 600.0];

/// From the making of a CmdJob until it runs: at once, or after a day in the queue.
const START_SECONDS: [f64; 12] = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0];

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
    start_delay: Histogram,
    attempts: IntCounterVec,
    events: IntCounterVec,
    requests: IntCounterVec,
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
    /// It failed by a mistake in the code.
    Panic,
}

/// What has become of something to tell of a CmdJob in an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Told {
    /// The API server has it.
    Written,
    /// It was told too much of that CmdJob already.
    Suppressed,
    /// Too much was waiting to be told.
    Dropped,
    /// The API server did not take it.
    Failed,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error | Self::Panic => "error",
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
            start_delay: Histogram::with_opts(histogram(
                "cmdjob_start_delay_seconds",
                "From the making of a CmdJob until the first process of it runs",
                &START_SECONDS,
            ))?,
            attempts: IntCounterVec::new(
                Opts::new("cmdjob_attempts_total", "Attempts that count as succeeded or failed"),
                &["result"],
            )?,
            events: IntCounterVec::new(
                Opts::new("cmdjob_events_total", "Events of CmdJobs, by what has become of them"),
                &["result"],
            )?,
            requests: IntCounterVec::new(
                Opts::new(
                    "rest_client_requests_total",
                    "Number of HTTP requests, partitioned by status code, method, and host.",
                ),
                &["code", "method", "host"],
            )?,
            is_leader,
            registry,
        };
        let all: [Box<dyn Collector>; 18] = [
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
            Box::new(this.start_delay.clone()),
            Box::new(this.attempts.clone()),
            Box::new(this.events.clone()),
            Box::new(this.requests.clone()),
            Box::new(ProcessCollector::for_self()),
        ];
        for outcome in [Outcome::Success, Outcome::RequeueAfter, Outcome::Error] {
            this.reconciles.with_label_values(&[outcome.label()]);
        }
        for result in ["succeeded", "failed"] {
            this.attempts.with_label_values(&[result]);
        }
        for state in State::VARIANTS {
            this.jobs.with_label_values(&[state.to_string()]);
        }
        for told in Told::VARIANTS {
            this.events.with_label_values(&[<&str>::from(told)]);
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
        if matches!(outcome, Outcome::Error | Outcome::Panic) {
            self.errors.inc();
        }
        if outcome == Outcome::Panic {
            self.panics.inc();
        }
    }

    /// So many pods have been made.
    pub fn pods_made(&self, count: usize) {
        self.pods_made.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// What has become of something to tell.
    pub fn told(&self, told: Told) {
        self.events.with_label_values(&[<&str>::from(told)]).inc();
    }

    /// Who counts requests to the API server.
    pub fn of_requests(&self) -> Observer {
        let requests = self.requests.clone();
        Arc::new(move |Ended { method, host, code }: &Ended| {
            // client-go's word where there was no answer.
            let code = code.as_ref().map_or("<error>", StatusCode::as_str);
            requests.with_label_values(&[code, method.as_str(), host]).inc();
        })
    }

    /// A status of a CmdJob was written: whether by it the first process runs, attempts are counted, the job is finished, and
    /// how long after the end of its last process.
    pub fn status_written(&self, job: &CmdJob, written: &CmdJobStatus, now: Timestamp) {
        self.status_writes.inc();
        let none = CmdJobStatus::default();
        let before = job.status.as_ref().unwrap_or(&none);
        for (result, before, after) in
            [("succeeded", before.succeeded, written.succeeded), ("failed", before.failed, written.failed)]
        {
            let new = u64::try_from(after.saturating_sub(before)).unwrap_or_default();
            self.attempts.with_label_values(&[result]).inc_by(new);
        }
        let made = job.metadata.creation_timestamp.as_ref().map(|time| time.0);
        if let Some(delay) = first_start(before, written).zip(made).and_then(|(start, made)| between(made, start)) {
            self.start_delay.observe(delay);
        }
        if status::finished_at(written).is_none() || status::finished_at(before).is_some() {
            return;
        }
        let state = written.state.map(|state| state.to_string()).unwrap_or_default();
        self.finished.with_label_values(&[&*state, written.reason.as_deref().unwrap_or_default()]).inc();
        let ended = written.attempts.iter().filter_map(|attempt| attempt.finished_at.as_ref()).map(|time| time.0).max();
        if let Some(delay) = ended.and_then(|ended| between(ended, now)) {
            self.delay.observe(delay);
        }
    }

    /// All of it, in Prometheus' text format.
    pub fn text(&self, caches: &Caches) -> String {
        self.count(caches);
        self.counted()
    }

    /// What has been counted so far, without what is in the caches.
    pub fn counted(&self) -> String {
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

/// When the first process of a job has started, if the status before did not say so.
fn first_start(before: &CmdJobStatus, written: &CmdJobStatus) -> Option<Timestamp> {
    let first = |status: &CmdJobStatus| status.attempts.iter().filter_map(|a| a.started_at.as_ref()).map(|t| t.0).min();
    // Of attempts the last ones are kept: who has none that has started has had none, but for ten that did not start at all.
    if first(before).is_some() { None } else { first(written) }
}

/// How many seconds there are between two times; none: the second one is before the first, by another clock.
fn between(from: Timestamp, to: Timestamp) -> Option<f64> {
    Duration::try_from(to.duration_since(from)).ok().map(|time| time.as_secs_f64())
}

fn state(job: &MaybeJob) -> String {
    let of = |job: &CmdJob| job.status.as_ref().and_then(|status| status.state);
    match &job.0 {
        Ok(job) => of(job).map_or_else(|| "New".to_owned(), |state| state.to_string()),
        Err(_) => State::Invalid.to_string(),
    }
}
