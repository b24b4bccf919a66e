//! Reading the ConfigMaps and Secrets that a container's variables come from.

use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use vk_node_core::admit::AdmittedContainer;
use vk_node_core::sources::{Content, SourceRef, Sources, needed};

use super::Shared;
use super::objects::Seen;
use crate::pods::{CallError, call};

/// Reads all that `container` needs, each by its name: the Node authorizer lets a node do no more. What is watched for a
/// volume is known already.
pub(super) async fn read(
    shared: &Shared,
    namespace: &str,
    container: &AdmittedContainer,
) -> Result<Sources, CallError> {
    let reads = needed(container).into_iter().map(|source| async move {
        let content = match shared.objects.peek(namespace, &source) {
            Some(Seen::There(content)) => Some(content),
            Some(Seen::Gone) => None,
            Some(Seen::NotYet | Seen::Unreadable(_)) | None => get(shared, namespace, &source).await?.map(Arc::new),
        };
        Ok((source, content))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

async fn get(shared: &Shared, namespace: &str, source: &SourceRef) -> Result<Option<Content>, CallError> {
    let client = shared.client.clone();
    match source {
        SourceRef::ConfigMap(name) => {
            let api: Api<ConfigMap> = Api::namespaced(client, namespace);
            Ok(call(api.get_opt(name)).await?.map(Content::from))
        }
        SourceRef::Secret(name) => {
            let api: Api<Secret> = Api::namespaced(client, namespace);
            Ok(call(api.get_opt(name)).await?.map(Content::from))
        }
    }
}
