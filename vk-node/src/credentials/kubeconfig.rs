//! Kubeconfigs: those that we are given, and the one that we write.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context as KubeContext, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use super::pair::Pair;
use super::store;

/// The kubeconfig of a node that has a certificate of its own, in the directory of its certificates.
pub(super) const OWN: &str = "kubeconfig";
/// The one cluster, user and context in it.
const NAME: &str = "vk-node";
/// The longest that a connection to the API server may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence on a connection. Watches are renewed by the server in less.
const READ_TIMEOUT: Duration = Duration::from_secs(330);

/// What to do where there are no credentials at all.
const NO_KUBECONFIG: &str = "there are no credentials: join a fleet with the line that the cluster's administrator has made (vk-node join), \
    or name a kubeconfig with --kubeconfig or --bootstrap-kubeconfig ($KUBECONFIG and ~/.kube/config are not there)";

/// Whether there is no file, in whatever words that is said.
fn is_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut all = std::iter::successors(Some(error), |error| error.source());
    all.any(|error| error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound))
}

/// Reads a kubeconfig, or what is where kubectl looks for one.
pub(super) async fn read(file: Option<&Path>) -> anyhow::Result<Config> {
    let mut config = match file {
        Some(file) => {
            let read = Kubeconfig::read_from(file)
                .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
            vk_api_client::config(read)
                .await
                .with_context(|| format!("the kubeconfig {} does not lead to a cluster", file.display()))?
        }
        None => vk_api_client::infer().await.map_err(|error| match is_missing(&error) {
            true => anyhow!(NO_KUBECONFIG),
            false => anyhow::Error::from(error).context("the kubeconfig that kubectl would use cannot be used"),
        })?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    Ok(config)
}

/// The way of `config` with a certificate instead of its credentials.
pub(super) fn with_pair(config: &Config, pair: &Pair) -> Config {
    let mut config = config.clone();
    config.auth_info = AuthInfo {
        client_certificate_data: Some(STANDARD.encode(pair.certificate_pem())),
        client_key_data: Some(STANDARD.encode(pair.key_pem()).into()),
        ..AuthInfo::default()
    };
    config
}

/// Writes the kubeconfig of a node whose certificate is in the file `current`, beside it. It is for this node's next
/// start; kubectl can use it too.
pub(super) fn write(directory: &Path, config: &Config, current: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(&of(config, current)).context("cannot write a kubeconfig as JSON")?;
    store::write(directory, OWN, &text)
}

fn of(config: &Config, current: &Path) -> Kubeconfig {
    let authority = config.root_cert.as_deref().map(|all| STANDARD.encode(pem_of(all)));
    let cluster = Cluster {
        server: Some(config.cluster_url.to_string()),
        certificate_authority_data: authority,
        insecure_skip_tls_verify: config.accept_invalid_certs.then_some(true),
        tls_server_name: config.tls_server_name.clone(),
        proxy_url: config.proxy_url.as_ref().map(ToString::to_string),
        ..Cluster::default()
    };
    let certificate = Some(current.display().to_string());
    let auth_info =
        AuthInfo { client_certificate: certificate.clone(), client_key: certificate, ..AuthInfo::default() };
    of_one(NAME, cluster, auth_info)
}

/// The kubeconfig of one cluster and one user, which go by this name in it.
pub(crate) fn of_one(name: &str, cluster: Cluster, auth_info: AuthInfo) -> Kubeconfig {
    let context = KubeContext { cluster: name.to_owned(), user: Some(name.to_owned()), ..KubeContext::default() };
    Kubeconfig {
        kind: Some("Config".to_owned()),
        api_version: Some("v1".to_owned()),
        clusters: vec![NamedCluster { name: name.to_owned(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo {
            name: name.to_owned(),
            auth_info: Some(auth_info),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext { name: name.to_owned(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(name.to_owned()),
        ..Kubeconfig::default()
    }
}

/// Certificates as PEM.
pub(crate) fn pem_of(certificates: &[Vec<u8>]) -> String {
    use std::fmt::Write;
    let mut pem = String::new();
    for der in certificates {
        // Writing to a String does not fail.
        let _ = write!(pem, "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    }
    pem
}
