//! Reading the ConfigMaps and Secrets that a container's environment comes from.

use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};
use vk_node_core::admit::AdmittedContainer;
use vk_node_core::sources::{Content, SourceRef, Sources, needed};

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
                call(api.get_opt(name)).await?.map(Content::from)
            }
            SourceRef::Secret(name) => {
                let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
                call(api.get_opt(name)).await?.map(Content::from)
            }
        };
        Ok((source, data.map(Arc::new)))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}
