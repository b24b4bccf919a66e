//! Why a pod is not run here, in the words of its status.

use std::fmt;

use crate::ending::NoTime;
use crate::meant::{NODE_AFFINITY, NotMeant};
use crate::room::OutOf;

/// The `reason` of a pod that asks for what this node cannot do.
pub const REFUSED: &str = "UnsupportedPodSpec";

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It asks for what this node cannot do.
    #[error(transparent)]
    Unsupported(#[from] Problems),
    /// Others have what it asks for.
    #[error(transparent)]
    OutOf(#[from] OutOf),
    /// It is meant for other nodes.
    #[error(transparent)]
    NotMeant(#[from] NotMeant),
    /// The node ends too soon for it.
    #[error(transparent)]
    NoTime(#[from] NoTime),
}

/// All that a pod or a container asks for and this node cannot do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

/// One thing that a pod asks for and this node cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the pod it is: `spec.volumes`.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

impl Refusal {
    /// The pod's `reason`.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Unsupported(_) => REFUSED.to_owned(),
            Self::OutOf(lack) => lack.reason(),
            Self::NotMeant(NotMeant) => NODE_AFFINITY.to_owned(),
            Self::NoTime(no) => no.reason().to_owned(),
        }
    }

    /// What it is counted as: names of extended resources are without number, and one name stands for all of them
    /// (`recordAdmissionRejection`).
    #[must_use]
    pub fn counted_as(&self) -> String {
        match self {
            Self::OutOf(lack) if !lack.is_of_every_node() => "OutOfExtendedResources".to_owned(),
            Self::OutOf(_) | Self::Unsupported(_) | Self::NotMeant(_) | Self::NoTime(_) => self.reason(),
        }
    }

    /// The pod's `message`. Where the kubelet would refuse it too, the kubelet's.
    #[must_use]
    pub fn message(&self, node: &str) -> String {
        match self {
            Self::Unsupported(problems) => format!("the node {node} cannot run this pod: {problems}"),
            Self::OutOf(lack) => format!("Pod was rejected: {lack}"),
            Self::NotMeant(not) => format!("Pod was rejected: {not}"),
            Self::NoTime(no) => format!("Pod was rejected: {no}"),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Problem { field, message }) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{field}: {message}")?;
        }
        Ok(())
    }
}
