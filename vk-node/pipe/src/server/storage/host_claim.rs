//! Saying on a shared file system which host has the pipe's directory: locks may not be seen from host to host.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustix::fs::Mode;
use tracing::warn;
use vk_record::{Dir, chain};

use super::plan::{Claim, HEARTBEAT, may_claim};

/// The file.
const NAME: &str = "pipe.host";
/// One whose time is read from the clock of the file system's server, which may not be ours.
const CLOCK: &str = ".pipe.clock";
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A claim that is kept up.
#[derive(Debug)]
pub(in crate::server) struct HostClaim {
    root: std::sync::Arc<Dir>,
    own: Claim,
}

impl HostClaim {
    /// Takes the directory for this host.
    pub(super) fn take(root: std::sync::Arc<Dir>, hostname: String) -> anyhow::Result<Self> {
        let boot_id = vk_record::process::boot_id().context("the kernel does not say which boot this is")?;
        let own = Claim { host: hostname, boot_id, pid: std::process::id() };
        let claim = Self { root, own };
        claim.renew()?;
        Ok(claim)
    }

    /// Keeps it up; ends with the reason when another host has taken it, which it may when this one was silent for long.
    pub(in crate::server) async fn keep(self) -> anyhow::Error {
        let claim = std::sync::Arc::new(self);
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            let renewing = std::sync::Arc::clone(&claim);
            // Off the one thread: a file server may be slow.
            match tokio::task::spawn_blocking(move || renewing.renew()).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) if e.downcast_ref::<super::plan::Taken>().is_some() => return e,
                Ok(Err(e)) => warn!("cannot say that this host has the pipe's directory: {e:#}"),
                Err(e) => warn!("cannot say that this host has the pipe's directory: {e}"),
            }
        }
    }

    fn renew(&self) -> anyhow::Result<()> {
        may_claim(&self.own, self.there()?)?;
        let text = serde_json::to_vec(&self.own)?;
        Ok(self.root.write(NAME, &text, PRIVATE)?)
    }

    /// What is claimed now, and how long ago that was written.
    fn there(&self) -> anyhow::Result<Option<(Claim, Duration)>> {
        let Some(bytes) = self.root.read(NAME)? else { return Ok(None) };
        let Ok(claim) = serde_json::from_slice(&bytes) else { return Ok(None) };
        self.root.write(CLOCK, b"", PRIVATE)?;
        let age = match (time_of(&self.root, CLOCK)?, time_of(&self.root, NAME)?) {
            (Some(now), Some(then)) => now.duration_since(then).unwrap_or_default(),
            _ => return Ok(None),
        };
        Ok(Some((claim, age)))
    }
}

impl Drop for HostClaim {
    fn drop(&mut self) {
        // One that another host has taken over is not ours to remove.
        let ours = self.there().is_ok_and(|there| there.is_some_and(|(claim, _)| claim == self.own));
        if ours && let Err(e) = self.root.remove_file(NAME) {
            warn!("another host may have to wait before it can have the pipe's directory: {}", chain(&e));
        }
    }
}

fn time_of(root: &Dir, name: &str) -> anyhow::Result<Option<SystemTime>> {
    let time = |stat: rustix::fs::Stat| {
        let seconds = u64::try_from(stat.st_mtime).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::new(seconds, u32::try_from(stat.st_mtime_nsec).unwrap_or_default())
    };
    Ok(root.stat(name)?.map(time))
}
