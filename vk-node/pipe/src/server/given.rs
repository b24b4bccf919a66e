//! What a task is given of its pod and of the host: found before the site is asked, made ready after it has said yes.
//!
//! ```text
//!   a volume ───▶ where its files are; not written yet: refused, for now
//!   hostPath ───▶ its path ──▶ the site's rules ──▶ is it what it is to be? made, where that is asked
//!                                     │
//!         ┌───────────────────────────┼──────────────────────────────┐
//!         ▼ relative target           ▼ absolute, on the host        ▼ in an image
//!   a link in the own directory     a bind of its mount namespace    a mount of its runtime's
//! ```

use std::fs::{DirBuilder, FileType, Metadata, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use vk_record::pods::{Part, part};
use vk_record::{RecordError, chain};
use vk_site::GivenMount;
use vk_task::{
    ApiError, Bind, DirName, ErrorReason, HostAlias, HostPathType, HostSetup, Mount, Origin, Place, TaskSpec,
    VolumeMount, VolumeSource,
};

use super::pods::PodDirs;
use super::refusal::failure;

/// The mode of a directory that a `hostPath` has made, and of a file: the kubelet's.
const HOST_DIRECTORY: u32 = 0o755;
const HOST_FILE: u32 = 0o644;
/// The mode of what is made for a `subPath`: the kubelet's.
const SUB_PATH: u32 = 0o750;

/// Where the volumes of a task are on this host. Nothing is made.
pub(super) fn find(pods: &PodDirs, spec: &TaskSpec) -> Result<Vec<GivenMount>, ApiError> {
    let mut all: Vec<GivenMount> =
        spec.mounts.iter().map(|mount| find_one(pods, spec, mount)).collect::<Result<_, _>>()?;
    all.extend(hosts(pods, spec));
    Ok(all)
}

/// The file of host names, where the task is to have one of its own and none is mounted there: after all volumes.
fn hosts(pods: &PodDirs, spec: &TaskSpec) -> Option<GivenMount> {
    let target = Path::new(HostAlias::FILE);
    let is_free = spec.mounts.iter().all(|mount| mount.target != target);
    let (pod, container) = names(spec).filter(|_| is_free && !spec.host_aliases.is_empty())?;
    let mount = Mount { source: pods.hosts(&pod, &container), target: target.to_owned(), read_only: false };
    Some(GivenMount { mount, of_host: false })
}

fn names(spec: &TaskSpec) -> Option<(DirName, DirName)> {
    match &spec.origin {
        Origin::Pod(run) => DirName::new(&*run.uid).ok().zip(DirName::new(&*run.container).ok()),
        Origin::Fifo { .. } => None,
    }
}

fn find_one(pods: &PodDirs, spec: &TaskSpec, mount: &VolumeMount) -> Result<GivenMount, ApiError> {
    let VolumeMount { source, sub_path, target, read_only } = mount;
    let (path, of_host) = match source {
        VolumeSource::Host { path, expects: _ } => (path.clone(), true),
        VolumeSource::Volume { name } => {
            let pod = spec.origin.run().and_then(|run| DirName::new(&*run.uid).ok());
            let found = pod.map(|pod| pods.volume(&pod, name)).transpose().map_err(|e| not_ready(&e))?.flatten();
            (
                found.ok_or_else(|| {
                    not_now(format!("the volume {name} of the pod has not been written: put it first"))
                })?,
                false,
            )
        }
    };
    let source = match sub_path {
        None => path,
        Some(sub) => match part(&path, sub) {
            Ok(Part::Inside(real)) if matches!(spec.place, Place::Image(_)) => real,
            // As it is written: what it leads to may change, or is found when it is mounted.
            Ok(Part::Inside(_)) => path.join(sub.as_str()),
            Ok(Part::Outside) => return Err(not_now(format!("the subPath {sub} leads out of {}", path.display()))),
            // One that is not there is made later, and the path in it with it.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => path.join(sub.as_str()),
            Err(e) => return Err(not_now(format!("the subPath {sub} of {} cannot be found: {e}", path.display()))),
        },
    };
    Ok(GivenMount { mount: Mount { source, target: target.clone(), read_only: *read_only }, of_host })
}

/// Makes ready what a task is to have, of which the site has approved. `given` is what [`find`] has found.
pub(super) fn set_up(pods: &PodDirs, spec: &TaskSpec, given: &[GivenMount]) -> Result<HostSetup, ApiError> {
    let read_only_root = spec.security.read_only_root && spec.place == Place::Host;
    let mut setup = HostSetup { read_only_root, ..HostSetup::default() };
    let names = names(spec);
    if let Some((pod, container)) = names.as_ref().filter(|_| spec.own_directory) {
        setup.own = Some(pods.own_directory(pod, container).map_err(|e| not_ready(&e))?);
    }
    for (VolumeMount { source, sub_path, target, read_only }, given) in spec.mounts.iter().zip(given) {
        if let VolumeSource::Host { path, expects } = source {
            check_host_path(path, *expects).map_err(not_now)?;
        }
        let shown = &given.mount.source;
        let is_bound = target.is_absolute() && spec.place == Place::Host;
        if sub_path.is_some() && !is_bound && !shown.exists() {
            make_directory(shown, SUB_PATH).map_err(|e| not_now(format!("cannot make {}: {e}", shown.display())))?;
        }
        if is_bound {
            let source = match sub_path {
                // The shim finds it, in the namespace, and so that nobody can put another in its place.
                Some(sub) => shown.ancestors().nth(sub.as_str().split('/').count()).unwrap_or(shown).to_owned(),
                None => shown.clone(),
            };
            let (sub_path, target) = (sub_path.clone(), target.clone());
            setup.binds.push(Bind { source, sub_path, target, read_only: *read_only });
        } else if let (false, Some((pod, container))) = (target.is_absolute(), &names) {
            pods.link(pod, container, target, shown).map_err(|e| not_ready(&e))?;
            if !read_only {
                setup.writable.push(shown.clone());
            }
        }
    }
    if let Some((GivenMount { mount: Mount { source, target, .. }, .. }, (pod, container))) =
        hosts(pods, spec).zip(names.as_ref())
    {
        let text = HostAlias::file(&std::fs::read_to_string(HostAlias::FILE).unwrap_or_default(), &spec.host_aliases);
        pods.write_hosts(pod, container, &text).map_err(|e| not_ready(&e))?;
        if spec.place == Place::Host {
            setup.binds.push(Bind { source, sub_path: None, target, read_only: false });
        }
    }
    Ok(setup)
}

/// Sees to it that a path of the host is what it is to be. The words are the kubelet's.
fn check_host_path(path: &Path, expects: HostPathType) -> Result<(), String> {
    let made = |what: std::io::Result<()>| match what {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(format!("cannot make {}: {e}", path.display())),
        _ => Ok(()),
    };
    let found = || std::fs::metadata(path).ok().as_ref().map(Metadata::file_type);
    let is = |right: fn(&FileType) -> bool, what: &str| {
        let is_right = found().is_some_and(|kind| right(&kind));
        if is_right { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {what}", path.display())) }
    };
    match expects {
        // The kubelet does not look, and container runtimes make what is not there.
        HostPathType::Unchecked if found().is_none() => made(make_directory(path, HOST_DIRECTORY)),
        HostPathType::Unchecked => Ok(()),
        HostPathType::DirectoryOrCreate if found().is_none() => {
            made(make_directory(path, HOST_DIRECTORY))?;
            is(FileType::is_dir, "a directory")
        }
        HostPathType::Directory | HostPathType::DirectoryOrCreate => is(FileType::is_dir, "a directory"),
        HostPathType::FileOrCreate if found().is_none() => {
            let new = OpenOptions::new().write(true).create_new(true).mode(HOST_FILE).open(path);
            made(new.map(drop))?;
            is(FileType::is_file, "a file")
        }
        HostPathType::File | HostPathType::FileOrCreate => is(FileType::is_file, "a file"),
        HostPathType::Socket => is(FileType::is_socket, "a socket file"),
        HostPathType::CharDevice => is(FileType::is_char_device, "a character device"),
        HostPathType::BlockDevice => is(FileType::is_block_device, "a block device"),
    }
}

fn make_directory(path: &Path, mode: u32) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// It may be mended from outside, and asked for again.
fn not_now(message: String) -> ApiError {
    ApiError { reason: ErrorReason::Conflict, message }
}

pub(super) fn not_ready(e: &RecordError) -> ApiError {
    if matches!(e, RecordError::InTheWay { .. }) {
        return not_now(chain(e));
    }
    failure("the task's directory cannot be made ready, so it is not started", e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_path_of_the_host_is_what_it_is_to_be_or_made_so() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let check = |name: &str, expects| check_host_path(&at(name), expects);
        let fails = |name: &str, expects, what: &str| {
            let words = format!("hostPath type check failed: {} is not {what}", at(name).display());
            assert_eq!(check(name, expects), Err(words));
        };
        fails("file", HostPathType::Directory, "a directory");
        fails("file", HostPathType::DirectoryOrCreate, "a directory");
        fails("none", HostPathType::Directory, "a directory");
        fails("none", HostPathType::File, "a file");
        fails("file", HostPathType::Socket, "a socket file");
        fails("file", HostPathType::CharDevice, "a character device");
        fails("file", HostPathType::BlockDevice, "a block device");
        fails("socket", HostPathType::FileOrCreate, "a file");
        assert_eq!(check("socket", HostPathType::Socket), Ok(()));
        assert_eq!(check_host_path(Path::new("/dev/null"), HostPathType::CharDevice), Ok(()));
        for (name, expects) in [
            ("made/deep", HostPathType::DirectoryOrCreate),
            ("made/deep/file", HostPathType::FileOrCreate),
            ("unchecked", HostPathType::Unchecked),
        ] {
            assert_eq!(check(name, expects), Ok(()));
            assert_eq!(check(name, expects), Ok(()));
        }
        assert!(at("made/deep/file").is_file() && at("unchecked").is_dir());
        let e = check("file/none", HostPathType::FileOrCreate).unwrap_err();
        assert!(e.starts_with("cannot make "), "{e}");
    }
}
