//! What the site allows, asked before anything is done. The verdict itself is [`vk_site`]'s; here its file is read and
//! the facts are found.

mod facts;
mod file;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tracing::{info, warn};
use vk_record::Dir;
use vk_site::{Cleared, Denied, Facts, GivenMount, Rule, Site, StreamKind, clear};
use vk_task::{ApiError, ErrorReason, MountNamespaces, Origin, SiteInfo, TaskId, TaskSpec, stream::StreamRequest};

pub(super) use facts::find_runtime;
use file::SiteFile;
pub use file::{OWN_NAME, SYSTEM_PLACE};

/// The site's file as it is in force. All that asks it waits for the disk for a moment.
#[derive(Debug)]
pub(super) struct SiteRules {
    file: SiteFile,
    /// The directory of the tasks' records, by a path that holds everywhere on this host.
    tasks: PathBuf,
}

impl SiteRules {
    /// From the file that is named, or else from the first of the usual places that has one.
    pub(super) fn open(named: Option<PathBuf>, root: &Dir, tasks: &Dir) -> anyhow::Result<Self> {
        let tasks = std::path::absolute(tasks.path()).context("the pipe's directory has no absolute path")?;
        let file = SiteFile::open(named, root.path())
            .context("the site's file is not in force, so nothing is run: correct it, and start the pipe again")?;
        match file.path() {
            Some(path) => info!(file = %path.display(), "the site's file is in force"),
            None => info!("there is no site's file: all is allowed that Linux allows this user"),
        }
        Ok(Self { file, tasks })
    }

    /// The rules.
    pub(super) fn current(&self) -> Arc<Site> {
        self.file.current().0
    }

    /// The verdict about a task that is given these volumes and this file for its last words, where the kernel says this to mounts of its own.
    pub(super) fn clear(
        &self,
        id: &TaskId,
        spec: &TaskSpec,
        volumes: &[GivenMount],
        termination_log: Option<PathBuf>,
        mount_namespaces: &MountNamespaces,
    ) -> Result<Cleared, Denied> {
        let site = self.current();
        let facts = Facts {
            volumes: volumes.to_vec(),
            termination_log,
            mount_namespaces: mount_namespaces.clone(),
            ..facts::gather(&site, spec, volumes, self.tasks.join(id.as_str()))
        };
        let verdict = clear(&site, id, spec, &facts);
        match &verdict {
            Ok(cleared) => cleared.told.iter().for_each(|told| info!("task {id}: {told}")),
            Err(denied) => warn!("task {id} is refused: {denied}"),
        }
        verdict
    }

    /// The verdict about a stream into a task.
    pub(super) fn may_stream(&self, id: &TaskId, origin: &Origin, asked: &StreamRequest) -> Result<(), Denied> {
        let kind = match asked {
            StreamRequest::Exec { .. } => StreamKind::Exec,
            StreamRequest::Attach { .. } => StreamKind::Attach,
        };
        let verdict = self.current().policy.may_stream(origin, kind);
        if let Err(denied) = &verdict {
            warn!("{} into task {id} is refused: {denied}", kind.word());
        }
        verdict
    }

    /// What is told of the site's file.
    pub(super) fn info(&self) -> SiteInfo {
        let (site, error) = self.file.current();
        let found = if site.runtime.is_auto() { facts::find_runtime() } else { None };
        let rule = &site.policy.namespaces;
        SiteInfo {
            file: self.file.path(),
            error,
            runtime: site.runtime.name(found.as_ref()),
            namespaces: (*rule != Rule::default()).then(|| rule.to_json()),
        }
    }
}

/// The refusal that a verdict comes to.
pub(super) fn refusal(denied: &Denied) -> ApiError {
    ApiError { reason: ErrorReason::Denied, message: denied.to_string() }
}
