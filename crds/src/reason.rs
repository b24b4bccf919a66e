//! The stable words of a CmdJob's status: condition types and reasons. Scripts may depend on them; they are never
//! renamed, only added to.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// The types of a CmdJob's conditions.
///
/// `Complete`, `Failed`, `Suspended` and `FailureTarget` are batch/v1 Job's. `Reconciling` and `Stalled` are kstatus's
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
/// | `PodRefused` | Waiting | the API server did not take the pod (quota, policy); it is asked again with growing pauses |
/// | `NameTaken` | Waiting | a pod of another owner has the name that this attempt's pod must have |
/// | `Recording` | Waiting | the end of the last attempt is being written down before anything else is started |
/// | `PodPending` | Pending | the pod is made; the node has not started its process yet |
/// | `ProcessRunning` | Running | the process runs |
/// | `Suspending` | Terminating | the job was suspended; its process is being ended |
/// | `Deleting` | Terminating | the CmdJob is being deleted |
/// | `JobSuspended` | Suspended | `spec.suspend` is true |
/// | `JobResumed` | – | the reason of `Suspended=False`: `spec.suspend` is false again |
/// | `CompletionsReached` | Complete | the command ended with exit code 0 |
/// | `BackoffLimitExceeded` | Failed | more attempts failed than `spec.backoffLimit` allows |
/// | `DeadlineExceeded` | Terminating, Failed | the job was active for longer than `spec.activeDeadlineSeconds` |
/// | `UnknownEnd` | Failed | nobody knows how an attempt ended, so it is not run again unasked |
/// | `Invalid` | Invalid | the object says something that cannot be done; the message lists all of it |
///
/// `CompletionsReached`, `BackoffLimitExceeded`, `DeadlineExceeded`, `JobSuspended` and `JobResumed` are batch/v1 Job's.
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
    PodPending,
    ProcessRunning,
    Suspending,
    Deleting,
    JobSuspended,
    JobResumed,
    CompletionsReached,
    BackoffLimitExceeded,
    DeadlineExceeded,
    UnknownEnd,
    Invalid,
}
