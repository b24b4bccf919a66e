//! Reading the ConfigMaps and Secrets that a container's environment comes from.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use vk_node_core::admit::AdmittedContainer;
use vk_node_core::sources::{SourceRef, Sources, needed};

use super::{CallError, call};

/// Reads all that `container` needs. Each is asked for by name: the Node authorizer lets a node do no more, and that
/// only for objects that its own pods name.
pub(super) async fn read(
    client: &Client,
    namespace: &str,
    container: &AdmittedContainer,
) -> Result<Sources, CallError> {
    let reads = needed(container).into_iter().map(|source| async move {
        let data = match &source {
            SourceRef::ConfigMap(name) => {
                let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                call(api.get_opt(name)).await?.map(|map| map.data.unwrap_or_default()).map(bytes)
            }
            SourceRef::Secret(name) => {
                let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
                let secret = call(api.get_opt(name)).await?;
                secret.map(|s| s.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect())
            }
        };
        Ok((source, data))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

fn bytes(data: BTreeMap<String, String>) -> BTreeMap<String, Vec<u8>> {
    data.into_iter().map(|(key, value)| (key, value.into_bytes())).collect()
}
