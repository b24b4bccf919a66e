//! Facts of the machine.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};
use rustix::process::{Resource, getrlimit};
use vk_node_core::config::NodeConfig;
use vk_node_core::doctor::{CgroupFacts, DirectoryFacts, Systemd};
use vk_pipe::server::look;
use vk_record::{Parent, weaknesses as weaknesses_of};
use vk_task::{CgroupChoice, HostInfo, MountNamespaces};

use super::patience::Patience;
use crate::admin::service::lingers;

/// A directory, or where it would be made: what is asked of file systems is asked there.
pub(super) async fn directory(path: &Path, patience: Patience) -> DirectoryFacts {
    let looked = path.to_owned();
    let seen = patience.thread(move || look_at(&looked)).await;
    seen.unwrap_or_else(|| DirectoryFacts {
        path: path.to_owned(),
        answers: false,
        is_there: false,
        uid: 0,
        mode: 0,
        is_writable: false,
        shared: None,
        free_bytes: 0,
        free_inodes: None,
    })
}

fn look_at(path: &Path) -> DirectoryFacts {
    let is_there = path.is_dir();
    let nearest = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let metadata = nearest.metadata().ok();
    let files = statvfs(nearest).ok();
    DirectoryFacts {
        path: path.to_owned(),
        answers: true,
        is_there,
        uid: metadata.as_ref().map_or(0, MetadataExt::uid),
        mode: metadata.as_ref().map_or(0, |metadata| metadata.mode() & 0o7777),
        is_writable: access(nearest, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        shared: look::shared_file_system(nearest).map(str::to_owned),
        free_bytes: files.as_ref().map_or(u64::MAX, |files| files.f_bavail.saturating_mul(files.f_frsize)),
        // Some file systems make them as they go, and say that they have none.
        free_inodes: files.as_ref().filter(|files| files.f_files > 0).map(|files| files.f_favail),
    }
}

/// Who else may replace a directory.
pub(super) async fn weaknesses(path: &Path, patience: Patience) -> Vec<String> {
    let looked = path.to_owned();
    // That it does not answer is told where the directory itself is looked at.
    patience.thread(move || weaknesses_at(&looked)).await.unwrap_or_default()
}

fn weaknesses_at(path: &Path) -> Vec<String> {
    let nearest = path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let mut parents = Parent::all(nearest).unwrap_or_default();
    if nearest != path
        && let Ok(metadata) = nearest.metadata()
    {
        // It will be a parent.
        parents.insert(0, Parent { path: nearest.to_owned(), uid: metadata.uid(), mode: metadata.mode() & 0o7777 });
    }
    let all = weaknesses_of(&parents, rustix::process::geteuid().as_raw());
    all.iter().map(ToString::to_string).collect()
}

/// The kernel's version.
pub(super) fn kernel() -> (u32, u32) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// How many files may be open, at first and at most.
pub(super) fn open_files() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

/// How many processes the user has, and may have.
pub(super) fn processes() -> (u64, Option<u64>) {
    let uid = rustix::process::geteuid();
    let most = getrlimit(Resource::Nproc).current;
    // The kernel does not hold root to it: see RLIMIT_NPROC in getrlimit(2).
    if uid.is_root() || most.is_none() {
        return (0, None);
    }
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_ours = |entry: &std::fs::DirEntry| {
        let is_process = entry.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit());
        is_process && entry.metadata().is_ok_and(|metadata| metadata.uid() == uid.as_raw())
    };
    (u64::try_from(entries.filter(is_ours).count()).unwrap_or(u64::MAX), most)
}

/// Memory that is available, by /proc/meminfo.
pub(super) fn memory_available() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    // Where nobody says, nobody is alarmed.
    kibibytes.map_or(u64::MAX, |n| n.saturating_mul(1024))
}

/// Whether tasks could have mounts of their own, as found out by trying.
pub(super) async fn mount_namespaces(hostpipe: &Path, patience: Patience) -> MountNamespaces {
    let spare = hostpipe.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    // The name of the running file may be gone (an update replaces it); this link still leads to it.
    let program = PathBuf::from(format!("/proc/{}/exe", std::process::id()));
    patience.within(look::mount_namespaces(&program, spare)).await.unwrap_or_default()
}

/// What holds tasks to their limits: what the pipe says, or what one that is started from here would have.
pub(super) fn cgroup(config: Option<&NodeConfig>, pipe: Option<&HostInfo>) -> CgroupFacts {
    let choice = config.map(|config| &config.pipe.cgroup);
    if choice == Some(&CgroupChoice::Off) {
        return CgroupFacts::Off;
    }
    if let Some(pipe) = pipe {
        return match &pipe.enforcement.cgroup {
            Some(cgroup) => CgroupFacts::Delegated(cgroup.clone()),
            None => CgroupFacts::None("the pipe has none".to_owned()),
        };
    }
    match choice {
        Some(CgroupChoice::Directory(path)) if access(path, Access::WRITE_OK).is_ok() => {
            CgroupFacts::Delegated(path.clone())
        }
        Some(CgroupChoice::Directory(path)) => CgroupFacts::None(format!("{} cannot be written to", path.display())),
        _ => look::cgroup().map_or_else(
            || CgroupFacts::None("none is delegated to what is started from here".to_owned()),
            CgroupFacts::Delegated,
        ),
    }
}

/// The user's systemd.
pub(super) fn systemd() -> Systemd {
    lingers().map_or(Systemd::None, |lingers| Systemd::There { lingers })
}

/// The variables that name a proxy for HTTPS.
pub(super) fn proxy() -> Option<String> {
    ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
        // It may have a password in it.
        let shown = value.rsplit_once('@').map_or(value.clone(), |(_, host)| format!("…@{host}"));
        Some(format!("{name}={shown}"))
    })
}

/// Where a program is, as `execvp` looks for it.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let can_run = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(can_run);
    }
    std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(name)).find(can_run)
}
