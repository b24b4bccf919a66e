//! Reading the ConfigMaps, Secrets and files that a container's variables come from.

use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use vk_node_core::admit::AdmittedContainer;
use vk_node_core::env_files::{self, EnvFiles};
use vk_node_core::sources::{Content, SourceRef, Sources, needed};
use vk_pipe::client::ClientError;
use vk_task::{DirName, ErrorReason};

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
        let content = match shared.watches.objects.peek(namespace, &source) {
            Some(Seen::There(content)) => Some(content),
            Some(Seen::Gone) => None,
            Some(Seen::NotYet | Seen::Unreadable(_)) | None => get(shared, namespace, &source).await?.map(Arc::new),
        };
        Ok((source, content))
    });
    Ok(try_join_all(reads).await?.into_iter().collect())
}

/// Reads the files in volumes of the pod that `container` needs: the pipe does, for the node may be where it does not see
/// them.
pub(super) async fn files(
    shared: &Shared,
    pod: &str,
    container: &AdmittedContainer,
) -> Result<Result<EnvFiles, String>, ClientError> {
    let mut files = EnvFiles::new();
    for file in env_files::needed(&container.env) {
        let Ok(pod) = DirName::new(pod) else { continue };
        let text = match shared.pipe.read_volume(&pod, &file.volume, &file.path).await {
            Ok(content) => match String::from_utf8(content.data) {
                Ok(text) => Some(text),
                Err(_) => {
                    return Ok(Err(format!("the file {} in the volume {} is not UTF-8 text", file.path, file.volume)));
                }
            },
            Err(ClientError::Refused(refusal)) if refusal.reason == ErrorReason::NotFound => None,
            Err(ClientError::Refused(refusal)) => return Ok(Err(refusal.message)),
            Err(error) => return Err(error),
        };
        files.insert(file, text);
    }
    Ok(Ok(files))
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
