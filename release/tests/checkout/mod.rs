//! A copy of this checkout, with a commit of its own and with programs that say their names.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// When the commit was made: the time that everything in the release has.
const TIME: &str = "2025-01-02T03:04:05Z";

/// See above. It is removed with this value.
pub(crate) struct Checkout {
    scratch: TempDir,
    directory: PathBuf,
}

impl Checkout {
    /// A copy in a directory of this name, for a `$HOME` of its own.
    pub(crate) fn new(name: &str) -> Self {
        let scratch = tempfile::Builder::new().prefix("vk-release-").tempdir().unwrap();
        let directory = scratch.path().join(name);
        let checkout = Self { scratch, directory };
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &checkout.source());
        std::fs::create_dir_all(checkout.directory.join("home")).unwrap();
        std::fs::create_dir(checkout.programs()).unwrap();
        for program in ["vk-node", "vk-operator", "kubectl-cmdjob"] {
            let path = checkout.programs().join(program);
            std::fs::write(&path, format!("#!/bin/sh\necho this is {program}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        for arguments in [&["init", "--quiet"][..], &["add", "--all"], &["commit", "--quiet", "--message=All"]] {
            let output = checkout.command("git").arg("-C").arg(checkout.source()).args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        checkout
    }

    /// A program with this checkout's own `$HOME`, of a person that git knows, and with the usual toolchain and crates, which are
    /// not downloaded again.
    pub(crate) fn command(&self, program: &str) -> Command {
        let home = std::env::home_dir().unwrap();
        let usual =
            |variable: &str, name: &str| std::env::var_os(variable).map_or_else(|| home.join(name), PathBuf::from);
        let mut command = Command::new(program);
        command.env("CARGO_HOME", usual("CARGO_HOME", ".cargo")).env("RUSTUP_HOME", usual("RUSTUP_HOME", ".rustup"));
        command.env("HOME", self.directory.join("home")).env("CARGO_TARGET_DIR", self.directory.join("target"));
        command.env("CARGO_NET_OFFLINE", "true").env_remove("SOURCE_DATE_EPOCH");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Somebody")
                .env(format!("GIT_{role}_EMAIL"), "somebody@example.org");
            command.env(format!("GIT_{role}_DATE"), TIME);
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        command
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.directory.join("vk-cmd")
    }

    pub(crate) fn programs(&self) -> PathBuf {
        self.directory.join("programs")
    }

    /// Where its release is to be.
    pub(crate) fn out(&self) -> PathBuf {
        self.scratch.path().join("out")
    }

    /// Gives every file that goes into a release another time and another mode, which git does not see as a change.
    pub(crate) fn make_it_look_different(&self) {
        let directories = ["charts", "images", "cli/krew"].map(|name| self.source().join(name));
        for directory in [self.programs()].iter().chain(&directories) {
            let mut touch = Command::new("find");
            touch.arg(directory).args(["-type", "f", "-exec", "touch", "--date=2001-02-03", "{}", "+"]);
            assert!(touch.status().unwrap().success());
            let mut chmod = Command::new("chmod");
            assert!(chmod.args(["--recursive", "g-rwx,o-rwx"]).arg(directory).status().unwrap().success());
        }
    }
}

/// Copies what a checkout may hold of its own: not what cargo has built, and not git's own files, which may be elsewhere.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (name, kind) = (entry.file_name(), entry.file_type().unwrap());
        if name == "target" || name == ".git" {
            continue;
        }
        if kind.is_dir() {
            copy(&entry.path(), &to.join(name));
        } else if kind.is_file() {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}
