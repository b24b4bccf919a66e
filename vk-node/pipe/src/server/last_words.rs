//! Where a task finds the file for its last words: it is in the pod's directory, made anew for each run.
//!
//! | `terminationMessagePath` | on the host | in an image |
//! |---|---|---|
//! | the default | `$VK_CMD_TERMINATION_LOG` names it; where the task has a mount namespace it is at the path, too | at the path, where the runtime makes a place for it |
//! | absolute | at the path, in a mount namespace, where the site approves of one | at the path |
//! | relative | a link in the container's own directory | at the path, from the image's root |
//!
//! What it is in an image, and what is refused, the site has decided before: see [`vk_site::clear`].

use std::path::{Path, PathBuf};

use vk_task::{ApiError, Bind, DirName, HostSetup, Origin, Place, TaskSpec, TerminationMessage};

use super::given::not_ready;
use super::pods::PodDirs;

/// How a task on the host finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    /// In no other way than by the variable.
    Variable,
    /// By a link in its own directory.
    Link,
    /// At the path, in its mount namespace.
    Mount,
}

/// Where it will be, for a task that is asked for last words.
pub(super) fn file(pods: &PodDirs, spec: &TaskSpec) -> Option<PathBuf> {
    spec.termination_message.as_ref()?;
    let (pod, container) = names(spec)?;
    Some(pods.termination_log(&pod, &container))
}

/// Makes it for a task that is about to be started, of which the site has approved, and sees to it that the task finds it.
pub(super) fn make_ready(pods: &PodDirs, spec: &TaskSpec, setup: &mut HostSetup) -> Result<(), ApiError> {
    let Some((TerminationMessage { path, .. }, (pod, container))) = spec.termination_message.as_ref().zip(names(spec))
    else {
        return Ok(());
    };
    let file = pods.make_termination_log(&pod, &container).map_err(|e| not_ready(&e))?;
    match shown(path, &spec.place, setup) {
        Shown::Variable => {}
        Shown::Link => pods.link(&pod, &container, path, &file).map_err(|e| not_ready(&e))?,
        Shown::Mount => {
            let (source, target) = (file.clone(), path.clone());
            setup.binds.push(Bind { source, sub_path: None, target, read_only: false });
        }
    }
    setup.termination_log = Some(file);
    Ok(())
}

fn names(spec: &TaskSpec) -> Option<(DirName, DirName)> {
    match &spec.origin {
        Origin::Pod(run) => DirName::new(&*run.uid).ok().zip(DirName::new(&*run.container).ok()),
        Origin::Fifo { .. } => None,
    }
}

/// Decides it. Pure.
fn shown(path: &Path, place: &Place, setup: &HostSetup) -> Shown {
    let is_default = path == Path::new(TerminationMessage::DEFAULT_PATH);
    let is_taken = setup.binds.iter().any(|bind| bind.target == path);
    match place {
        Place::Image(_) => Shown::Variable,
        Place::Host if path.is_relative() => Shown::Link,
        Place::Host if is_taken => Shown::Variable,
        // A namespace takes something from a task as well: what programs could do with the rights of others, say. None is
        // made for a path that nobody has asked for.
        Place::Host if is_default && setup.binds.is_empty() && !setup.read_only_root => Shown::Variable,
        Place::Host => Shown::Mount,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_made_only_for_a_path_that_somebody_asked_for() {
        let shown = |path: &str, bound: &[&str]| {
            let bind =
                |target: &&str| Bind { source: "/s".into(), sub_path: None, target: target.into(), read_only: false };
            let setup = HostSetup { binds: bound.iter().map(bind).collect(), ..HostSetup::default() };
            super::shown(Path::new(path), &Place::Host, &setup)
        };
        let default = TerminationMessage::DEFAULT_PATH;
        assert_eq!(shown(default, &[]), Shown::Variable);
        assert_eq!(shown(default, &["/data"]), Shown::Mount);
        assert_eq!(shown(default, &[default]), Shown::Variable);
        assert_eq!(shown("/tmp/log", &[]), Shown::Mount);
        assert_eq!(shown("a/log", &[]), Shown::Link);
    }
}
