//! The packages that the tests of sites need.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::packages::{find, install_while};

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 3] = [("podman", "podman"), ("runc", "runc"), ("ch-run", "charliecloud")];
/// The package with a busybox that runs in an image without libraries.
const BUSYBOX: &str = "busybox-static";

/// The static busybox alone.
pub(super) async fn busybox() -> Result<PathBuf> {
    let missing = || if static_busybox().is_none() { vec![BUSYBOX] } else { Vec::new() };
    install_while("tests of bare machines", missing).await?;
    static_busybox().context("busybox is gone")
}

/// Sees to it that all is there, and says where the static busybox is.
pub(super) async fn all() -> Result<PathBuf> {
    install_while("the tests of sites", missing).await?;
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
