//! Labels, annotations, taints and other fixed strings that appear on Kubernetes objects.

/// The API group of every vk-cmd resource.
pub const GROUP: &str = "vk-cmd.io";
/// The version of [`crate::CmdJob`].
pub const VERSION: &str = "v1alpha1";

/// The kind of [`crate::CmdJob`].
pub const KIND: &str = "CmdJob";
/// The kind of [`crate::CmdFleet`].
pub const FLEET_KIND: &str = "CmdFleet";

/// Pod label: the name of the CmdJob that the pod was made for.
pub const JOB: &str = "vk-cmd.io/job";
/// Pod label: the UID of that CmdJob. A job made again under an old name has another.
pub const JOB_UID: &str = "vk-cmd.io/job-uid";
/// Pod label: the completion index that the pod works on, from 0.
pub const INDEX: &str = "vk-cmd.io/index";
/// Pod label: the number of the attempt at that index, from 0.
pub const ATTEMPT: &str = "vk-cmd.io/attempt";

/// The finalizer by which a pod of a CmdJob stays until its end has been counted, and a CmdJob until its processes are gone. When the
/// job is finished or suspended, neither has it any more.
pub const FINALIZER: &str = "vk-cmd.io/tracking";

/// Pod annotation and variable of an Indexed job: the completion index, as in batch/v1 Job.
pub const COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// The variable of an Indexed job with the completion index, as in batch/v1 Job.
pub const COMPLETION_INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// Annotation with a `traceparent` of W3C Trace Context. On a CmdJob, by whoever makes it: the trace that the job belongs to. On
/// each of its pods, by the operator: that trace and the attempt's own span, as the process has them in
/// [`TRACE_PARENT_VARIABLE`].
pub const TRACE_PARENT: &str = "vk-cmd.io/traceparent";
/// The variable of a process with its `traceparent`: what OpenTelemetry calls environment variables as context propagation
/// carriers.
pub const TRACE_PARENT_VARIABLE: &str = "TRACEPARENT";

/// Pod annotation: the pod's command carries a script. Its value is a [`ScriptForm`].
///
/// `command` is then `[SHELL, "-c", TEXT]`, where every `$` of the script is doubled in TEXT, so that Kubernetes'
/// expansion of `$(VAR)` and `$$` gives the script back unchanged. Any container runtime can run that as it stands; a
/// vk-node writes the script to a file instead, because Linux limits one argument of execve to 128 KiB.
pub const SCRIPT: &str = "vk-cmd.io/script";

/// The values of the annotation [`SCRIPT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ScriptForm {
    /// Run `SHELL FILE`.
    Shell,
    /// The script begins with `#!`: run FILE itself.
    Shebang,
}

/// Node label that every vk-node carries, with the value [`NODE_TYPE_VALUE`].
pub const NODE_TYPE: &str = "type";
/// The value of [`NODE_TYPE`] on vk-nodes.
pub const NODE_TYPE_VALUE: &str = "virtual-kubelet";
/// Well-known node label by which a pod is sent to one node.
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// Node label: the place that the node is at.
pub const SITE: &str = "vk-cmd.io/site";
/// Node label: the nodes that are run as one group at a site.
pub const FLEET: &str = "vk-cmd.io/fleet";
/// Node label, and label of the CmdJob that a pilot is: the pilot that the node runs in.
pub const PILOT: &str = "vk-cmd.io/pilot";
/// Label of the CmdJob that a pilot is: a digest of the launcher that it was made by.
pub const LAUNCHER: &str = "vk-cmd.io/launcher";
/// Node label: what the node is, `cpu` say.
pub const NODE_KIND: &str = "vk-cmd.io/nodetype";
/// Node label of the system that vk-cmd replaces: as [`SITE`].
pub const JIRIAF_SITE: &str = "jiriaf.site";
/// Node label of the system that vk-cmd replaces: as [`NODE_KIND`].
pub const JIRIAF_NODE_TYPE: &str = "jiriaf.nodetype";
/// Node label of the system that vk-cmd replaces: how long the node is there in all, in seconds.
pub const JIRIAF_WALLTIME: &str = "jiriaf.walltime";
/// Node label of the system that vk-cmd replaces: how long the node is there from now on, in seconds.
pub const JIRIAF_ALIVETIME: &str = "jiriaf.alivetime";

/// Node annotation: when the node ends (RFC 3339), where that is known. Nothing is sent there that takes longer.
pub const ENDS_AT: &str = "vk-cmd.io/ends-at";
/// Node annotation: so many seconds before [`ENDS_AT`] the node is Ending, and nothing is sent there that would end later than that.
pub const WALLTIME_MARGIN: &str = "vk-cmd.io/walltime-margin-seconds";
/// Node condition: whether the API server reaches the node, for logs, exec and the like, as far as the node can tell.
pub const REACHABLE: &str = "vk-cmd.io/Reachable";
/// Node condition: its end is near, or it was told that it will end. Nothing is sent there any more.
pub const ENDING: &str = "vk-cmd.io/Ending";
/// The reason of that condition where the node does not end: its site's administrator has it take nothing new (`vk-node drain`).
pub const DRAINED: &str = "Drained";
/// Node annotation: when the node left (RFC 3339), with nothing left running and all ends told. Its object can be removed, which
/// no node may do itself (NodeRestriction).
pub const LEFT: &str = "vk-cmd.io/left";
/// Annotation of a pod, or of a CmdJob for its pods: the signal that warns its processes of the end of their node, and how many
/// seconds before it that comes: `USR1@120`, as `sbatch --signal`.
pub const WARNING_SIGNAL: &str = "vk-cmd.io/warning-signal";
/// Node annotation: which namespaces its site takes pods of, as JSON, `{"allow": [PATTERN…], "deny": [PATTERN…]}`; without it, all.
pub const NAMESPACES: &str = "vk-cmd.io/namespaces";

/// Node annotation: why the operator has cordoned the node, as words with commas between them. The operator uncordons it when none
/// is left, and never a node that has no such annotation: somebody else has cordoned that one.
pub const CORDONED_BY: &str = "vk-cmd.io/cordoned-by";

/// Key of the taint on every vk-node: pods that know nothing of vk-cmd stay away.
pub const TAINT_KEY: &str = "virtual-kubelet.io/provider";
/// Value of the taint [`TAINT_KEY`].
pub const TAINT_VALUE: &str = "vk-cmd";
/// Effect of the taint [`TAINT_KEY`].
pub const TAINT_EFFECT: &str = "NoSchedule";

/// The name of the one container of a CmdJob's pod.
pub const MAIN_CONTAINER: &str = "main";
/// The image of a pod that runs on the host itself. Pods must name an image; this one says that there is none, and is
/// never pulled.
pub const HOST_IMAGE: &str = "vk-cmd.io/host";

/// Whether `image` is [`HOST_IMAGE`], with or without a tag.
#[must_use]
pub fn is_host_image(image: &str) -> bool {
    image.strip_prefix(HOST_IMAGE).is_some_and(|tag| tag.is_empty() || tag.starts_with(':'))
}

/// The reason, in a terminated container's state, that says that nobody knows how the container ended.
/// The kubelet uses the same word.
pub const CONTAINER_STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
