//! The cluster: who we are there, and calls to its API server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use vk_api_client::{CallError, call_within};
use vk_cli_core::args::ClusterFlags;
use vk_cmd_crds::CmdJob;

/// The name under which this plugin writes.
pub(crate) const FIELD_MANAGER: &str = "kubectl-cmdjob";

/// How many objects a part of a list has, as kubectl's `--chunk-size`.
const PAGE: u32 = 500;

/// A cluster that can be asked.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The namespace that is meant.
    pub(crate) namespace: String,
    /// Where the API server is.
    pub(crate) url: String,
    limit: Duration,
}

impl Cluster {
    /// The one that the flags mean. Asks nobody yet.
    pub(crate) async fn of(flags: &ClusterFlags) -> Result<Self> {
        let mut config = config(flags).await?;
        if let Some(user) = &flags.impersonate {
            config.auth_info.impersonate = Some(user.clone());
        }
        if !flags.impersonate_group.is_empty() {
            config.auth_info.impersonate_groups = Some(flags.impersonate_group.clone());
        }
        let client = vk_api_client::client(&config)?;
        Ok(Self {
            client,
            namespace: flags.namespace.clone().unwrap_or_else(|| config.default_namespace.clone()),
            url: config.cluster_url.to_string(),
            limit: Duration::from_secs(u64::try_from(flags.request_timeout.max(1)).unwrap_or(1)),
        })
    }

    /// The namespace's CmdJobs.
    pub(crate) fn jobs(&self) -> Api<CmdJob> {
        self.namespaced()
    }

    /// Objects of the namespace.
    pub(crate) fn namespaced<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The same cluster, in another namespace.
    pub(crate) fn with_namespace(&self, namespace: String) -> Self {
        Self { namespace, ..self.clone() }
    }

    /// A call with a time limit. `what` completes "cannot …".
    pub(crate) async fn call<T>(
        &self,
        what: &'static str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        call_within(self.limit, what, request).await
    }

    /// All objects that are meant, by a few hundred at a time: neither we nor the API server hold a list of thousands as one text. Each
    /// part has the time limit. `what` completes "cannot …".
    pub(crate) async fn all<K>(&self, what: &'static str, api: &Api<K>, params: ListParams) -> Result<Vec<K>, CallError>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let (mut items, mut next) = (Vec::new(), None);
        loop {
            let params = ListParams { limit: Some(PAGE), continue_token: next.take(), ..params.clone() };
            match self.call(what, api.list(&params)).await {
                Ok(part) => {
                    items.extend(part.items);
                    next = part.metadata.continue_.filter(|token| !token.is_empty());
                    if next.is_none() {
                        return Ok(items);
                    }
                }
                // The rest of a list is kept for some minutes only; then it is had as a whole, as kubectl does it.
                Err(error) if !items.is_empty() && error.status().is_some_and(|status| status.code == 410) => {
                    return Ok(self
                        .call(what, api.list(&ListParams { limit: None, continue_token: None, ..params }))
                        .await?
                        .items);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// A job by its name.
    pub(crate) async fn job(&self, name: &str) -> Result<CmdJob> {
        let jobs = self.jobs();
        match self.call("read the job", jobs.get(name)).await {
            Ok(job) => Ok(job),
            Err(error) => Err(self.no_job(name, error)),
        }
    }

    /// Why a job was not found.
    pub(crate) fn no_job(&self, name: &str, error: CallError) -> anyhow::Error {
        // A 404 that names no object is about the kind.
        let is_of_kind =
            error.status().is_some_and(|status| status.details.as_ref().is_none_or(|about| about.name.is_empty()));
        match error.is_not_found() {
            true if is_of_kind => anyhow!(
                "the API server knows no CmdJobs: the chart is not installed, or this is another cluster; `kubectl cmdjob doctor` tells more"
            ),
            true => anyhow!(
                "there is no CmdJob {name} in the namespace {}: `kubectl cmdjob list` shows those that are",
                self.namespace
            ),
            false => error.into(),
        }
    }

    /// The jobs that are meant: by name, by labels, or all.
    pub(crate) async fn chosen(&self, names: &[String], selector: Option<&str>) -> Result<Vec<CmdJob>> {
        if names.is_empty() {
            let jobs = self.jobs();
            let params = selector.map_or_else(ListParams::default, |labels| ListParams::default().labels(labels));
            return self.all("list jobs", &jobs, params).await.map_err(|error| self.no_job("", error));
        }
        futures::future::try_join_all(names.iter().map(|name| self.job(name))).await
    }
}

async fn config(flags: &ClusterFlags) -> Result<Config> {
    let options =
        KubeConfigOptions { context: flags.context.clone(), cluster: flags.cluster.clone(), user: flags.user.clone() };
    if let Some(file) = &flags.kubeconfig {
        let why = || format!("cannot use the kubeconfig {}", file.display());
        if !file.exists() {
            return Err(anyhow!("there is no such file").context(why()));
        }
        let read = Kubeconfig::read_from(file).with_context(why)?;
        is_there(&read, flags)?;
        return Config::from_custom_kubeconfig(read, &options).await.with_context(why);
    }
    if let Ok(read) = Kubeconfig::read() {
        is_there(&read, flags)?;
    }
    let is_plain = flags.context.is_none() && flags.cluster.is_none() && flags.user.is_none();
    match Config::from_kubeconfig(&options).await {
        Ok(config) => Ok(config),
        // As kubectl: the pod's own ServiceAccount, where there is nothing else.
        Err(error) => match Config::incluster().ok().filter(|_| is_plain) {
            Some(config) => Ok(config),
            None => Err(error)
                .context("found no kubeconfig that can be used: name one with --kubeconfig, or by $KUBECONFIG"),
        },
    }
}

/// Whether the context that is named is in the kubeconfig.
fn is_there(config: &Kubeconfig, flags: &ClusterFlags) -> Result<()> {
    let Some(wanted) = &flags.context else { return Ok(()) };
    let names: Vec<&str> = config.contexts.iter().map(|context| context.name.as_str()).collect();
    match names.contains(&wanted.as_str()) {
        true => Ok(()),
        false if names.is_empty() => Err(anyhow!("the kubeconfig has no contexts, and so none with the name {wanted}")),
        false => Err(anyhow!("the kubeconfig has no context {wanted}: it has {}", names.join(", "))),
    }
}

/// The contexts of the kubeconfig, for completion.
pub(crate) fn contexts(file: Option<&PathBuf>) -> Vec<String> {
    let read = file.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    read.map(|config| config.contexts.into_iter().map(|context| context.name).collect()).unwrap_or_default()
}
