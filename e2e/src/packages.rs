//! Debian packages that tests and benchmarks need, installed where that is possible: as root, by apt-get. No service of
//! theirs is started.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::exec;

/// What a machine that mirrors its packages slowly needs.
const LIMIT: Duration = Duration::from_secs(600);

/// Debian's own way to say which services may be started: a program whose answer 101 is that this one may not.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\n# Made by vk-cmd-e2e while it installs packages.\nexit 101\n";

/// Sees to it that all of these programs are there, each named with the package that has it.
///
/// # Errors
/// What is missing, where it cannot be installed.
pub(crate) async fn installed(why: &str, programs: &[(&str, &'static str)]) -> Result<()> {
    let missing = || {
        let missing = programs.iter().filter(|(program, _)| find(program).is_none());
        missing.map(|(_, package)| *package).collect()
    };
    install_while(why, missing).await
}

/// Installs the packages that `missing` names; asks again before, when others have been waited for, and in the end.
///
/// # Errors
/// What is missing, where it cannot be installed.
pub(crate) async fn install_while(why: &str, missing: impl Fn() -> Vec<&'static str>) -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
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
    announce(&format!("installing for {why}, by apt-get: {list}"));
    let _quiet = NoServices::begin()?;
    for arguments in [&["update", "--quiet"][..], &["install", "--quiet", "--yes", "--no-install-recommends"]] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        if arguments.contains(&"install") {
            apt.args(&packages);
        }
        exec::text(apt, LIMIT).await.with_context(|| format!("cannot install {list}"))?;
    }
    let packages = missing();
    if !packages.is_empty() {
        bail!("they are still missing after `apt-get install`: {}", packages.join(" "));
    }
    Ok(())
}

/// While this lives, a package that is installed starts no service. Where the machine has a policy of its own, that stands.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let made = File::options().write(true).create_new(true).mode(0o755).open(POLICY);
        match made {
            Ok(mut file) => {
                let this = Self { is_ours: true };
                file.write_all(POLICY_TEXT.as_bytes()).with_context(|| format!("cannot write {POLICY}"))?;
                Ok(this)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { is_ours: false }),
            Err(error) => Err(error).with_context(|| format!("cannot make {POLICY}")),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            announce(&format!("cannot remove {POLICY}, which keeps services from starting: {error}"));
        }
    }
}

/// Where a program is, by PATH and the directories of an administrator.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|directory| directory.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Says something also where a test's own output is kept back.
pub(crate) fn announce(text: &str) {
    // Nobody is left to hear of an error.
    let _ = writeln!(std::io::stderr().lock(), "vk-cmd-e2e: {text}");
}
