//! A pod as it is kept while nothing happens to it, which is most of the time.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

/// A pod of the watch, as JSON: between 3 and 4 KiB, where the types of k8s-openapi take 20, most of which is room for fields
/// that no pod has. Whoever looks at it [reads](Self::read) it, which takes microseconds.
///
/// Its metadata stays as it is, for it is asked for by everybody. It has no `managedFields`: nobody here wants them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Pod")]
pub(crate) struct KeptPod {
    metadata: ObjectMeta,
    /// The pod without its metadata.
    rest: Arc<[u8]>,
}

impl KeptPod {
    /// The pod.
    ///
    /// # Errors
    /// None that is known of: it was written by the same types.
    pub(crate) fn read(&self) -> Result<Pod, Unreadable> {
        let rest: Pod = serde_json::from_slice(&self.rest).map_err(Unreadable)?;
        Ok(Pod { metadata: self.metadata.clone(), ..rest })
    }
}

/// The pod in memory cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the pod as it is kept in memory")]
pub(crate) struct Unreadable(#[source] serde_json::Error);

impl TryFrom<Pod> for KeptPod {
    type Error = serde_json::Error;

    fn try_from(mut pod: Pod) -> Result<Self, Self::Error> {
        let metadata = ObjectMeta { managed_fields: None, ..std::mem::take(&mut pod.metadata) };
        Ok(Self { metadata, rest: serde_json::to_vec(&pod)?.into() })
    }
}

/// To the API server it is a Pod.
impl Resource for KeptPod {
    type DynamicType = <Pod as Resource>::DynamicType;
    type Scope = <Pod as Resource>::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        Pod::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        Pod::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        Pod::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        Pod::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says so that it failed")]
pub(super) mod tests {
    use kube::ResourceExt;
    use serde_json::{Value, json};

    use super::*;

    /// A pod that runs one container, as the API server tells of it.
    pub(in crate::pods) fn running() -> Value {
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "observedGeneration": 1,
            "lastProbeTime": null, "lastTransitionTime": "2026-11-25T20:39:16Z"})
        };
        let conditions =
            ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition);
        let token = "/var/run/secrets/kubernetes.io/serviceaccount";
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "record-17", "namespace": "records", "uid": "6f0c2a1e-9d53-4d0b-8a53-55d0b6f7a3c1",
                "resourceVersion": "4711", "generation": 1, "creationTimestamp": "2026-11-25T20:39:15Z",
                "labels": {"app": "record"},
                "managedFields": [{"manager": "vk-node", "operation": "Update", "apiVersion": "v1",
                    "fieldsType": "FieldsV1", "fieldsV1": {"f:status": {"f:phase": {}}}}],
            },
            "spec": {
                "nodeName": "vk-records", "restartPolicy": "Never", "dnsPolicy": "ClusterFirst", "priority": 0,
                "serviceAccountName": "default", "serviceAccount": "default", "schedulerName": "default-scheduler",
                "terminationGracePeriodSeconds": 30, "enableServiceLinks": true, "securityContext": {},
                "preemptionPolicy": "PreemptLowerPriority",
                "containers": [{
                    "name": "main", "image": "host", "command": ["/bin/sleep", "1000"], "resources": {},
                    "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                    "volumeMounts": [{"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": token}],
                }],
                "tolerations": [
                    {"key": "vk-cmd.io/host", "operator": "Exists"},
                    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                        "tolerationSeconds": 300},
                    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                        "tolerationSeconds": 300},
                ],
                "volumes": [{"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace",
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
                ]}}],
            },
            "status": {
                "phase": "Running", "qosClass": "BestEffort", "observedGeneration": 1, "hostIP": "10.0.0.7",
                "hostIPs": [{"ip": "10.0.0.7"}], "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}],
                "startTime": "2026-11-25T20:39:15Z",
                "conditions": conditions,
                "containerStatuses": [{
                    "name": "main", "image": "host", "imageID": "", "ready": true, "started": true, "restartCount": 0,
                    "containerID": "vk-cmd://6f0c2a1e-9d53-4d0b-8a53-55d0b6f7a3c1.main.0", "lastState": {},
                    "state": {"running": {"startedAt": "2026-11-25T20:39:16Z"}},
                    "volumeMounts": [{"name": "kube-api-access-x7k2p", "readOnly": true, "mountPath": token,
                        "recursiveReadOnly": "Disabled"}],
                }],
            },
        })
    }

    #[test]
    fn it_is_the_pod_without_its_managed_fields() {
        let text = running().to_string();
        let told: Pod = serde_json::from_str(&text).unwrap();
        let kept: KeptPod = serde_json::from_str(&text).unwrap();
        assert_eq!((kept.name_any(), kept.uid()), (told.name_any(), told.uid()));
        assert!(told.metadata.managed_fields.is_some());
        let metadata = ObjectMeta { managed_fields: None, ..told.metadata.clone() };
        assert_eq!(kept.read().unwrap(), Pod { metadata, ..told });
    }

    #[test]
    fn empty_is_not_absent() {
        let told = json!({"metadata": {"name": "p", "labels": {}},
            "spec": {"containers": [], "tolerations": [], "nodeSelector": {}, "securityContext": {}}, "status": {}});
        let told: Pod = serde_json::from_value(told).unwrap();
        assert_eq!(KeptPod::try_from(told.clone()).unwrap().read().unwrap(), told);
    }

    #[test]
    fn to_the_api_server_it_is_a_pod() {
        assert_eq!(KeptPod::url_path(&(), Some("ns")), Pod::url_path(&(), Some("ns")));
        assert_eq!((KeptPod::kind(&()), KeptPod::api_version(&())), (Pod::kind(&()), Pod::api_version(&())));
    }

    #[test]
    fn a_pod_that_runs_takes_less_than_4_kib() {
        let text = running().to_string();
        let of = |keep: &dyn Fn() -> Box<dyn std::any::Any>| {
            let mut kept = None;
            let bytes = allocation_counter::measure(|| kept = Some(keep())).bytes_current;
            drop(kept);
            bytes
        };
        let typed = of(&|| Box::new(serde_json::from_str::<Pod>(&text).unwrap()));
        let kept = of(&|| Box::new(serde_json::from_str::<KeptPod>(&text).unwrap()));
        assert!(kept < 4 * 1024, "{kept} bytes, and {typed} as a Pod");
    }
}
