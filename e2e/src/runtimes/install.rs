//! The packages that the tests of sites need, installed where that is possible.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::exec;

/// What a machine that mirrors its packages slowly needs.
const LIMIT: Duration = Duration::from_secs(600);

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] = [("podman", "podman"), ("runc", "runc"), ("ch-run", "charliecloud")];
/// The package with a busybox that runs in an image without libraries.
const BUSYBOX: &str = "busybox-static";

/// Sees to it that all is there, and says where the static busybox is.
pub(super) async fn all() -> Result<PathBuf> {
    let packages = missing();
    if !packages.is_empty() {
        install(&packages).await?;
    }
    let packages = missing();
    if !packages.is_empty() {
        bail!("they are still missing after `apt-get install`: {}", packages.join(" "));
    }
    static_busybox().context("busybox is gone")
}

fn missing() -> Vec<&'static str> {
    let mut packages: Vec<_> =
        PROGRAMS.into_iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| package).collect();
    if static_busybox().is_none() {
        packages.push(BUSYBOX);
    }
    packages
}

/// A busybox that names no loader is static.
fn static_busybox() -> Option<PathBuf> {
    let path = find("busybox")?;
    let head: Vec<u8> = std::fs::read(&path).ok()?.into_iter().take(4096).collect();
    (!head.windows(6).any(|window| window == b"/ld-li" || window == b"/ld-mu")).then_some(path)
}

async fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !rustix::process::geteuid().is_root() || find("apt-get").is_none() {
        bail!("these Debian packages are missing: {list}. Install them: sudo apt-get install {list}");
    }
    // Several programs of tests may come here at the same time; apt-get itself would fail rather than wait.
    let path = std::env::temp_dir().join("vk-cmd-apt.lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await?;
    let _lock = locked.with_context(|| format!("cannot lock {}", path.display()))?;
    if missing().is_empty() {
        return Ok(());
    }
    announce(&format!("installing for the tests of sites, by apt-get: {list}"));
    for arguments in [&["update", "--quiet"][..], &["install", "--quiet", "--yes", "--no-install-recommends"]] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        if arguments.contains(&"install") {
            apt.args(packages);
        }
        exec::text(apt, LIMIT).await.with_context(|| format!("cannot install {list}"))?;
    }
    Ok(())
}

/// Where a program is, by PATH and the directories of an administrator.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|directory| directory.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Says something also where a test's own output is kept back.
pub(super) fn announce(text: &str) {
    // Nobody is left to hear of an error.
    let _ = writeln!(std::io::stderr().lock(), "vk-cmd-e2e: {text}");
}
