//! Who takes objects away by itself: the API server, and Kubernetes' garbage collectors.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use vk_cmd_crds::CmdJob;

use crate::api::{Api, Change, Key};
use crate::objects::{key_of, node_of, owner, phase};

impl Api {
    /// Takes a pod away that is deleted and held by nobody.
    pub(crate) fn sweep_pod(&mut self, key: &Key) {
        let is_done = |pod: &Arc<Pod>| pod.metadata.deletion_grace_period_seconds == Some(0) && !is_held(&pod.metadata);
        if self.pods.get(key).is_some_and(is_done)
            && let Some(pod) = self.pods.remove(key)
        {
            self.log.push(Change::PodGone(pod));
        }
    }

    /// Takes jobs away that are deleted and held by nobody; their pods are deleted then.
    pub(crate) fn sweep_jobs(&mut self) {
        let is_done = |job: &CmdJob| job.metadata.deletion_timestamp.is_some() && !is_held(&job.metadata);
        let done: Vec<Key> = self.jobs.iter().filter(|(_, job)| is_done(job)).map(|(key, _)| key.clone()).collect();
        for key in done {
            let job = self.jobs.remove(&key).unwrap();
            self.unreadable.remove(&key);
            self.log.push(Change::JobGone(job));
            self.collect();
        }
    }

    /// Kubernetes' garbage collector: deletes the pods of jobs that are no more.
    pub(crate) fn collect(&mut self) {
        let uids: BTreeSet<&String> = self.jobs.values().filter_map(|job| job.metadata.uid.as_ref()).collect();
        let is_orphan = |pod: &&Arc<Pod>| {
            pod.metadata.deletion_timestamp.is_none() && owner(pod).is_some_and(|owner| !uids.contains(&owner))
        };
        let orphans: Vec<_> = self.pods.values().filter(is_orphan).cloned().collect();
        for pod in orphans {
            let _ = self.delete_pod(&key_of(&pod.metadata), pod.metadata.uid.as_ref().unwrap(), None);
        }
    }

    /// Kubernetes' pod garbage collector: the pods of nodes that are gone are failed and deleted with force.
    pub(crate) fn give_up(&mut self) {
        let is_lost = |pod: &&Arc<Pod>| node_of(pod).is_some_and(|node| !self.nodes.contains_key(node));
        let pods: Vec<_> = self.pods.values().filter(is_lost).cloned().collect();
        let now = self.now;
        for pod in pods {
            let (key, uid) = (key_of(&pod.metadata), pod.metadata.uid.as_ref().unwrap());
            self.change_pod(&key, uid, |pod| {
                if matches!(phase(pod), "Succeeded" | "Failed") {
                    return;
                }
                let status = pod.status.as_mut().unwrap();
                status.phase = Some("Failed".into());
                status.conditions.get_or_insert_default().push(PodCondition {
                    type_: "DisruptionTarget".into(),
                    status: "True".into(),
                    reason: Some("DeletionByPodGC".into()),
                    last_transition_time: Some(Time(now)),
                    ..PodCondition::default()
                });
            });
            let _ = self.delete_pod(&key, uid, Some(0));
        }
    }
}

fn is_held(meta: &ObjectMeta) -> bool {
    meta.finalizers.as_ref().is_some_and(|all| !all.is_empty())
}
