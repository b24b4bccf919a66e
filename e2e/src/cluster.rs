//! What one does with a cluster, whoever runs it: the command line tools, a client, credentials for others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::kubeconfig::{self, Credential};
use crate::tools::{self, Tool};

/// Longer than any test or demo takes.
const TOKEN_SECONDS: i64 = 7 * 24 * 3600;

/// A cluster and the means to work with it as its administrator.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    directory: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
}

impl Cluster {
    /// The cluster that `kubeconfig` is for. Caches and credentials are put into `directory`.
    pub async fn new(kubeconfig: &Path, directory: &Path) -> Result<Self> {
        Ok(Self {
            kubeconfig: kubeconfig.to_owned(),
            directory: directory.to_owned(),
            kubectl: tools::path(Tool::Kubectl).await?,
            helm: tools::path(Tool::Helm).await?,
        })
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Where its caches and credentials are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The kubectl that [`kubectl`](Self::kubectl) runs.
    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    /// The helm that [`helm`](Self::helm) runs.
    pub fn helm_path(&self) -> &Path {
        &self.helm
    }

    /// A client with the administrator's rights. It belongs to the runtime that it is made on: make one in each test.
    pub async fn client(&self) -> Result<Client> {
        kubeconfig::client(&self.kubeconfig, None).await
    }

    /// `kubectl --kubeconfig …`, to add arguments to.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        // Its cache of what the server offers would otherwise grow in the user's home with every cluster that we start.
        command.env("KUBECACHEDIR", self.directory.join("kubectl-cache"));
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// `helm --kubeconfig …`, to add arguments to.
    pub fn helm(&self) -> Command {
        self.helm_by(&self.helm)
    }

    /// The same by another helm.
    pub fn helm_by(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, self.directory.join("helm"));
        }
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command
    }

    /// A kubeconfig with a bootstrap token in `group`, as `kubeadm token create` makes them. `id` is six letters and digits.
    pub async fn bootstrap_kubeconfig(&self, id: &str, group: &str) -> Result<PathBuf> {
        const SECRET: &str = "0123456789abcdef";
        let fields = [
            ("token-id", id),
            ("token-secret", SECRET),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", group),
        ];
        let secret = Secret {
            metadata: ObjectMeta { name: Some(format!("bootstrap-token-{id}")), ..ObjectMeta::default() },
            type_: Some("bootstrap.kubernetes.io/token".to_owned()),
            string_data: Some(fields.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..Secret::default()
        };
        let secrets: Api<Secret> = Api::namespaced(self.client().await?, "kube-system");
        secrets.create(&PostParams::default(), &secret).await.context("cannot make a bootstrap token")?;
        let path = self.directory.join(format!("bootstrap-{id}.kubeconfig"));
        let token = format!("{id}.{SECRET}");
        let cluster = kubeconfig::cluster_of(&self.kubeconfig)?;
        kubeconfig::write(&path, cluster, "bootstrap", &Credential::Token(&token))?;
        Ok(path)
    }

    /// A client with what another kubeconfig of this cluster says.
    pub async fn client_of(&self, kubeconfig: &Path) -> Result<Client> {
        kubeconfig::client(kubeconfig, None).await
    }

    /// A kubeconfig with a token of a ServiceAccount, and so with exactly the rights that it has.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let answer = answer
            .with_context(|| format!("cannot get a token of the ServiceAccount {name} in namespace {namespace}"))?;
        let token = answer.status.and_then(|status| status.token).context("the API server sent no token")?;
        let path = self.directory.join(format!("serviceaccount-{namespace}-{name}.kubeconfig"));
        let user = format!("system:serviceaccount:{namespace}:{name}");
        kubeconfig::write(&path, kubeconfig::cluster_of(&self.kubeconfig)?, &user, &Credential::Token(&token))?;
        Ok(path)
    }
}
