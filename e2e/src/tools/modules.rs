//! Files out of Go modules that are read and not built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// Where its definitions of kinds are in the module of the Prometheus Operator.
const KINDS: &str = "example/prometheus-operator-crd";
const MODULE: &str = "github.com/prometheus-operator/prometheus-operator";

/// The directory with the CustomResourceDefinitions of the Prometheus Operator, of the release that `e2e/go` pins: what is downloaded is held to its go.sum.
///
/// # Errors
/// When Go does not have it, and cannot get it.
pub async fn prometheus_kinds() -> Result<PathBuf> {
    tokio::task::spawn_blocking(|| Ok(directory("prometheus-operator", MODULE)?.join(KINDS)))
        .await
        .context("the download failed")?
}

#[derive(Deserialize)]
struct Downloaded {
    #[serde(rename = "Dir")]
    dir: Option<PathBuf>,
    #[serde(rename = "Error")]
    error: Option<String>,
}

fn directory(of: &str, module: &str) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(of);
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", module])
        .current_dir(&source)
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly");
    let output = go.output().context("cannot run `go`")?;
    let told: Downloaded = serde_json::from_slice(&output.stdout).with_context(|| {
        format!("`go mod download` of {module}: {}", String::from_utf8_lossy(&output.stderr).trim())
    })?;
    match told {
        Downloaded { dir: Some(dir), error: None } => Ok(dir),
        Downloaded { error, .. } => bail!("Go cannot get {module}: {}", error.unwrap_or_default()),
    }
}
