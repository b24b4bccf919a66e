//! The stable words of a CmdJob's status: condition types and reasons. Scripts may depend on them; they are never
//! renamed, only added to.

use strum::{Display, EnumMessage, EnumProperty, EnumString, IntoStaticStr, VariantArray};

/// The types of a CmdJob's conditions.
///
/// `Complete`, `Failed`, `Suspended`, `FailureTarget` and `SuccessCriteriaMet` are batch/v1 Job's. `Reconciling` and `Stalled` are kstatus's
/// (sigs.k8s.io/cli-utils), by which helm, flux and argo tell whether an object is done; both are present only when true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray, EnumMessage)]
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

/// Why a CmdJob is in the state that it is in: `status.reason`, and the reason of its conditions. The properties are the states in which
/// it is met, and what somebody can do; all of it is in docs/reference/reasons.md.
///
/// `CompletionsReached`, `SuccessPolicy`, `BackoffLimitExceeded`, `DeadlineExceeded`, `PodFailurePolicy`, `FailedIndexes`,
/// `MaxFailedIndexesExceeded`, `JobSuspended` and `JobResumed` are batch/v1 Job's.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Display, EnumString, IntoStaticStr, VariantArray, EnumMessage, EnumProperty,
)]
pub enum Reason {
    /// there is no vk-node of the target's name
    #[strum(props(
        states = "Waiting",
        advice = "see `kubectl get nodes -l type=virtual-kubelet`: name a node that is there, or have it started at its site"
    ))]
    NodeMissing,
    /// the node is not heard from, or says that it is not ready
    #[strum(props(
        states = "Waiting",
        advice = "at the site: `vk-node status`, `vk-node doctor`. The job goes there when the node is back"
    ))]
    NodeNotReady,
    /// the node takes no new work (`kubectl cordon`)
    #[strum(props(
        states = "Waiting",
        advice = "`kubectl uncordon`, or wait; of a node that was drained at its site, `vk-node drain --undo`"
    ))]
    NodeCordoned,
    /// the last attempt failed; the next one starts after a pause
    #[strum(props(
        states = "Waiting",
        advice = "nothing; see the last attempt (`kubectl logs`, `kubectl cmdjob explain`) for why it failed"
    ))]
    BackOff,
    /// the API server did not take the pod (quota, policy, a webhook that does not answer); it is asked again with
    /// growing pauses, up to a minute, and sooner only when the spec is changed
    #[strum(props(
        states = "Waiting",
        advice = "do what the message says: a quota, a policy, a webhook of the cluster"
    ))]
    PodRefused,
    /// a pod of another owner has the name that this attempt's pod must have
    #[strum(props(
        states = "Waiting",
        advice = "delete the pod that the message names, or make the CmdJob under another name"
    ))]
    NameTaken,
    /// what has ended is being written down before anything else is started
    #[strum(props(states = "Waiting", advice = "nothing: it takes a moment"))]
    Recording,
    /// another CmdJob that `spec.after` names is not there yet, or not finished
    #[strum(props(states = "Waiting", advice = "nothing, or look at the CmdJob that is waited for"))]
    Dependency,
    /// the job waits for itself, by way of others
    #[strum(props(states = "Waiting", advice = "delete one of the CmdJobs that wait for each other"))]
    DependencyCycle,
    /// there is no vk-node in the fleet or of the labels that the target names
    #[strum(props(
        states = "Waiting",
        advice = "have nodes started there, or name another fleet or other labels: `kubectl get cmdfleets`, `kubectl cmdjob nodes`"
    ))]
    NoNodes,
    /// what the job asks for is in use by others: it waits for its turn; the message says what is lacking where, or
    /// how a node has refused it
    #[strum(props(
        states = "Waiting",
        advice = "wait for its turn; ask for less, or have more nodes started (docs/explanation/queue.md)"
    ))]
    NoRoom,
    /// there are nodes that are meant, and none can take the job as it is; the message says why not
    #[strum(props(
        states = "Waiting",
        advice = "ask for less than the message says is lacking, or for another target"
    ))]
    NoNodeFits,
    /// `spec.parallelism` is 0
    #[strum(props(states = "Waiting", advice = "set `spec.parallelism` to 1 or more"))]
    NoParallelism,
    /// the pod is made; the node has not started its process yet
    #[strum(props(states = "Pending", advice = "nothing; if it stays so, see the node: `vk-node status` at its site"))]
    PodPending,
    /// the process runs
    #[strum(props(states = "Running", advice = "nothing"))]
    ProcessRunning,
    /// a node that runs a part of the job is not heard from: its processes may run or not
    #[strum(props(
        states = "Running, Terminating",
        advice = "wait: the node tells what became of it when it is heard from again. Where it never will be, delete its Node object"
    ))]
    NodeUnreachable,
    /// the job was suspended; its process is being ended
    #[strum(props(states = "Terminating", advice = "nothing"))]
    Suspending,
    /// the CmdJob is being deleted
    #[strum(props(
        states = "Terminating",
        advice = "nothing; if it stays so, the node is not heard from, or a process does not end: see the pod"
    ))]
    Deleting,
    /// `spec.suspend` is true
    #[strum(props(states = "Suspended", advice = "`kubectl cmdjob release NAME`, when it is to go on"))]
    JobSuspended,
    /// the reason of `Suspended=False`: `spec.suspend` is false again
    #[strum(props(states = "–", advice = "nothing"))]
    JobResumed,
    /// the command ended with exit code 0, as often as was asked for
    #[strum(props(states = "Complete", advice = "nothing"))]
    CompletionsReached,
    /// a rule of `spec.successPolicy` is met
    #[strum(props(states = "Terminating, Complete", advice = "nothing"))]
    SuccessPolicy,
    /// more attempts failed than `spec.backoffLimit` allows
    #[strum(props(
        states = "Failed",
        advice = "see the attempts: `kubectl cmdjob explain NAME`, `kubectl cmdjob logs NAME`"
    ))]
    BackoffLimitExceeded,
    /// the job was active for longer than `spec.activeDeadlineSeconds`
    #[strum(props(
        states = "Terminating, Failed",
        advice = "give it more time, or none: `spec.activeDeadlineSeconds` counts its waiting too"
    ))]
    DeadlineExceeded,
    /// a rule of `spec.podFailurePolicy` fails the job
    #[strum(props(states = "Terminating, Failed", advice = "see the attempt that the message names"))]
    PodFailurePolicy,
    /// every index has ended, and some have failed
    #[strum(props(states = "Failed", advice = "see `status.failedIndexes`, and the logs of those"))]
    FailedIndexes,
    /// more indexes failed than `spec.maxFailedIndexes` allows
    #[strum(props(states = "Terminating, Failed", advice = "see `status.failedIndexes`, and the logs of those"))]
    MaxFailedIndexesExceeded,
    /// what `spec.after` waits for cannot come any more
    #[strum(props(states = "Failed", advice = "make it anew, when what it waits for has come about"))]
    DependencyNeverSatisfied,
    /// nobody knows how an attempt ended, so it is not run again unasked
    #[strum(props(
        states = "Terminating, Failed",
        advice = "look at the machine what the command has done; make the job anew. `spec.onUnknown: Retry` has it tried again by itself"
    ))]
    UnknownEnd,
    /// the object says something that cannot be done; the message lists all of it. Or the API server says that no
    /// such pod can be: it is asked again all the same, for that may be by a policy
    #[strum(props(states = "Invalid", advice = "correct all that the message lists, and apply it again"))]
    Invalid,
}
