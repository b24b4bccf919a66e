//! What a CmdJob asks for besides its command: resources, and what an image sees of the host. The shapes are those of
//! core/v1, of which a vk-node honours a part. The doc comments are what `kubectl explain` prints.

#![allow(unreachable_pub, reason = "KubeSchema repeats the structs inside a function, pub and all")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What the command may use, and what the node must have free for it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[x_kube(validation = ("!has(self.limits) || self.limits.all(name, name in ['cpu', 'memory', 'nvidia.com/gpu', 'amd.com/gpu'])", "a vk-cmd node limits cpu and memory, and gives nvidia.com/gpu or amd.com/gpu to an image: leave the other limits out"))]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// The most that the command and all its processes may use: cpu (2, 500m) and memory (4Gi). Past its memory they are
    /// killed, and the attempt has failed with reason OOMKilled. With an image also nvidia.com/gpu or amd.com/gpu: so
    /// many graphics processors are shown to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: Option<BTreeMap<String, Quantity>>,

    /// What the node must have free before the command is placed there. Default: the limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    pub requests: Option<BTreeMap<String, Quantity>>,
}

/// A directory or file of the node's host, under a name for volumeMounts.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// A name for it, by which volumeMounts mean it.
    #[schemars(length(max = 63))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "a volume's name consists of lower-case letters, digits and -, with a letter or digit at each end"))]
    pub name: String,

    /// A path on the node's host. It is the only kind of volume that a CmdJob can have.
    pub host_path: HostPath,
}

/// A path on the node's host.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPath {
    /// The absolute path. It must be there.
    #[schemars(length(max = 4096))]
    #[x_kube(validation = ("self.startsWith('/') && !self.matches('(^|/)[.][.](/|$)')", "the path on the host is absolute and without .., e.g. /scratch/me/run1: it is not read by a shell, so ~ and $HOME do not work here"))]
    pub path: String,
}

/// Where an image sees one of the volumes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    /// The name of one of the volumes.
    #[schemars(length(max = 63))]
    pub name: String,

    /// The absolute path at which the command sees it.
    #[schemars(length(max = 4096))]
    #[x_kube(validation = ("self.startsWith('/') && !self.contains(':') && !self.matches('(^|/)[.][.](/|$)')", "mountPath is an absolute path without .. and colons, e.g. /data"))]
    pub mount_path: String,

    /// Whether the command can only read it. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}
