//! What a pipe would find on this machine, without one: for `vk-node doctor`.

use std::path::{Path, PathBuf};

use vk_task::MountNamespaces;

use super::{cgroup, namespaces, site, storage};

/// The kind of shared file system that a directory is on, if it is on one.
#[must_use]
pub fn shared_file_system(directory: &Path) -> Option<&'static str> {
    storage::kind_of(directory).ok()?.shared()
}

/// Where the records of a pipe in `directory` would be: `named`, if a place is named.
#[must_use]
pub fn records(named: Option<PathBuf>, directory: &Path) -> PathBuf {
    storage::would_be(named, directory)
}

/// The cgroup that is delegated to what is started here.
#[must_use]
pub fn cgroup() -> Option<PathBuf> {
    cgroup::delegated_here()
}

/// The first container runtime in the `PATH` of tasks, by its path.
#[must_use]
pub fn runtime() -> Option<String> {
    site::find_runtime().map(|found| found.program)
}

/// Whether tasks could have mounts of their own. `program` is this one, which is the shim too; `spare` is a directory that is
/// mounted over for a moment, for that process alone.
pub async fn mount_namespaces(program: &Path, spare: &Path) -> MountNamespaces {
    namespaces::try_beneath(program, spare).await
}
