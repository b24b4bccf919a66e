//! Facts about the host and its user.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use super::allowance;
use vk_task::{Enforcement, HostInfo, MountNamespaces, RecordsPlace, SiteInfo};

/// The variables of the pipe's own environment that each task gets.
const PASSED_ON: [&str; 7] = ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TMPDIR"];

/// The environment that tasks begin with: the pipe's own, of a few names, and what `/etc/passwd` says where it has none
/// of them. (At a site whose users are in a directory service, the environment is all there is.)
pub(super) fn base_environment() -> Vec<(OsString, OsString)> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = passwd_entry(&passwd, rustix::process::getuid().as_raw());
    PASSED_ON
        .iter()
        .filter_map(|name| {
            let value = std::env::var_os(name).filter(|v| !v.is_empty()).or_else(|| {
                let user = user.as_ref()?;
                match *name {
                    "HOME" => Some(user.home.clone().into()),
                    "USER" | "LOGNAME" => Some(user.name.clone().into()),
                    "SHELL" => Some(user.shell.clone().into()),
                    _ => None,
                }
            })?;
            Some((OsString::from(name), value))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
struct User {
    name: String,
    home: String,
    shell: String,
}

/// The line of `/etc/passwd` for `uid`: see passwd(5).
fn passwd_entry(passwd: &str, uid: u32) -> Option<User> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _password, id, _group, _comment, home, shell] = fields.as_slice() else { return None };
        (id.parse() == Ok(uid)).then(|| User {
            name: (*name).to_owned(),
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
        })
    })
}

/// The facts.
pub(super) fn info(directory: PathBuf) -> HostInfo {
    let base = base_environment();
    let variable = |name: &str| base.iter().find(|(n, _)| n == name).map(|(_, v)| v.to_string_lossy().into_owned());
    let uname = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let cpus = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count());
    let allowed = allowance::now();
    let all_memory = memory.totalram.saturating_mul(u64::from(memory.mem_unit));
    HostInfo {
        mount_namespaces: MountNamespaces::Unknown,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hostname: uname.nodename().to_string_lossy().into_owned(),
        user: variable("USER").unwrap_or_default(),
        uid: rustix::process::getuid().as_raw(),
        gid: Some(rustix::process::getgid().as_raw()),
        groups: rustix::process::getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect(),
        home: variable("HOME").unwrap_or_else(|| "/".to_owned()).into(),
        directory: directory.clone(),
        boot_id: vk_record::process::boot_id().unwrap_or_default(),
        machine_id: fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        os_image: os_image(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
        cpus: allowed.cpus.map_or(cpus, |allowed| allowed.min(cpus)),
        memory_bytes: allowed.memory_bytes.map_or(all_memory, |allowed| allowed.min(all_memory)),
        records: RecordsPlace { directory: directory.clone(), moved_off: None },
        enforcement: Enforcement::default(),
        site: SiteInfo::default(),
    }
}

/// The distribution's name out of the text of os-release(5).
fn os_image(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "broken\nroot:x:0:0:root:/root:/bin/bash\nu:x:1000:1000:U,,,:/home/u:/bin/zsh\n";
        let user = passwd_entry(passwd, 1000).unwrap();
        assert_eq!((user.home.as_str(), user.shell.as_str()), ("/home/u", "/bin/zsh"));
        assert_eq!(passwd_entry(passwd, 7), None);
    }

    #[test]
    fn the_distribution_has_a_name() {
        assert_eq!(os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13\"\n"), "Debian GNU/Linux 13");
        assert_eq!(os_image(""), "Linux");
    }
}
