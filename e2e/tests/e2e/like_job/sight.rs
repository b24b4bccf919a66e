//! What a job looks like from outside, in terms that both kinds share.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::core::DynamicObject;
use serde_json::Value;
use vk_cmd_crds::labels;

use super::scenario::Rest;
use crate::plain_pods::phase;

/// What is compared, by name.
pub(super) type Fields = BTreeMap<String, String>;

/// What a field says that is not there.
pub(super) const ABSENT: &str = "absent";

/// What a job looks like.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sight {
    /// Whether the object is there.
    pub(super) exists: bool,
    pub(super) succeeded: i64,
    pub(super) failed: i64,
    pub(super) active: i64,
    pub(super) terminating: i64,
    pub(super) ready: i64,
    completed_indexes: String,
    failed_indexes: Option<String>,
    /// Status and reason by type.
    conditions: BTreeMap<String, String>,
    start_time: bool,
    completion_time: bool,
    /// How many pods there are of each phase and index.
    pods: BTreeMap<String, usize>,
    /// Pods that have not ended.
    pub(super) open: usize,
    /// Pods that are being deleted.
    pub(super) leaving: usize,
    /// The index that each process has been given, as many times as it ran.
    pub(super) begun: Vec<String>,
}

impl Sight {
    /// What can be seen of a job: its object, its pods, and what its processes have noted in `directory`.
    pub(super) fn of(job: Option<&DynamicObject>, pods: &[impl AsRef<Pod>], directory: &Path) -> Self {
        let seen = std::fs::read_to_string(directory.join("seen")).unwrap_or_default();
        let mut begun: Vec<String> = seen.lines().map(str::to_owned).collect();
        begun.sort();
        let mut this = Self { exists: job.is_some(), begun, ..Self::default() };
        let status = job.and_then(|job| job.data.get("status")).cloned().unwrap_or_default();
        let number = |field: &str| status[field].as_i64().unwrap_or_default();
        let text = |field: &str| status[field].as_str().map(str::to_owned);
        this.succeeded = number("succeeded");
        this.failed = number("failed");
        this.active = number("active");
        this.terminating = number("terminating");
        this.ready = number("ready");
        this.completed_indexes = text("completedIndexes").unwrap_or_default();
        this.failed_indexes = text("failedIndexes");
        this.start_time = text("startTime").is_some();
        this.completion_time = text("completionTime").is_some();
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let word = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            this.conditions.insert(word("type"), format!("{} {}", word("status"), word("reason")));
        }
        for pod in pods.iter().map(AsRef::as_ref) {
            let is_open = !matches!(phase(pod), "Succeeded" | "Failed");
            this.open += usize::from(is_open);
            this.leaving += usize::from(pod.metadata.deletion_timestamp.is_some());
            let index = index(pod).map(|index| format!("[{index}]")).unwrap_or_default();
            let phase = phase(pod);
            *this.pods.entry(format!("{phase}{index}")).or_default() += 1;
        }
        this
    }

    /// Whether a condition is true.
    pub(super) fn is(&self, condition: &str) -> bool {
        self.conditions.get(condition).is_some_and(|found| found.starts_with("True"))
    }

    /// Whether it has finished.
    pub(super) fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    /// Whether so many processes have begun so far, and so many pods run.
    pub(super) fn has_begun(&self, processes: usize, running: usize) -> bool {
        let phase: usize = self.pods.iter().filter(|(key, _)| key.starts_with("Running")).map(|(_, count)| count).sum();
        self.begun.len() == processes && phase == running && self.leaving == 0
    }

    /// Whether nothing is on its way any more.
    pub(super) fn is_settled(&self) -> bool {
        self.leaving == 0 && (!self.exists || (self.terminating == 0 && usize::try_from(self.active) == Ok(self.open)))
    }

    /// Whether it has come to rest.
    pub(super) fn rests(&self, rest: Rest) -> bool {
        let is_there = match rest {
            Rest::Finished => self.is_finished(),
            Rest::Suspended => self.is("Suspended"),
            Rest::Gone => !self.exists && self.pods.is_empty(),
            Rest::Orphaned => !self.exists && self.open == 0,
            Rest::Left => true,
        };
        is_there && self.is_settled()
    }

    /// All that is compared.
    pub(super) fn fields(&self) -> Fields {
        let set = |yes: bool| if yes { "set" } else { ABSENT }.to_owned();
        let fields = [
            ("exists", self.exists.to_string()),
            ("succeeded", self.succeeded.to_string()),
            ("failed", self.failed.to_string()),
            ("active", self.active.to_string()),
            ("ready", self.ready.to_string()),
            ("terminating", self.terminating.to_string()),
            ("completedIndexes", format!("{:?}", self.completed_indexes)),
            ("failedIndexes", self.failed_indexes.as_ref().map_or_else(|| ABSENT.to_owned(), |set| format!("{set:?}"))),
            ("startTime", set(self.start_time)),
            ("completionTime", set(self.completion_time)),
            ("pods", format!("{:?}", self.pods)),
            ("processes", self.begun.join(" ")),
        ];
        let conditions = self.conditions.iter().map(|(kind, said)| (format!("condition {kind}"), said.clone()));
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(conditions).collect()
    }
}

/// The completion index of a pod, as both kinds show it.
pub(super) fn index(pod: &Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(labels::COMPLETION_INDEX).map(String::as_str)
}

/// The message of a condition, to be looked at by people.
pub(super) fn messages(job: &DynamicObject) -> Vec<String> {
    let conditions = job.data.get("status").and_then(|status| status.get("conditions")).and_then(Value::as_array);
    let said = |c: &Value| {
        format!("{}: {}", c["type"].as_str().unwrap_or_default(), c["message"].as_str().unwrap_or_default())
    };
    conditions.into_iter().flatten().map(said).collect()
}
