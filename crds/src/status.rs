//! What a CmdJob says about itself.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumMessage, IntoStaticStr, VariantArray};

/// What has become of the CmdJob so far. Written by the operator only.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CmdJobStatus {
    /// The metadata.generation that this status was made for. While it is lower than metadata.generation, the operator
    /// has not seen the last change yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the job is, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Why it is there, as one stable word for programs. All of them are listed in the documentation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in plain words: why it is not running yet and what to do about it, or how it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The exit code of the last attempt that ended: what the command returned, or 128+n if signal n killed it. Absent
    /// until then, and when nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Complete, Failed, Suspended and FailureTarget as in batch/v1 Job; Reconciling and Stalled as tools know them from
    /// kstatus.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Attempts whose pod exists and has not ended.
    #[serde(default)]
    pub active: i32,
    /// Those among the active ones whose process runs.
    #[serde(default)]
    pub ready: i32,
    /// Attempts that are being ended, their pods deleted and their processes not yet gone.
    #[serde(default)]
    pub terminating: i32,
    /// Attempts that ended with exit code 0.
    #[serde(default)]
    pub succeeded: i32,
    /// Attempts that failed, those no longer listed in `attempts` included. Attempts ended by `spec.suspend` are not counted.
    #[serde(default)]
    pub failed: i32,
    /// When the operator took the job up. Cleared while it is suspended, and set anew when it is resumed, as in batch/v1
    /// Job: `spec.activeDeadlineSeconds` counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the job completed. Set only on success, as in batch/v1 Job; the time of a failure is in the condition Failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// How long the last attempt ran, e.g. "1h5m". Set when the job is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Of an Indexed job, the indexes that have succeeded, as numbers and ranges: "1,3-5,7". As in batch/v1 Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_indexes: Option<String>,
    /// With backoffLimitPerIndex, the indexes that have failed, in the same form. As in batch/v1 Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_indexes: Option<String>,
    /// What the operator has counted, for itself: attempts that it has counted are never counted again.
    #[serde(default, skip_serializing_if = "Ledger::is_empty")]
    pub ledger: Ledger,
    /// The nodes of everyNode, by index: those that were there when the job was taken up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// Pods made for this job, by index and attempt: up to ten that have not ended, and the last ten that have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["index", "attempt"]))]
    pub attempts: Vec<Attempt>,
}

/// What of a job has been counted. Sets of indexes are written as numbers and ranges: "1,3-5,7".
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// The indexes that have succeeded, of a job that does not show them as completedIndexes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub done: String,
    /// Of each index with attempts that have ended without success: INDEX:ATTEMPTS/FAILURES, how many there were and how many
    /// of them count as failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tries: String,
    /// The indexes whose attempt the operator ends of its own accord, without its counting as failed. Written down before
    /// their pods are deleted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stopping: String,
}

impl Ledger {
    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where the CmdJob is, in one word.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Deserialize,
    Serialize,
    JsonSchema,
    Display,
    IntoStaticStr,
    VariantArray,
    EnumMessage,
)]
pub enum State {
    /// No process was asked for yet, or not again yet: `message` says what is missing.
    Waiting,
    /// The pod is made; its node has not started the process yet.
    Pending,
    /// The process runs.
    Running,
    /// The process is being ended: the job was suspended, is being deleted, or ran into its deadline.
    Terminating,
    /// `spec.suspend` is true and no process is left.
    Suspended,
    /// The command ended with exit code 0.
    Complete,
    /// The job has failed and will not be tried again.
    Failed,
    /// The job can never run as it is written: `message` says what to change.
    Invalid,
}

/// One pod made for one index of a CmdJob: one run of the command.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The completion index that it works on. Of a NonIndexed job it only tells attempts apart.
    pub index: i32,
    /// Its number at that index, from 0.
    pub attempt: i32,
    /// The name of its pod, for kubectl logs.
    pub pod: String,
    /// The UID of its pod.
    pub pod_uid: String,
    /// The node that it was sent to.
    pub node: String,
    /// Where it is.
    pub state: AttemptState,
    /// The exit code: what the command returned, or 128+n if signal n killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that killed it, e.g. SIGKILL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why it ended or is being ended, as one word: the node's; Suspended or ScaledDown; or the reason for which all of the job is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in plain words, if there is more to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the process started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended, or when its end was noticed if nobody wrote that down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Time>,
}

/// Where an attempt is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Deserialize,
    Serialize,
    JsonSchema,
    Display,
    IntoStaticStr,
    VariantArray,
    EnumMessage,
)]
pub enum AttemptState {
    /// The pod is made; the process has not started.
    Pending,
    /// The process runs.
    Running,
    /// The operator ends it; `reason` says why. Written down before its pod is deleted.
    Stopping,
    /// Exit code 0. Final.
    Succeeded,
    /// Anything else, the disappearance of its pod included. Final.
    Failed,
    /// Ended because the job was suspended: neither a success nor a failure. Final.
    Stopped,
    /// Nobody knows how it ended. Final.
    Unknown,
    /// The node had no room or no time for it after all: nothing was started, and it counts for nothing. Final.
    Refused,
}

impl AttemptState {
    /// Whether nothing more will happen to the attempt.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::Stopping => false,
            Self::Succeeded | Self::Failed | Self::Stopped | Self::Unknown | Self::Refused => true,
        }
    }
}
