//! The directories of pods: who asks for them, and when they go.
//!
//! ```text
//!   a volume is put, a task is started ──▶ made, if it is not there
//!   the node removes the pod ────────────▶ refused while a task of it is not final
//!                                    └──▶ moved to the trash in one step ──▶ removed
//!   no task's records are left, and nobody has asked for it for long ──▶ the same
//! ```
//!
//! What is in them is the tasks' own, and does not count towards `records.maxBytes`: no removal of records could make room
//! for it, and a task that fills its volume should not keep others from being started.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use rustix::fs::statfs;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedMutexGuard;
use tracing::{info, warn};
use vk_record::pods::{Pods, remove_tree};
use vk_record::{Dir, RecordError, chain, names};
use vk_task::{ApiError, DirName, ErrorReason, Origin, OwnDirectory, TaskSpec, TaskView, VolumeContent};

use super::busy::Busy;
use super::refusal::failure;
use super::{Pipe, complain};

/// A directory is not removed unasked before so many seconds have gone by since it was last asked for: the node may be
/// about to start the pod's next container.
const LEAST_KEEP_SECONDS: u64 = 3600;
/// The kernel's number of tmpfs: see statfs(2).
const TMPFS_MAGIC: i128 = 0x0102_1994;

/// The directories of all pods.
#[derive(Debug)]
pub(super) struct PodDirs {
    pods: Pods,
    busy: Busy<DirName>,
}

impl PodDirs {
    /// Beneath the records' directory.
    pub(super) fn open(records: &Dir) -> anyhow::Result<Self> {
        let (dir, _) = records.create_dir(names::PODS)?;
        dir.spread_directories();
        // By a path that holds everywhere on this host.
        let path = std::path::absolute(dir.path()).context("the pipe's directory has no absolute path")?;
        let memory = memory(&path);
        let pods = Pods::new(Dir::open(&path)?, memory);
        if let Some(memory) = pods.memory() {
            info!(directory = %memory.display(), "volumes that are to be in memory are there");
        }
        Ok(Self { pods, busy: Busy::default() })
    }

    /// See [`Pods::hosts`].
    pub(super) fn hosts(&self, pod: &DirName, container: &DirName) -> PathBuf {
        self.pods.hosts(pod, container)
    }

    /// See [`Pods::write_hosts`].
    pub(super) fn write_hosts(&self, pod: &DirName, container: &DirName, text: &str) -> Result<(), RecordError> {
        self.pods.write_hosts(pod, container, text)
    }

    /// Where what is to be in memory is, if it can be.
    pub(super) fn memory(&self) -> Option<&Path> {
        self.pods.memory()
    }

    /// Keeps the directory of this task's pod where it is, if the task is going to use it.
    pub(super) async fn hold(&self, spec: &TaskSpec) -> Option<OwnedMutexGuard<()>> {
        let pod = spec.uses_pod_directory().then(|| pod_of(&spec.origin))??;
        Some(self.busy.with(&pod).await)
    }

    /// Notes that the pod of a task whose records go has had a task until now.
    pub(super) fn note_use(&self, view: &TaskView) {
        if let Some(pod) = pod_of(&view.origin) {
            self.pods.touch(&pod);
        }
    }

    /// Where a volume's files are; `None` when it has not been written.
    pub(super) fn volume(&self, pod: &DirName, name: &DirName) -> Result<Option<PathBuf>, RecordError> {
        self.pods.volume(pod, name)
    }

    /// Makes the directories that a container has for itself.
    pub(super) fn own_directory(&self, pod: &DirName, container: &DirName) -> Result<OwnDirectory, RecordError> {
        self.pods.own_directory(pod, container)
    }

    /// Where the file for a container's last words is, once it has been made.
    pub(super) fn termination_log(&self, pod: &DirName, container: &DirName) -> PathBuf {
        self.pods.termination_log(pod, container)
    }

    /// Makes it for the container's next run.
    pub(super) fn make_termination_log(&self, pod: &DirName, container: &DirName) -> Result<PathBuf, RecordError> {
        self.pods.make_termination_log(pod, container)
    }

    /// Has a link in a container's own directory lead to `source`.
    pub(super) fn link(
        &self,
        pod: &DirName,
        container: &DirName,
        target: &Path,
        source: &Path,
    ) -> Result<(), RecordError> {
        self.pods.link(pod, container, target, source)
    }
}

/// The pod of a task.
pub(super) fn pod_of(origin: &Origin) -> Option<DirName> {
    DirName::new(&*origin.run()?.uid).ok()
}

