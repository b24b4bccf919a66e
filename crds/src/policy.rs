//! What a CmdJob makes of the ends of its attempts. Names and meanings are those of batch/v1 Job; the doc comments are what
//! `kubectl explain` prints.

#![allow(unreachable_pub, reason = "KubeSchema repeats the structs inside a function, pub and all")]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

/// What counts as done.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, Display, IntoStaticStr,
)]
pub enum CompletionMode {
    /// So many successes, of attempts that are all alike.
    #[default]
    NonIndexed,
    /// One success for each index from 0 to completions-1. The command finds its index in the variable
    /// JOB_COMPLETION_INDEX.
    Indexed,
}

/// What an attempt means of which nobody knows how it ended.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, Display, IntoStaticStr,
)]
pub enum OnUnknown {
    /// The job has failed: nothing is run twice unasked. With backoffLimitPerIndex, its index has.
    #[default]
    Fail,
    /// It counts as a failed attempt like any other.
    Retry,
}

/// What to do about failed attempts, by how they failed. The first rule that matches decides; if none does, the attempt
/// counts against the back-off limit. As in batch/v1 Job.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodFailurePolicy {
    /// The rules, in order; at most 20.
    #[schemars(length(max = 20))]
    pub rules: Vec<PodFailurePolicyRule>,
}

/// One rule: what to do about a failed attempt that is described by onExitCodes or by onPodConditions.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[x_kube(validation = ("has(self.onExitCodes) != (has(self.onPodConditions) && size(self.onPodConditions) > 0)", "a rule of podFailurePolicy has either onExitCodes or onPodConditions: make two rules of it"))]
#[serde(rename_all = "camelCase")]
pub struct PodFailurePolicyRule {
    /// What to do.
    pub action: PodFailurePolicyAction,
    /// Exit codes that the rule is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_exit_codes: Option<OnExitCodes>,
    /// Conditions of the pod that the rule is for: one of them is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub on_pod_conditions: Option<Vec<OnPodCondition>>,
}

/// What is done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, Display, IntoStaticStr)]
pub enum PodFailurePolicyAction {
    /// The job fails; what else runs of it is ended.
    FailJob,
    /// The index fails and is not tried again. Needs backoffLimitPerIndex.
    FailIndex,
    /// The attempt is not counted, and another one is made.
    Ignore,
    /// The attempt counts against the back-off limit, as without a rule.
    Count,
}

/// Exit codes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[x_kube(validation = ("self.operator != 'In' || !(0 in self.values)", "values of onExitCodes with the operator In cannot have 0, which is a success"))]
#[serde(rename_all = "camelCase")]
pub struct OnExitCodes {
    /// The container's name. A CmdJob has but one, main, so this may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = ("self == 'main'", "the one container of a CmdJob is called main: leave containerName out"))]
    pub container_name: Option<String>,
    /// Whether the exit code must be among the values, or must not.
    pub operator: ExitCodeOperator,
    /// The values in rising order, each once; at most 255. In of the values cannot be 0, which is no failure.
    #[schemars(length(max = 255), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(
        validation = ("size(self) > 0", "values of onExitCodes is empty: name at least one exit code"),
        validation = ("self.isSorted()", "values of onExitCodes are to be in rising order"),
    )]
    pub values: Vec<i32>,
}

/// How exit codes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, Display, IntoStaticStr)]
pub enum ExitCodeOperator {
    /// It is one of the values.
    In,
    /// It is none of the values.
    NotIn,
}

/// A condition of a pod, e.g. DisruptionTarget.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnPodCondition {
    /// Its type.
    #[serde(rename = "type")]
    #[schemars(length(max = 317))]
    #[x_kube(validation = ("self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$')", "the type of a pod's condition is a name such as DisruptionTarget, with a domain before it or without"))]
    pub type_: String,
    /// Its status: True, False or Unknown. Default True.
    #[serde(default = "yes")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = ("self in ['True', 'False', 'Unknown']", "the status of a pod's condition is True, False or Unknown"))]
    pub status: String,
}

fn yes() -> String {
    "True".to_owned()
}

/// When an Indexed job has succeeded though not every index has. The first rule that is met decides. As in batch/v1 Job.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SuccessPolicy {
    /// The rules, in order; at most 20.
    #[schemars(length(max = 20))]
    #[x_kube(validation = ("size(self) > 0", "successPolicy has no rules: leave it out, and every index must succeed"))]
    pub rules: Vec<SuccessPolicyRule>,
}

/// One rule: which indexes, how many of them, or how many of these.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[x_kube(validation = ("has(self.succeededIndexes) || has(self.succeededCount)", "a rule of successPolicy names succeededIndexes, succeededCount or both"))]
#[serde(rename_all = "camelCase")]
pub struct SuccessPolicyRule {
    /// Indexes below completions in rising order, e.g. "0,2-4": all of them must have succeeded, or succeededCount of them if that is set too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65_536))]
    #[x_kube(validation = ("self.matches('^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$')", "succeededIndexes is a list of indexes and ranges in rising order, e.g. 0,2-4"))]
    pub succeeded_indexes: Option<String>,
    /// How many of the indexes must have succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "succeededCount is 0 or more"))]
    pub succeeded_count: Option<i32>,
}

/// Another CmdJob of the same namespace, and what must have become of it before this one starts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct After {
    /// Its name.
    #[schemars(length(max = 63))]
    #[x_kube(validation = ("size(self) > 0", "after names another CmdJob of the same namespace"))]
    pub name: String,
    /// What must have become of it. Default Complete.
    #[serde(default)]
    pub when: When,
}

/// What must have become of a CmdJob. As `sbatch --dependency`: afterok, afternotok, afterany.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, Display, IntoStaticStr,
)]
pub enum When {
    /// It has succeeded.
    #[default]
    Complete,
    /// It has failed.
    Failed,
    /// Either.
    Finished,
}
