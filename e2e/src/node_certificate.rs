//! Credentials for a node of a cluster whose certificate authority is not ours: asked for and approved as for any kubelet.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::json;

use crate::cluster::Cluster;
use crate::kubeconfig::{self, Credential};
use crate::wait::{self, Probe};

const LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(100);
/// A demo does not last longer.
const VALID_SECONDS: i32 = 24 * 3600;

/// A kubeconfig with which a node called `name` may do what a kubelet may, and no more: `system:node:<name>`.
///
/// The administrator must be allowed to approve certificates of the signer `kubernetes.io/kube-apiserver-client-kubelet`.
pub async fn node_kubeconfig(cluster: &Cluster, name: &str) -> Result<PathBuf> {
    let key = KeyPair::generate().context("cannot make a key")?;
    let user = format!("system:node:{name}");
    let request = signing_request(&user, &key)?;

    let requests: Api<CertificateSigningRequest> = Api::all(cluster.client().await?);
    let object = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some(format!("{name}-")), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            expiration_seconds: Some(VALID_SECONDS),
            request: ByteString(request.into_bytes()),
            signer_name: "kubernetes.io/kube-apiserver-client-kubelet".to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "client auth".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let made = requests.create(&PostParams::default(), &object).await.context("cannot ask for a node's certificate")?;
    let id = made.metadata.name.context("the API server gave the request no name")?;

    let approved = Patch::Merge(json!({ "status": { "conditions": [approval()] } }));
    requests
        .patch_approval(&id, &PatchParams::default(), &approved)
        .await
        .context("cannot approve a node's certificate")?;
    let certificate = wait::until("the node's certificate to be signed", LIMIT, GLANCE, async || {
        let status = requests.get(&id).await?.status.unwrap_or_default();
        let refused = status.conditions.unwrap_or_default().into_iter().find(|condition| condition.type_ == "Failed");
        if let Some(condition) = refused {
            anyhow::bail!("the cluster's signer refuses it: {}", condition.message.unwrap_or_default());
        }
        Ok(status.certificate.map_or_else(|| Probe::not_yet("it is approved, but not signed"), Probe::Ready))
    })
    .await?;
    // Signed is what we wanted; the request has no further use, and the cluster removes it in the end if we cannot.
    let _ = requests.delete(&id, &DeleteParams::default()).await;

    let certificate = String::from_utf8(certificate.0).context("the signed certificate is not PEM")?;
    let path = cluster.directory().join(format!("node-{name}.kubeconfig"));
    let credential = Credential::Certificate { certificate: &certificate, key: &key.serialize_pem() };
    kubeconfig::write(&path, kubeconfig::cluster_of(cluster.kubeconfig())?, &user, &credential)?;
    Ok(path)
}

fn signing_request(user: &str, key: &KeyPair) -> Result<String> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    parameters.distinguished_name.push(DnType::CommonName, user);
    parameters.serialize_request(key)?.pem().context("cannot write a certificate request")
}

fn approval() -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("VkCmdDemo".to_owned()),
        message: Some("approved by the administrator who has started the node".to_owned()),
        ..CertificateSigningRequestCondition::default()
    }
}