/// A place in memory for the volumes of the pods in `pods`, where this user has one. `/dev/shm` comes first: the other is
/// smaller, and goes when the user has logged out everywhere.
fn memory(pods: &Path) -> Option<Dir> {
    let user = format!("vk-cmd-{}", rustix::process::geteuid().as_raw());
    let digest = Sha256::digest(pods.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let bases = [Some("/dev/shm".into()), std::env::var_os("XDG_RUNTIME_DIR")];
    bases
        .into_iter()
        .flatten()
        .find_map(|base| {
            let base = Path::new(&base);
            let is_memory =
                base.is_absolute() && statfs(base).is_ok_and(|found| i128::from(found.f_type) == TMPFS_MAGIC);
            let made = is_memory
                .then(|| Dir::open_or_create_among_others(base, &user).and_then(|of_user| of_user.create_dir(&name)))?;
            made.map_err(|e| warn!("volumes cannot be in memory in {}: {}", base.display(), chain(&e))).ok()
        })
        .map(|(dir, _)| dir)
}

impl Pipe {
    /// Has a volume of a pod be there.
    pub(super) async fn put_volume(
        self: &Arc<Self>,
        pod: DirName,
        name: DirName,
        content: VolumeContent,
    ) -> Result<(), ApiError> {
        let _busy = self.pods.busy.with(&pod).await;
        let pipe = Arc::clone(self);
        let what = format!("the volume {name} of pod {pod} is not as it is to be");
        let written = self.blocking.run(move || pipe.pods.pods.put_volume(&pod, &name, &content)).await;
        written.map(drop).map_err(|e| failure(&what, &e))
    }

    /// Removes a pod's directory, if there is one.
    pub(super) async fn remove_pod(self: &Arc<Self>, pod: DirName) -> Result<(), ApiError> {
        self.remove_pod_unless(pod, |_| Ok(false)).await
    }

    async fn remove_pod_unless(
        self: &Arc<Self>,
        pod: DirName,
        is_wanted: impl FnOnce(&Pods) -> Result<bool, RecordError> + Send + 'static,
    ) -> Result<(), ApiError> {
        let moved = {
            let _busy = self.pods.busy.with(&pod).await;
            let is_alive = |view: &TaskView| !view.state.is_final() && pod_of(&view.origin).as_ref() == Some(&pod);
            if let Some(id) =
                self.table.map(|view| is_alive(view).then(|| view.id.clone())).into_iter().flatten().next()
            {
                let message = format!(
                    "task {id} of pod {pod} has not ended: stop it, and remove the pod's directory when it has"
                );
                return Err(ApiError { reason: ErrorReason::Conflict, message });
            }
            let (pipe, pod) = (Arc::clone(self), pod.clone());
            self.blocking
                .run(move || match is_wanted(&pipe.pods.pods)? {
                    true => Ok(None),
                    false => pipe.pods.pods.discard(&pod, &pipe.trash),
                })
                .await
        };
        let moved = moved.map_err(|e| failure(&format!("the directory of pod {pod} is still there"), &e))?;
        let pipe = Arc::clone(self);
        // It may take long: others do not wait for that.
        let removal = move || {
            let Some(name) = moved else { return };
            if let Err(e) = remove_tree(&pipe.trash, &name) {
                complain("what a pod has left is still there; it will be removed when the pipe starts again", &e);
            }
            if let Err(e) = pipe.pods.pods.remove_discarded(&name) {
                complain("what a pod has left in memory is still there", &e);
            }
        };
        self.losing.run(removal).await;
        Ok(())
    }

    /// Removes the directories of pods that nobody has asked for in so long, and of which no task is left.
    pub(super) async fn sweep_pods(self: &Arc<Self>, keep_seconds: u64) {
        let keep = i64::try_from(keep_seconds.max(LEAST_KEEP_SECONDS)).unwrap_or(i64::MAX);
        let now = self.clock.now();
        let unused_since = now.wall.as_second().saturating_sub(keep);
        let in_use: BTreeSet<DirName> = self.table.map(|view| pod_of(&view.origin)).into_iter().flatten().collect();
        let pipe = Arc::clone(self);
        // A clock that was set makes nothing older.
        let present = move |at: i64| Timestamp::from_second(at).map_or(at, |at| now.steps.present(at).as_second());
        let is_recent =
            move |pods: &Pods, pod: &DirName| Ok(pods.last_used(pod)?.is_some_and(|at| present(at) >= unused_since));
        let was_recent = is_recent.clone();
        let find = move || -> Result<Vec<DirName>, RecordError> {
            let pods = &pipe.pods.pods;
            pods.sweep_memory()?;
            let mut unused = pods.all()?;
            unused.retain(|pod| !in_use.contains(pod) && matches!(was_recent(pods, pod), Ok(false)));
            Ok(unused)
        };
        match self.blocking.run(find).await {
            Ok(unused) => {
                for pod in unused {
                    info!(
                        "the directory of pod {pod} is removed: it has no task, and nobody has asked for it for long"
                    );
                    let (again, is_recent) = (pod.clone(), is_recent.clone());
                    // Somebody may just have asked for it.
                    if let Err(e) = self.remove_pod_unless(pod, move |pods| is_recent(pods, &again)).await {
                        warn!("it is still there: {e}");
                    }
                }
            }
            Err(e) => complain("the directories of pods cannot be looked through", &e),
        }
    }
}
