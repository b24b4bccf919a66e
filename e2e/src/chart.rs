//! Installing the project's own helm chart.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::exec;

/// Where the chart is installed.
pub const NAMESPACE: &str = "vk-cmd-system";
/// What the release is called.
pub const RELEASE: &str = "vk-cmd";

/// For [`install`]: the operator's Deployment with no pods, because the operator is run outside the cluster.
pub const WITHOUT_OPERATOR: &[&str] = &["--set", "replicas=0"];

const LIMIT: Duration = Duration::from_secs(120);

/// The chart, installed.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The namespace that it is in.
    pub namespace: String,
    /// The ServiceAccount that it has made for the operator.
    pub service_account: String,
}

/// The chart's directory.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/vk-cmd")
}

/// Installs the chart, or upgrades it to what it is now. `settings` are further arguments for helm, such as `--set`.
pub async fn install(cluster: &Cluster, settings: &[&str]) -> Result<Chart> {
    let mut helm = cluster.helm();
    helm.args(["upgrade", "--install", RELEASE]).arg(directory());
    helm.args(["--namespace", NAMESPACE, "--create-namespace"]).args(settings);
    exec::text(helm, LIMIT).await.context("cannot install the chart")?;
    installed(cluster).await?.context("helm has installed the chart, but does not find it")
}

/// The chart as it is installed, if it is.
pub async fn installed(cluster: &Cluster) -> Result<Option<Chart>> {
    let mut helm = cluster.helm();
    helm.args(["list", "--namespace", NAMESPACE, "--filter", &format!("^{RELEASE}$"), "--short"]);
    if exec::text(helm, LIMIT).await?.trim().is_empty() {
        return Ok(None);
    }
    let mut helm = cluster.helm();
    helm.args(["get", "manifest", RELEASE, "--namespace", NAMESPACE]);
    let manifest = exec::text(helm, LIMIT).await?;
    let service_account = service_account(&manifest)?.context("the chart makes no ServiceAccount for the operator")?;
    Ok(Some(Chart { namespace: NAMESPACE.to_owned(), service_account }))
}

/// Removes the chart, all but the CustomResourceDefinitions and with them the users' CmdJobs.
pub async fn uninstall(cluster: &Cluster) -> Result<()> {
    let mut helm = cluster.helm();
    helm.args(["uninstall", RELEASE, "--namespace", NAMESPACE]);
    exec::text(helm, LIMIT).await.context("cannot uninstall the chart").map(drop)
}

/// The objects of a manifest.
pub fn objects(manifest: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml_ng::Deserializer::from_str(manifest);
    let objects = documents.map(|one| Value::deserialize(one).context("helm has written YAML that does not parse"));
    Ok(objects.collect::<Result<Vec<_>>>()?.into_iter().filter(|object| !object.is_null()).collect())
}

/// The name of the operator's ServiceAccount among the objects of a manifest.
fn service_account(manifest: &str) -> Result<Option<String>> {
    let objects = objects(manifest)?;
    let found = objects.iter().find(|object| {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        text("/kind") == Some("ServiceAccount")
            && text("/metadata/labels/app.kubernetes.io~1component") == Some("operator")
    });
    Ok(found.and_then(|object| object.pointer("/metadata/name")?.as_str()).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_account_is_found_among_documents() {
        let account = |name: &str, part: &str| {
            format!(
                "---\nkind: ServiceAccount\nmetadata: {{name: {name}, labels: {{app.kubernetes.io/component: {part}}}}}\n"
            )
        };
        let manifest =
            format!("kind: Role\nmetadata: {{name: a}}\n{}{}", account("r", "relay"), account("b", "operator"));
        assert_eq!(service_account(&manifest).unwrap().as_deref(), Some("b"));
        assert_eq!(service_account("kind: Role").unwrap(), None);
    }
}
