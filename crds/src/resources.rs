//! What a CmdJob asks for besides its command. The shape is core/v1's, of which a vk-node honours a part. The doc comments are
//! what `kubectl explain` prints.

#![allow(unreachable_pub, reason = "KubeSchema repeats the structs inside a function, pub and all")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

/// What the command may use, and what the node must have free for it.
// The rules are those of `validateContainerResources` for the names that a vk-node knows.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[x_kube(
    validation = known("limits", "a vk-cmd node limits cpu, memory and ephemeral-storage, and gives nvidia.com/gpu or amd.com/gpu to an image; what a site counts besides has a name with a domain (example.com/licence): leave the other limits out"),
    validation = known("requests", "a vk-cmd node has cpu, memory, ephemeral-storage, nvidia.com/gpu and amd.com/gpu; what a site counts besides has a name with a domain (example.com/licence): leave the other requests out"),
    validation = sane("limits"),
    validation = sane("requests"),
    validation = ("!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)", "a request is more than its limit: raise the limit, or lower the request"),
    validation = ("!has(self.requests) || self.requests.all(name, !name.contains('/') || (has(self.limits) && name in self.limits && quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) == 0))", "a graphics processor, or what else is counted, is not shared: set its limit, and request as many as that says or leave the request out"),
)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// The most that the command and all its processes may use: cpu (2, 500m), memory (4Gi) and ephemeral-storage. Past its
    /// memory they are killed, and the attempt has failed with reason OOMKilled. With an image also nvidia.com/gpu or
    /// amd.com/gpu: so many graphics processors are shown to it. Of another resource that its node counts
    /// (example.com/licence), as many as it takes while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: Option<BTreeMap<String, Quantity>>,

    /// What the node must have free before the command is placed there. Default: the limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub requests: Option<BTreeMap<String, Quantity>>,
}

fn known(field: &str, message: &str) -> Rule {
    let names = "['cpu', 'memory', 'ephemeral-storage']";
    // From Kubernetes' `IsExtendedResourceName`.
    let form = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";
    let own = "name.startsWith('requests.') || name.startsWith('kubernetes.io/') || name.contains('.kubernetes.io/')";
    Rule::new(format!(
        "!has(self.{field}) || self.{field}.all(name, name in {names} || (name.matches('{form}') && !({own})))"
    ))
    .message(message)
}

fn sane(field: &str) -> Rule {
    let value = format!("quantity(string(self.{field}[name]))");
    Rule::new(format!(
        "!has(self.{field}) || self.{field}.all(name, {value}.compareTo(quantity('0')) >= 0 && (!name.contains('/') || {value}.isInteger()))"
    ))
    .message("an amount of a resource is 0 or more, and of graphics processors and what else is counted a whole number")
}
