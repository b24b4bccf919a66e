//! Finding the programs of Kubernetes, etcd, helm, kwok, metrics-server and what judges charts: given by the user, on PATH, or built
//! once from Go modules into a cache.

mod build;
mod modules;
mod progress;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, anyhow};

use build::GoModule;
pub use modules::prometheus_kinds;

/// A directory with programs to use instead of building any, as for controller-runtime's envtest.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// kubectl supports servers one minor version away; one more has been seen to work.
const OLDEST_KUBECTL_MINOR: u32 = 34;

/// A program that others wrote and we need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The store behind the API server.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// Jobs, Deployments, garbage collection, node lifecycle and so on.
    KubeControllerManager,
    /// Binds pods to nodes.
    KubeScheduler,
    /// The command line client.
    Kubectl,
    /// Installs charts: helm 3.
    Helm,
    /// Helm 4.
    Helm4,
    /// Makes the chart's README out of its values.
    HelmDocs,
    /// Tries the chart's templates.
    HelmUnittest,
    /// Looks whether objects fit the API's schemas.
    Kubeconform,
    /// Looks whether objects are as good practice has them.
    KubeScore,
    /// Tries alerts.
    Promtool,
    /// Fakes pods; only benchmarks use it, as something to compare with.
    Kwok,
    /// Scrapes nodes for `kubectl top`.
    MetricsServer,
}

impl Tool {
    /// The name of the program's file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Helm => "helm",
            Self::Helm4 => "helm4",
            Self::HelmDocs => "helm-docs",
            Self::HelmUnittest => "helm-unittest",
            Self::Kubeconform => "kubeconform",
            Self::KubeScore => "kube-score",
            Self::Promtool => "promtool",
            Self::Kwok => "kwok",
            Self::MetricsServer => "metrics-server",
        }
    }

    fn module(self) -> GoModule {
        match self {
            Self::Etcd | Self::KubeApiserver | Self::KubeControllerManager | Self::KubeScheduler | Self::Kubectl => {
                GoModule::Kubernetes
            }
            Self::Helm => GoModule::Helm,
            Self::Helm4 => GoModule::Helm4,
            Self::HelmDocs | Self::HelmUnittest | Self::Kubeconform => GoModule::Charts,
            Self::KubeScore => GoModule::KubeScore,
            Self::Promtool => GoModule::Promtool,
            Self::Kwok => GoModule::Kwok,
            Self::MetricsServer => GoModule::MetricsServer,
        }
    }

    /// One that the user already has on PATH, where that is good enough.
    fn on_path(self) -> Option<PathBuf> {
        match self {
            Self::Helm => find_on_path(self.name()),
            Self::Kubectl => find_on_path(self.name()).filter(|kubectl| recent_enough(kubectl)),
            // They must be of the release that we pin: what one of these says differs from release to release.
            Self::Etcd
            | Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Helm4
            | Self::HelmDocs
            | Self::HelmUnittest
            | Self::Kubeconform
            | Self::KubeScore
            | Self::Promtool
            | Self::Kwok
            | Self::MetricsServer => None,
        }
    }
}

/// Where the program is. Builds it if need be, which takes minutes the first time and shows its progress on standard error.
///
/// Blocks; from async code call [`path`].
pub fn locate(tool: Tool) -> Result<PathBuf> {
    static FOUND: Mutex<Option<HashMap<Tool, PathBuf>>> = Mutex::new(None);
    // Held while building: the threads of one process wait here for each other, processes at the lock file.
    let mut found = FOUND.lock().map_err(|_| anyhow!("another thread failed while looking for a program"))?;
    let found = found.get_or_insert_default();
    if let Some(path) = found.get(&tool) {
        return Ok(path.clone());
    }
    let path = look_for(tool).with_context(|| format!("{} is needed and not available", tool.name()))?;
    found.insert(tool, path.clone());
    Ok(path)
}

/// As [`locate`], for async code.
pub async fn path(tool: Tool) -> Result<PathBuf> {
    tokio::task::spawn_blocking(move || locate(tool)).await.context("the search for a program failed")?
}

fn look_for(tool: Tool) -> Result<PathBuf> {
    if let Some(assets) = std::env::var_os(ASSETS_VARIABLE) {
        let given = Path::new(&assets).join(tool.name());
        if given.is_file() {
            return Ok(given);
        }
    }
    match tool.on_path() {
        Some(path) => Ok(path),
        None => Ok(build::built(tool.module())?.join(tool.name())),
    }
}

/// Whether typing the program's name in a shell like ours runs this very file.
pub(crate) fn is_on_path(program: &Path) -> bool {
    program.file_name().and_then(|name| find_on_path(name.to_str()?)).is_some_and(|found| found == program)
}

fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn recent_enough(kubectl: &Path) -> bool {
    let output = Command::new(kubectl).args(["version", "--client", "-o", "json"]).output();
    output
        .ok()
        .and_then(|output| client_version(&output.stdout))
        .is_some_and(|version| version >= (1, OLDEST_KUBECTL_MINOR))
}

/// Vendors write minors such as `32+`.
fn client_version(json: &[u8]) -> Option<(u32, u32)> {
    let version: serde_json::Value = serde_json::from_slice(json).ok()?;
    let part = |name: &str| {
        let text = version.get("clientVersion")?.get(name)?.as_str()?;
        text.trim_end_matches(|letter: char| !letter.is_ascii_digit()).parse().ok()
    };
    Some((part("major")?, part("minor")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_version_reads_a_vendors_plus() {
        let json = br#"{"clientVersion": {"major": "1", "minor": "32+", "gitVersion": "v1.32.4-x"}}"#;
        assert_eq!(client_version(json), Some((1, 32)));
        assert_eq!(client_version(b"no json"), None);
    }
}
