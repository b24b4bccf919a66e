//! Objects of the API server, read: whose they are, where, and whether they are as somebody wants them.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, from_value, to_value};
use vk_cmd_crds::CmdJob;
use vk_operator_core::effects::{At, Refusal};

use crate::api::{Key, Stop};

/// How the names of the pods of a CmdJob begin.
pub(crate) fn prefix_of(job: &CmdJob) -> String {
    let digits: String = job.metadata.uid.iter().flat_map(|uid| uid.chars()).filter(|c| *c != '-').take(10).collect();
    format!("{}-{digits}-", job.metadata.name.as_deref().unwrap_or_default())
}

pub(crate) fn key(at: At<'_>) -> Key {
    (at.namespace.to_owned(), at.name.to_owned())
}

pub(crate) fn key_of(meta: &ObjectMeta) -> Key {
    (meta.namespace.clone().unwrap(), meta.name.clone().unwrap())
}

pub(crate) fn at(key: &Key) -> At<'_> {
    At { namespace: &key.0, name: &key.1 }
}

pub(crate) fn owner(pod: &Pod) -> Option<String> {
    pod.metadata.owner_references.as_ref()?.first().map(|owner| owner.uid.clone())
}

pub(crate) fn node_of(pod: &Pod) -> Option<&String> {
    pod.spec.as_ref()?.node_name.as_ref()
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// As the admission plugin PodSecurity asks for.
pub(crate) fn is_restricted(pod: &Pod) -> bool {
    let spec = to_value(&pod.spec).unwrap();
    let of_pod = spec["securityContext"]["runAsNonRoot"] == true
        && spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault";
    let of_container = |container: &Value| {
        let context = &container["securityContext"];
        context["allowPrivilegeEscalation"] == false && context["capabilities"]["drop"] == serde_json::json!(["ALL"])
    };
    of_pod && spec["containers"].as_array().unwrap().iter().all(of_container)
}

pub(crate) fn list(finalizers: &Value) -> Option<Vec<String>> {
    from_value::<Option<Vec<String>>>(finalizers.clone()).unwrap().filter(|all| !all.is_empty())
}

/// Whether an object is the one that is meant, in the version that is meant.
pub(crate) fn agrees(meta: &ObjectMeta, patch: &Value) -> Result<(), Stop> {
    let says = |field: &str, is: &Option<String>| {
        patch["metadata"][field].as_str().is_none_or(|said| is.as_deref() == Some(said))
    };
    let both = says("uid", &meta.uid) && says("resourceVersion", &meta.resource_version);
    if both { Ok(()) } else { Err(Stop::No(Refusal::Conflict)) }
}
