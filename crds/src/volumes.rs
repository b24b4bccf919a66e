//! The volumes of a CmdJob: those kinds of core/v1 that a vk-node has. The sources are core/v1's own types; what Kubernetes checks
//! about them when it takes a pod stands in [`crate::crd`]. The doc comments are what `kubectl explain` prints.

#![allow(unreachable_pub, reason = "KubeSchema repeats the structs inside a function, pub and all")]

use k8s_openapi::api::core::v1::{
    self as core, ConfigMapVolumeSource, DownwardAPIVolumeSource, EmptyDirVolumeSource, HostPathVolumeSource,
    ProjectedVolumeSource, SecretVolumeSource,
};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::labels::MAIN_CONTAINER;

/// Files under a name for volumeMounts, of exactly one kind.
// A struct with optional fields rather than an enum, so that the API server can say in words what is missing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[x_kube(validation = ("[has(self.configMap), has(self.secret), has(self.downwardAPI), has(self.projected), has(self.emptyDir), has(self.hostPath)].exists_one(kind, kind)", "a volume is exactly one of configMap, secret, downwardAPI, projected, emptyDir and hostPath: a vk-cmd node has no other kinds (use hostPath for what is on its host's file systems)"))]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// A name for it, by which volumeMounts mean it.
    #[schemars(length(max = 63))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')", "a volume's name consists of lower-case letters, digits and -, with a letter or digit at each end"))]
    pub name: String,

    /// The keys of a ConfigMap as files. A change of it reaches running attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolumeSource>,

    /// The keys of a Secret as files. A change of it reaches running attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretVolumeSource>,

    /// What the attempt's pod says of itself, as files.
    #[serde(default, rename = "downwardAPI", skip_serializing_if = "Option::is_none")]
    pub downward_api: Option<DownwardAPIVolumeSource>,

    /// Files from several sources in one directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projected: Option<ProjectedVolumeSource>,

    /// An empty directory for each attempt, which goes with the attempt's pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty_dir: Option<EmptyDirVolumeSource>,

    /// A path on the node's host, as far as the site's rules allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathVolumeSource>,
}

impl Volume {
    /// How many kinds it is of; right is one.
    pub fn kinds(&self) -> usize {
        let Self { name: _, config_map, secret, downward_api, projected, empty_dir, host_path } = self;
        [
            config_map.is_some(),
            secret.is_some(),
            downward_api.is_some(),
            projected.is_some(),
            empty_dir.is_some(),
            host_path.is_some(),
        ]
        .into_iter()
        .filter(|is_there| *is_there)
        .count()
    }

    /// The volume of a pod. Where the resources of a container are asked for, the only one is meant.
    pub fn of_pod(&self) -> core::Volume {
        let Self { name, config_map, secret, downward_api, projected, empty_dir, host_path } = self.clone();
        let mut volume = core::Volume {
            name,
            config_map,
            secret,
            downward_api,
            projected,
            empty_dir,
            host_path,
            ..core::Volume::default()
        };
        let alone = volume.downward_api.iter_mut().flat_map(|source| source.items.iter_mut().flatten());
        let among = volume.projected.iter_mut().flat_map(|source| source.sources.iter_mut().flatten());
        let among = among.filter_map(|source| source.downward_api.as_mut());
        let among = among.flat_map(|source| source.items.iter_mut().flatten());
        for resource in alone.chain(among).filter_map(|file| file.resource_field_ref.as_mut()) {
            resource.container_name.get_or_insert_with(|| MAIN_CONTAINER.to_owned());
        }
        volume
    }
}
