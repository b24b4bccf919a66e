//! How a CmdJob is let go, one that is being deleted and one that is finished or suspended. That depends on its metadata, its pods and their nodes
//! alone: so it goes by the same way when an operator that has become stricter takes its spec no longer, or cannot read it.

use std::collections::BTreeMap;

use super::{Step, Tally, delete, release};
use crate::object::Object;
use crate::pods::PodsOfJob;
use crate::seen::{Absence, Life, PodSeen};
use crate::words;

/// What has to be done before a CmdJob may go, and how it is with what it has left.
#[derive(Clone, Debug, PartialEq)]
pub struct Leave {
    /// What to do, in this order.
    pub steps: Vec<Step>,
    /// How many of its pods are not over, and in which state.
    pub tally: Tally,
    /// The node that cannot say what its processes do, in words, if there is one.
    pub unheard: Option<String>,
}

/// Lets a CmdJob go that is being deleted, finished or suspended, as far as it can go now: nothing of it runs, and nothing holds its pods, nor
/// itself. `nodes`: how it is with the nodes of its pods, where they are not as they should be.
pub fn leave(object: &Object<'_>, pods: &PodsOfJob, nodes: &BTreeMap<String, Absence>) -> Leave {
    let pods = pods.values().map(|pod| &**pod);
    // A node that is there again, or was given up too soon, will say what has become of what was lost.
    let is_gone = |pod: &PodSeen| nodes.get(&*pod.node) == Some(&Absence::Gone);
    let is_over = |pod: &PodSeen| match pod.life {
        Life::Ended(_) => true,
        Life::Lost(_) => is_gone(pod),
        Life::Pending(_) | Life::Running(_) => false,
    };
    let open: Vec<&PodSeen> = pods.clone().filter(|pod| !is_over(pod)).collect();
    let mut steps = Vec::new();
    // Kubernetes takes the pods from the job first (`kubectl delete --cascade=orphan`): they are to go on.
    if !object.is_being_orphaned() {
        steps.extend(pods.filter_map(|pod| match is_over(pod) {
            true => release(pod),
            false => (!pod.deleting).then(|| delete(pod, object.deleting.then_some(pod.version))),
        }));
        if object.is_held() && open.is_empty() {
            steps.push(Step::ReleaseJob);
        }
    }
    Leave { steps, tally: Tally::of(&open), unheard: words::unheard(&open, nodes) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, from_value, json};

    use super::*;

    fn pod(index: u32, phase: &str, more: Value) -> Arc<PodSeen> {
        let mut pod = json!({
            "metadata": {
                "name": format!("p-{index}"), "uid": format!("u-{index}"), "resourceVersion": "7",
                "labels": {"vk-cmd.io/index": index.to_string(), "vk-cmd.io/attempt": "0"}, "finalizers": ["vk-cmd.io/tracking"],
            },
            "spec": {"nodeName": "vk-a", "containers": []}, "status": {"phase": phase},
        });
        json_patch::merge(&mut pod, &more);
        Arc::new(PodSeen::of(&from_value::<Pod>(pod).unwrap()).unwrap())
    }

    /// What is done about a job with these finalizers and these pods, in short.
    fn steps(finalizers: &[&str], deleting: bool, pods: &[Arc<PodSeen>], node: Option<Absence>) -> Vec<String> {
        let metadata: ObjectMeta = from_value(json!({
            "namespace": "lab", "name": "j", "uid": "u", "finalizers": finalizers,
            "deletionTimestamp": deleting.then_some("2026-01-02T03:04:05Z"),
        }))
        .unwrap();
        let pods = pods.iter().map(|pod| ((pod.index, pod.attempt), Arc::clone(pod))).collect();
        let nodes = node.map(|absence| ("vk-a".to_owned(), absence)).into_iter().collect();
        let leave = leave(&Object::of(&metadata).unwrap(), &pods, &nodes);
        let short = |step: &Step| match step {
            Step::DeletePod { name, version, .. } => format!("delete {name} {version:?}"),
            Step::ReleasePod { name, .. } => format!("release {name}"),
            Step::HoldJob | Step::DeleteJob | Step::ReleaseJob => format!("{step:?}"),
        };
        leave.steps.iter().map(short).collect()
    }

    const OURS: &str = "vk-cmd.io/tracking";

    #[test]
    fn what_runs_is_ended_before_anything_is_let_go() {
        let ending = json!({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}});
        let pods = [pod(0, "Running", json!({})), pod(1, "Succeeded", json!({})), pod(2, "Running", ending)];
        assert_eq!(steps(&[OURS], true, &pods, None), ["delete p-0 Some(7)", "release p-1"]);
        assert_eq!(steps(&[OURS], true, &pods[1..2], None), ["release p-1", "ReleaseJob"]);
        assert_eq!(steps(&[OURS, "other.io/x"], true, &[], None), ["ReleaseJob"]);
        assert_eq!(steps(&["foregroundDeletion"], true, &pods[1..2], None), ["release p-1"]);
        // A finished one is let go in the same way; nobody may take its pods from it meanwhile.
        assert_eq!(steps(&[OURS], false, &pods, None), ["delete p-0 None", "release p-1"]);
    }

    #[test]
    fn pods_that_are_to_go_on_without_their_job_are_left_alone() {
        let pods = [pod(0, "Running", json!({})), pod(1, "Succeeded", json!({}))];
        assert!(steps(&[OURS, "orphan"], true, &pods, None).is_empty());
        assert!(steps(&[OURS, "orphan"], true, &[], None).is_empty());
    }

    #[test]
    fn what_kubernetes_has_given_up_is_over_when_its_node_is_gone() {
        let given_up = json!({"status": {"conditions": [
            {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"},
        ]}, "metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}});
        let lost = [pod(0, "Failed", given_up)];
        assert!(steps(&[OURS], true, &lost, None).is_empty());
        assert!(steps(&[OURS], true, &lost, Some(Absence::Silent(None))).is_empty());
        assert_eq!(steps(&[OURS], true, &lost, Some(Absence::Gone)), ["release p-0", "ReleaseJob"]);
        // And not before Kubernetes has said so.
        assert_eq!(steps(&[OURS], true, &[pod(0, "Running", json!({}))], Some(Absence::Gone)), ["delete p-0 Some(7)"]);
    }
}
