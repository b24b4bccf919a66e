//! Who asks for what, and what is said.

/// Who asks. All of them may make pods and all else that has pods, in the namespace; the rest is the policies' affair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Who {
    /// Of `system:masters`.
    Admin,
    /// With no right to vk-nodes.
    Stranger,
    /// With the chart's ClusterRole, bound in the namespace.
    User,
    /// With a Role of its own for the one node.
    OfOneNode,
    /// The chart's ServiceAccount.
    Operator,
    Scheduler,
    /// The controller of DaemonSets.
    DaemonSets,
    /// The controller of ReplicaSets.
    ReplicaSets,
}

impl Who {
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Admin => None,
            Self::Stranger => Some("admission-stranger"),
            Self::User => Some("admission-user"),
            Self::OfOneNode => Some("admission-of-one-node"),
            Self::Operator => Some("system:serviceaccount:vk-cmd-system:vk-cmd"),
            Self::Scheduler => Some("system:kube-scheduler"),
            Self::DaemonSets => Some("system:serviceaccount:kube-system:daemon-set-controller"),
            Self::ReplicaSets => Some("system:serviceaccount:kube-system:replicaset-controller"),
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// A pod with this in its spec (YAML).
    Pod(&'static str),
    /// An object of this group, version and plural whose pods have this in their spec.
    Template(&'static str, &'static str),
    /// A CronJob whose Jobs' pods have it.
    CronJob(&'static str),
    /// This is merged into the spec of the pod `waiting`, which waits for a scheduler that does not exist.
    Change(&'static str),
    /// The same of the pod `there`, which is on the node.
    ChangeThere(&'static str),
    /// A label on `there`.
    Label,
    /// A container is added to `there`, as by `kubectl debug`.
    Debug,
    /// `waiting` is bound to this node.
    Bind(&'static str),
    /// The same by the older resource.
    OldBind(&'static str),
    /// A CmdJob with this target.
    CmdJob(&'static str),
}

pub(super) const TOLERATION: &str =
    "tolerations: [{key: virtual-kubelet.io/provider, operator: Exists, effect: NoSchedule}]";
pub(super) const EVERYTHING: &str = "tolerations: [{operator: Exists}]";
/// What `waiting` has already, by Kubernetes' admission, and everything.
pub(super) const MORE: &str = "tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}, {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}, {operator: Exists}]";
pub(super) const ELSEWHERE: &str = "tolerations: [{operator: Exists}], affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: type, operator: NotIn, values: [virtual-kubelet]}]}]}}}";
pub(super) const BY_FIELD: &str = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [vk-admission]}]}]}}}, tolerations: [{operator: Exists}]";
pub(super) const BY_FIELD_ELSEWHERE: &str = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [worker-1]}]}]}}}, tolerations: [{operator: Exists}]";
pub(super) const BY_NAME: &str = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [worker-1, vk-admission]}]}]}}}";
pub(super) const BY_TYPE: &str = "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: type, operator: In, values: [virtual-kubelet]}]}]}}}";

pub(super) const NAMES: &str = "it names vk-admission";
pub(super) const TOLERATES: &str = "it tolerates the taint virtual-kubelet.io/provider";
pub(super) const SELECTS: &str = "it selects vk-cmd nodes";
pub(super) const BINDS: &str = "this binds a pod to the vk-cmd node vk-admission, which";

