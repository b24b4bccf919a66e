//! What comes of a start that failed: is it tried again, and what is the pod's status to say?

use jiff::{SignedDuration, Timestamp};
use vk_task::{ApiError, ErrorReason, InvalidTaskId};

use crate::admit::{AdmittedContainer, REFUSED};
use crate::command::ConfigError;
use crate::facts::{NodeFacts, Retry, Trouble};

/// How soon a start is tried again that failed for something that may be mended from outside.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(5);
/// The reason of a pod that the site's policy does not let run here.
const DENIED: &str = "DeniedBySitePolicy";
/// The kubelet's word for a container whose pod's volumes are not there yet.
pub const CREATING: &str = "ContainerCreating";
/// The kubelet's word for what is wrong with what a container is configured with.
const CONFIG_ERROR: &str = "CreateContainerConfigError";
/// The kubelet's word for what goes wrong when a container is made.
const CREATE_ERROR: &str = "CreateContainerError";

/// Why a container was not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The pod's volumes are not there yet, and why.
    Volumes(String),
    /// Its task cannot be built.
    Config(ConfigError),
    /// Its run cannot be named.
    Id(InvalidTaskId),
    /// The pipe refused it.
    Pipe(ApiError),
}

/// What comes of it.
#[must_use]
pub fn of(problem: Problem, container: &AdmittedContainer, node: &NodeFacts, now: Timestamp) -> Trouble {
    let later = Retry::At(now + RETRY_AFTER);
    let cannot =
        |why: String| format!("the node {} cannot run this pod: container {}: {why}", node.name, container.name);
    let (reason, message, retry) = match problem {
        Problem::Volumes(why) => (CREATING, why, later),
        // No change outside can mend a command that no Linux can run.
        Problem::Config(error @ ConfigError::Spec(_)) => (REFUSED, cannot(error.to_string()), Retry::Never),
        Problem::Config(error) => (CONFIG_ERROR, error.to_string(), later),
        Problem::Id(error) => (REFUSED, cannot(error.to_string()), Retry::Never),
        Problem::Pipe(ApiError { reason, message }) => match reason {
            ErrorReason::Denied => (DENIED, format!("container {}: {message}", container.name), Retry::Never),
            ErrorReason::Invalid => (REFUSED, cannot(message), Retry::Never),
            ErrorReason::NoSpace | ErrorReason::Internal | ErrorReason::Conflict | ErrorReason::NotFound => {
                (CREATE_ERROR, message, later)
            }
        },
    };
    Trouble { reason: reason.to_owned(), message, retry }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::serde_json::{from_value, json};
    use vk_task::InvalidSpec;

    use super::*;
    use crate::admit::admit;

    #[test]
    fn only_what_may_be_mended_is_tried_again() {
        let pod: Pod = from_value(json!({
            "metadata": {"namespace": "n", "name": "p", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["true"]}]},
        }))
        .unwrap();
        let container = admit(&pod, &NodeFacts::default()).unwrap().containers.remove(0);
        let node = NodeFacts { name: "vk-a".into(), ..NodeFacts::default() };
        let refused = |reason| Problem::Pipe(ApiError { reason, message: "why".into() });
        let later = Retry::At(Timestamp::UNIX_EPOCH + RETRY_AFTER);
        let here = "the node vk-a cannot run this pod: container c: ";
        for (problem, reason, message, retry) in [
            (refused(ErrorReason::Denied), "DeniedBySitePolicy", "container c: why".into(), Retry::Never),
            (refused(ErrorReason::Invalid), "UnsupportedPodSpec", format!("{here}why"), Retry::Never),
            (refused(ErrorReason::NoSpace), "CreateContainerError", "why".into(), later),
            (refused(ErrorReason::Internal), "CreateContainerError", "why".into(), later),
            (
                Problem::Config(ConfigError::Spec(vec![InvalidSpec::NoProgram])),
                "UnsupportedPodSpec",
                format!("{here}there is no program to run: the argument list is empty"),
                Retry::Never,
            ),
        ] {
            let expected = Trouble { reason: reason.into(), message, retry };
            assert_eq!(of(problem, &container, &node, Timestamp::UNIX_EPOCH), expected);
        }
    }
}
