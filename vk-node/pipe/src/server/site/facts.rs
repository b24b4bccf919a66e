//! What a verdict needs to know of the host.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use vk_record::names;
use vk_site::{Facts, Found, GivenMount, SEARCH_ORDER, Site};
use vk_task::{Place, TaskSpec};

use crate::server::host;

/// The facts about a task that is given these volumes, and whose records will be in `records`.
pub(super) fn gather(site: &Site, spec: &TaskSpec, volumes: &[GivenMount], records: PathBuf) -> Facts {
    let mut real_paths = BTreeMap::new();
    if site.policy.host_paths.is_some() {
        let of_image = if let Place::Image(image) = &spec.place { image.mounts.as_slice() } else { &[] };
        let of_host = volumes.iter().filter(|given| given.of_host).map(|given| &given.mount);
        let mounts = of_image.iter().chain(of_host);
        real_paths.extend(mounts.map(|mount| (mount.source.clone(), real_path(&mount.source))));
    }
    if spec.place == Place::Host {
        return Facts { real_paths, ..Facts::default() };
    }
    let found = if site.runtime.is_auto() { find_runtime() } else { None };
    Facts { found, script: records.join(names::SCRIPT), real_paths, ..Facts::default() }
}

/// Where a path leads to. What is not there (yet) counts as it is written, beneath what is.
fn real_path(path: &Path) -> PathBuf {
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path.to_owned()
}

/// The first container runtime that is in the `PATH` of tasks.
pub(in crate::server) fn find_runtime() -> Option<Found> {
    let path = host::base_environment().into_iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
    find_in(&path?)
}

fn find_in(path: &OsString) -> Option<Found> {
    SEARCH_ORDER.into_iter().find_map(|kind| {
        let files = std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(kind.program()));
        let program = files.into_iter().find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok())?;
        Some(Found { kind, program: program.to_str()?.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use vk_site::Kind;

    #[test]
    fn the_first_runtime_is_found_whatever_the_order_of_path() {
        let dir = tempfile::tempdir().unwrap();
        let dir_of = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let path = std::env::join_paths([dir_of("a"), dir_of("b"), "relative".into()]).unwrap();
        assert_eq!(find_in(&path), None);
        program_in(&dir_of("a"), "podman", 0o755);
        program_in(&dir_of("b"), "apptainer", 0o755);
        program_in(&dir_of("a"), "shifter", 0o644);
        let found = find_in(&path).unwrap();
        assert_eq!(found.kind, Kind::Apptainer);
        assert!(found.program.ends_with("/b/apptainer"));
    }

    fn program_in(dir: &Path, name: &str, mode: u32) {
        fs::write(dir.join(name), "").unwrap();
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_link_is_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("real")).unwrap();
        symlink(root.join("real"), root.join("link")).unwrap();
        assert_eq!(real_path(&root.join("link")), root.join("real"));
        assert_eq!(real_path(&root.join("link/not/there")), root.join("real/not/there"));
        assert_eq!(real_path(Path::new("/not/there")), Path::new("/not/there"));
    }
}
