//! What is evicted from the nodes of a fleet that is drained. As `kubectl drain` does it (`k8s.io/kubectl/pkg/drain/filters.go`),
//! with two differences: what has ended is left, for its log may be wanted; and what is in an emptyDir goes with its pod.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;

/// The annotation of a pod that a kubelet has made of a file: deleting it deletes nothing.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What is to be done about a pod on a node that is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is evicted.
    Evict,
    /// It is left, and nobody waits for it: it has ended, or whoever has made it would make it there again.
    Ignore,
    /// It is waited for: it is being ended already.
    Wait,
    /// It is left, and somebody has to look after it: nobody would make it again.
    Unmanaged,
}

/// What is to be done about a pod.
pub fn verdict(pod: &Pod) -> Verdict {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if matches!(phase, Some("Succeeded" | "Failed")) {
        return Verdict::Ignore;
    }
    if pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR)) {
        return Verdict::Ignore;
    }
    let controller = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    match controller {
        Some(owner) if owner.kind == "DaemonSet" => Verdict::Ignore,
        _ if pod.metadata.deletion_timestamp.is_some() => Verdict::Wait,
        Some(_) => Verdict::Evict,
        None => Verdict::Unmanaged,
    }
}

/// Why a pod is still there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// A PodDisruptionBudget does not allow its eviction now; in the API server's words.
    Budget(String),
    /// The API server refuses its eviction.
    Refused(String),
    /// Nobody would make it again.
    Unmanaged,
    /// It is being ended.
    Ending,
}

/// A pod that is still there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// Why.
    pub held: Held,
    /// Its namespace and name, with a slash between them.
    pub pod: String,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pod, held } = self;
        match held {
            Held::Budget(said) => write!(f, "{pod} is kept by a PodDisruptionBudget: {}", said.trim_end_matches('.')),
            Held::Refused(said) => write!(f, "the eviction of {pod} is refused: {}", said.trim_end_matches('.')),
            Held::Unmanaged => write!(f, "{pod} has no controller that would make it again: delete it yourself"),
            Held::Ending => write!(f, "{pod} is being ended"),
        }
    }
}

/// What was left after the last evictions. Nobody knows before there were any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Those pods, the ones that need somebody's hand first.
    pub left: Vec<Left>,
}