/// Who asks for what, and what is said if it is refused.
pub(super) const ROWS: &[(Who, Way, Option<&str>)] = &[
    // What has nothing to do with vk-nodes is nobody's affair.
    (Who::Stranger, Way::Pod(""), None),
    (Who::Stranger, Way::Pod("nodeName: worker-1"), None),
    (Who::Stranger, Way::Pod("nodeSelector: {disk: ssd}, tolerations: [{key: gpu, operator: Exists}]"), None),
    (
        Who::Stranger,
        Way::Pod("tolerations: [{key: virtual-kubelet.io/provider, value: azure, effect: NoSchedule}]"),
        None,
    ),
    (Who::Stranger, Way::Pod("tolerations: [{operator: Exists, effect: NoExecute}]"), None),
    (
        Who::Stranger,
        Way::Pod("nodeSelector: {kubernetes.io/hostname: worker-1}, tolerations: [{operator: Exists}]"),
        None,
    ),
    (Who::Stranger, Way::Pod("nodeSelector: {type: metal}, tolerations: [{operator: Exists}]"), None),
    (Who::Stranger, Way::Pod("nodeName: worker-1, tolerations: [{operator: Exists}]"), None),
    (Who::Stranger, Way::Pod(ELSEWHERE), None),
    (Who::Stranger, Way::Pod(BY_FIELD_ELSEWHERE), None),
    (Who::Stranger, Way::Template("apps/v1/daemonsets", ELSEWHERE), None),
    (Who::Stranger, Way::Template("apps/v1/deployments", ""), None),
    (Who::Stranger, Way::CronJob(""), None),
    (Who::Stranger, Way::Change("activeDeadlineSeconds: 900"), None),
    (Who::Stranger, Way::Bind("worker-1"), None),
    (Who::Stranger, Way::Label, None),
    // Every way to a vk-node.
    (Who::Stranger, Way::Pod("nodeName: vk-admission"), Some(NAMES)),
    (Who::Stranger, Way::Pod("nodeName: vk-not-there"), Some("it names vk-not-there")),
    (Who::Stranger, Way::Pod("nodeSelector: {kubernetes.io/hostname: vk-admission}"), Some(NAMES)),
    (Who::Stranger, Way::Pod(TOLERATION), Some(TOLERATES)),
    (Who::Stranger, Way::Pod("tolerations: [{key: virtual-kubelet.io/provider, value: vk-cmd}]"), Some(TOLERATES)),
    (Who::Stranger, Way::Pod(EVERYTHING), Some(TOLERATES)),
    (Who::Stranger, Way::Pod("tolerations: [{operator: Exists, effect: NoSchedule}]"), Some(TOLERATES)),
    (Who::Stranger, Way::Pod(BY_FIELD), Some(TOLERATES)),
    (Who::Stranger, Way::Pod(BY_NAME), Some(SELECTS)),
    (Who::Stranger, Way::Pod(BY_TYPE), Some(SELECTS)),
    (Who::Stranger, Way::Pod("nodeSelector: {type: virtual-kubelet}"), Some(SELECTS)),
    (Who::Stranger, Way::Pod("nodeSelector: {vk-cmd.io/fleet: f}"), Some(SELECTS)),
    (Who::Stranger, Way::Template("apps/v1/deployments", TOLERATION), Some(TOLERATES)),
    (Who::Stranger, Way::Template("apps/v1/replicasets", TOLERATION), Some(TOLERATES)),
    (Who::Stranger, Way::Template("apps/v1/statefulsets", "nodeName: vk-admission"), Some(NAMES)),
    (Who::Stranger, Way::Template("apps/v1/daemonsets", EVERYTHING), Some(TOLERATES)),
    (
        Who::Stranger,
        Way::Template("batch/v1/jobs", "nodeSelector: {kubernetes.io/hostname: vk-admission}"),
        Some(NAMES),
    ),
    (Who::Stranger, Way::Template("v1/replicationcontrollers", TOLERATION), Some(TOLERATES)),
    (Who::Stranger, Way::CronJob(TOLERATION), Some(TOLERATES)),
    (Who::Stranger, Way::Change(MORE), Some(TOLERATES)),
    (Who::Stranger, Way::ChangeThere("containers: [{name: c, image: vk-cmd.io/other}]"), Some(NAMES)),
    (Who::Stranger, Way::Debug, Some(NAMES)),
    (Who::Stranger, Way::Bind("vk-admission"), Some(BINDS)),
    (Who::Stranger, Way::OldBind("vk-admission"), Some(BINDS)),
    (Who::Stranger, Way::CmdJob("node: vk-admission"), Some("this runs on vk-admission, which")),
    (Who::Stranger, Way::CmdJob("fleet: f"), Some("this runs on any vk-cmd node, which")),
    // Those who may use vk-nodes here.
    (Who::User, Way::Pod("nodeName: vk-admission"), None),
    (Who::User, Way::Pod(TOLERATION), None),
    (Who::User, Way::Pod(EVERYTHING), None),
    (Who::User, Way::Template("apps/v1/deployments", TOLERATION), None),
    (Who::User, Way::CronJob(TOLERATION), None),
    (Who::User, Way::Change(MORE), None),
    (Who::User, Way::Debug, None),
    (Who::User, Way::Bind("vk-admission"), None),
    (Who::User, Way::CmdJob("fleet: f"), None),
    // Who may use one of them.
    (Who::OfOneNode, Way::Pod("nodeName: vk-admission"), None),
    (
        Who::OfOneNode,
        Way::Pod("nodeSelector: {kubernetes.io/hostname: vk-admission}, tolerations: [{operator: Exists}]"),
        None,
    ),
    (Who::OfOneNode, Way::Pod("nodeName: vk-not-there"), Some("it names vk-not-there")),
    (Who::OfOneNode, Way::Pod(TOLERATION), Some(TOLERATES)),
    (Who::OfOneNode, Way::CmdJob("node: vk-admission"), None),
    (Who::OfOneNode, Way::CmdJob("nodeSelector: {a: b}"), Some("this runs on any vk-cmd node")),
    // Who does it for others.
    (
        Who::Operator,
        Way::Pod("nodeName: vk-admission, tolerations: [{key: virtual-kubelet.io/provider, value: vk-cmd}]"),
        None,
    ),
    (Who::Scheduler, Way::Bind("vk-admission"), None),
    (Who::DaemonSets, Way::Pod(BY_FIELD), None),
    (Who::ReplicaSets, Way::Pod(TOLERATION), None),
    // system:masters are allowed whatever is asked about.
    (Who::Admin, Way::Pod("nodeName: vk-admission"), None),
    (Who::Admin, Way::Template("apps/v1/daemonsets", EVERYTHING), None),
    (Who::Admin, Way::Debug, None),
    (Who::Admin, Way::CmdJob("fleet: f"), None),
];
