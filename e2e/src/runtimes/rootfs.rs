//! Directories that are images.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};

use super::IMAGE_MARK;

const APPLETS: [&str; 14] =
    ["sh", "ls", "cat", "env", "sleep", "id", "pwd", "echo", "touch", "ps", "test", "printf", "grep", "head"];

/// What every runtime wants to find in an image, to mount something there.
pub(super) fn skeleton(root: &Path) -> Result<()> {
    for directory in ["bin", "data", "dev", "etc", "home", "mnt", "proc", "root", "sys", "tmp", "usr/bin", "var/tmp"] {
        std::fs::create_dir_all(root.join(directory)).with_context(|| format!("cannot make {}", root.display()))?;
    }
    for file in ["passwd", "group", "hosts", "resolv.conf"] {
        std::fs::write(root.join("etc").join(file), "")?;
    }
    Ok(())
}

/// A shell with all the small programs that a machine has, and places for what is put there.
pub(crate) fn bare(root: &Path, busybox: &Path) -> Result<()> {
    skeleton(root)?;
    for directory in ["run", "usr/local/bin"] {
        std::fs::create_dir_all(root.join(directory)).with_context(|| format!("cannot make {}", root.display()))?;
    }
    crate::binaries::copy(busybox, &root.join("bin/busybox"))?;
    let mut list = std::process::Command::new(busybox);
    let listed = list.arg("--list").output().context("cannot run busybox")?;
    for applet in String::from_utf8_lossy(&listed.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).with_context(|| format!("cannot make {applet}"))?;
    }
    Ok(())
}

/// A shell with the usual small programs, and an entry point of its own.
pub(super) fn tools(root: &Path, busybox: &Path) -> Result<()> {
    skeleton(root)?;
    std::fs::copy(busybox, root.join("bin/busybox")).context("cannot copy busybox")?;
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    std::fs::write(root.join("etc/vk-image"), format!("{IMAGE_MARK}\n"))?;
    write_program(&root.join("bin/entry"), "#!/bin/sh\necho \"entry point of $(cat /etc/vk-image)\"\n\"$@\"\n")
}

pub(super) fn write_program(path: &Path, text: &str) -> Result<()> {
    let write = || {
        std::fs::write(path, text)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
