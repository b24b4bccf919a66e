//! Kubeconfig files that hold everything themselves, so that they can be copied anywhere.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use kube::config::{
    AuthInfo, Cluster, Context as KubeContext, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};

use crate::scratch::write_private;

/// The one cluster, and the one context, of the files written here.
const NAME: &str = "vk-cmd";

/// What a client shows to say who it is.
pub(crate) enum Credential<'a> {
    /// A certificate and its key, both PEM.
    Certificate { certificate: &'a str, key: &'a str },
    /// A bearer token.
    Token(&'a str),
}

/// How to reach a cluster at `server_url` whose certificate the given PEM authority has signed.
pub(crate) fn cluster(server_url: &str, authority: &str) -> Cluster {
    Cluster {
        server: Some(server_url.to_owned()),
        certificate_authority_data: Some(encode(authority)),
        ..Cluster::default()
    }
}

/// How the kubeconfig in `path` reaches the cluster of its current context.
pub(crate) fn cluster_of(path: &Path) -> Result<Cluster> {
    let config =
        Kubeconfig::read_from(path).with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
    let context =
        config.current_context.as_deref().and_then(|name| config.contexts.iter().find(|entry| entry.name == name));
    let name = context.and_then(|entry| entry.context.as_ref()).map(|context| context.cluster.as_str());
    let cluster = config.clusters.iter().find(|entry| Some(entry.name.as_str()) == name);
    cluster.and_then(|entry| entry.cluster.clone()).with_context(|| {
        format!("{} has no current context with a cluster; set one with `kubectl config use-context`", path.display())
    })
}

/// Writes a kubeconfig that only we can read.
pub(crate) fn write(path: &Path, cluster: Cluster, user: &str, credential: &Credential<'_>) -> Result<()> {
    let login = match credential {
        Credential::Certificate { certificate, key } => AuthInfo {
            client_certificate_data: Some(encode(certificate)),
            client_key_data: Some(encode(key).into()),
            ..AuthInfo::default()
        },
        Credential::Token(token) => AuthInfo { token: Some((*token).to_owned().into()), ..AuthInfo::default() },
    };
    let context = KubeContext { cluster: NAME.to_owned(), user: Some(user.to_owned()), ..KubeContext::default() };
    let config = Kubeconfig {
        kind: Some("Config".to_owned()),
        api_version: Some("v1".to_owned()),
        clusters: vec![NamedCluster { name: NAME.to_owned(), cluster: Some(cluster), ..NamedCluster::default() }],
        auth_infos: vec![NamedAuthInfo { name: user.to_owned(), auth_info: Some(login), ..NamedAuthInfo::default() }],
        contexts: vec![NamedContext { name: NAME.to_owned(), context: Some(context), ..NamedContext::default() }],
        current_context: Some(NAME.to_owned()),
        ..Kubeconfig::default()
    };
    let text = serde_yaml_ng::to_string(&config).context("cannot write a kubeconfig as YAML")?;
    write_private(path, &text)
}

/// A client with what the kubeconfig in `path` says, talking to `server_url` instead of its server if one is given.
pub(crate) async fn client(path: &Path, server_url: Option<&str>) -> Result<kube::Client> {
    let why = || format!("cannot use the kubeconfig {}", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(why)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.with_context(why)?;
    if let Some(url) = server_url {
        config.cluster_url = url.parse().with_context(|| format!("{url} is no URL"))?;
    }
    kube::Client::try_from(config).with_context(why)
}

fn encode(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}
