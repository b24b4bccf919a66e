//! The stable words of a CmdJob's status: condition types and reasons. Scripts may depend on them; they are never
//! renamed, only added to.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// The types of a CmdJob's conditions.
///
/// `Complete`, `Failed`, `Suspended`, `FailureTarget` and `SuccessCriteriaMet` are batch/v1 Job's. `Reconciling` and `Stalled` are kstatus's
/// (sigs.k8s.io/cli-utils), by which helm, flux and argo tell whether an object is done; both are present only when true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray)]
pub enum ConditionType {
    /// The command ran and ended with exit code 0. Final.
    Complete,
    /// The job has failed and will not be tried again. Final.
    Failed,
    /// The job is suspended and none of its processes is left.
    Suspended,
    /// It is decided that the job fails; its processes are being ended. `Failed` follows when they are gone.
    FailureTarget,
    /// It is decided that the job succeeds; what still runs of it is being ended. `Complete` follows when that is gone.
    SuccessCriteriaMet,
    /// The job is not finished: there is something to wait for.
    Reconciling,
    /// The job needs somebody's hand: it has failed, or can never run as it is.
    Stalled,
}

/// Why a CmdJob is in the state that it is in: `status.reason`, and the reason of its conditions.
///
/// | reason | state | meaning |
/// |---|---|---|
/// | `NodeMissing` | Waiting | there is no vk-node of the target's name |
/// | `NodeNotReady` | Waiting | the node is not heard from, or says that it is not ready |
/// | `NodeCordoned` | Waiting | the node takes no new work (`kubectl cordon`) |
/// | `BackOff` | Waiting | the last attempt failed; the next one starts after a pause |
/// | `PodRefused` | Waiting | the API server did not take the pod (quota, policy, a webhook that does not answer); it is asked again with growing pauses, up to a minute, and sooner only when the spec is changed |
/// | `NameTaken` | Waiting | a pod of another owner has the name that this attempt's pod must have |
/// | `Recording` | Waiting | what has ended is being written down before anything else is started |
/// | `Dependency` | Waiting | another CmdJob that `spec.after` names is not there yet, or not finished |
/// | `DependencyCycle` | Waiting | the job waits for itself, by way of others |
/// | `NoNodes` | Waiting | there is no vk-node in the fleet or of the labels that the target names |
/// | `NoRoom` | Waiting | what the job asks for is in use by others: it waits for its turn; the message says what is lacking where, or how a node has refused it |
/// | `NoNodeFits` | Waiting | there are nodes that are meant, and none can take the job as it is; the message says why not |
/// | `NoParallelism` | Waiting | `spec.parallelism` is 0 |
/// | `PodPending` | Pending | the pod is made; the node has not started its process yet |
/// | `ProcessRunning` | Running | the process runs |
/// | `NodeUnreachable` | Running, Terminating | a node that runs a part of the job is not heard from: its processes may run or not |
/// | `Suspending` | Terminating | the job was suspended; its process is being ended |
/// | `Deleting` | Terminating | the CmdJob is being deleted |
/// | `JobSuspended` | Suspended | `spec.suspend` is true |
/// | `JobResumed` | – | the reason of `Suspended=False`: `spec.suspend` is false again |
/// | `CompletionsReached` | Complete | the command ended with exit code 0, as often as was asked for |
/// | `SuccessPolicy` | Terminating, Complete | a rule of `spec.successPolicy` is met |
/// | `BackoffLimitExceeded` | Failed | more attempts failed than `spec.backoffLimit` allows |
/// | `DeadlineExceeded` | Terminating, Failed | the job was active for longer than `spec.activeDeadlineSeconds` |
/// | `PodFailurePolicy` | Terminating, Failed | a rule of `spec.podFailurePolicy` fails the job |
/// | `FailedIndexes` | Failed | every index has ended, and some have failed |
/// | `MaxFailedIndexesExceeded` | Terminating, Failed | more indexes failed than `spec.maxFailedIndexes` allows |
/// | `DependencyNeverSatisfied` | Failed | what `spec.after` waits for cannot come any more |
/// | `UnknownEnd` | Terminating, Failed | nobody knows how an attempt ended, so it is not run again unasked |
/// | `Invalid` | Invalid | the object says something that cannot be done; the message lists all of it. Or the API server says that no such pod can be: it is asked again all the same, for that may be by a policy |
///
/// `CompletionsReached`, `SuccessPolicy`, `BackoffLimitExceeded`, `DeadlineExceeded`, `PodFailurePolicy`, `FailedIndexes`,
/// `MaxFailedIndexesExceeded`, `JobSuspended` and `JobResumed` are batch/v1 Job's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray)]
#[expect(missing_docs, reason = "the table above says it once")]
pub enum Reason {
    NodeMissing,
    NodeNotReady,
    NodeCordoned,
    BackOff,
    PodRefused,
    NameTaken,
    Recording,
    Dependency,
    DependencyCycle,
    NoNodes,
    NoRoom,
    NoNodeFits,
    NoParallelism,
    PodPending,
    ProcessRunning,
    NodeUnreachable,
    Suspending,
    Deleting,
    JobSuspended,
    JobResumed,
    CompletionsReached,
    SuccessPolicy,
    BackoffLimitExceeded,
    DeadlineExceeded,
    PodFailurePolicy,
    FailedIndexes,
    MaxFailedIndexesExceeded,
    DependencyNeverSatisfied,
    UnknownEnd,
    Invalid,
}
