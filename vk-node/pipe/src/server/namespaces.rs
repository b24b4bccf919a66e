//! Whether tasks can have mounts of their own, each in a user and mount namespace: found out by trying.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tracing::{info, warn};
use vk_record::Dir;
use vk_task::MountNamespaces;

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// What `vk_shim::TRY_MOUNTS` says.
const TRY: &str = "--try-mounts";

/// Has a shim try it.
pub(super) async fn try_out(shim: &Path, tasks: &Dir) -> MountNamespaces {
    // The directory of the tasks is deep enough, and is mounted over in the namespace only.
    let spare = std::path::absolute(tasks.path()).unwrap_or_else(|_| tasks.path().to_owned());
    let found = try_beneath(shim, &spare).await;
    match &found {
        MountNamespaces::Unavailable { why } => {
            warn!("tasks can have no mounts of their own, only links with relative paths: {why}");
        }
        MountNamespaces::Available | MountNamespaces::Unknown => info!("tasks can have mounts of their own"),
    }
    found
}

/// The same with another directory, and without a word.
pub(super) async fn try_beneath(shim: &Path, spare: &Path) -> MountNamespaces {
    let mut command = Command::new(shim);
    command.arg("shim").arg(TRY).arg(spare).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let why = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) if output.status.success() => {
            return MountNamespaces::Available;
        }
        Ok(Ok(output)) => {
            let words = String::from_utf8_lossy(&output.stderr);
            let words = words.lines().last().unwrap_or_default().trim();
            let words = words.strip_prefix("vk-shim: ").unwrap_or(words);
            if words.is_empty() { output.status.to_string() } else { words.to_owned() }
        }
        Ok(Err(e)) => format!("the program that was to try it could not be run: {e}"),
        Err(_) => format!("the kernel has not done it within {} s", PATIENCE.as_secs()),
    };
    MountNamespaces::Unavailable { why }
}
