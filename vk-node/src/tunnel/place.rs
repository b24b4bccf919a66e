//! Where ssh's sockets are: in a directory that only we can enter, on a disk of this host, with a short name.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use vk_node_core::facts::Endpoint;
use vk_node_core::tunnel::argv;

/// The socket by which ssh takes orders.
const CONTROL: &str = "ssh";
/// The longest name of a socket there.
const LONGEST_NAME: usize = 24;

/// The directory. It has the same name each time, so that what a node leaves that was killed is found by the next.
#[derive(Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    /// Makes it, or takes it over. `hostpipe` is what tells two nodes of one user and host apart.
    ///
    /// # Errors
    /// When there is no place for it, or somebody else is there already.
    pub(super) fn take(hostpipe: &Path) -> anyhow::Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        let name = format!("vk-tunnel-{user}-{:08x}", hash(hostpipe) & 0xffff_ffff);
        // Not in $XDG_RUNTIME_DIR: that goes when the user logs out, and the node need not.
        let places = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
        let fits = |place: &PathBuf| argv::can_hold_sockets(&place.join(&name), LONGEST_NAME) && place.is_dir();
        let Some(place) = places.into_iter().find(fits) else {
            bail!("there is no directory for ssh's sockets: set TMPDIR to one of this host with a short name")
        };
        let path = place.join(name);
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot make the directory {} for ssh's sockets", path.display()));
            }
        }
        let found = std::fs::symlink_metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
        if !found.is_dir() || found.uid() != user || found.mode() & 0o077 != 0 {
            bail!(
                "{} is not a directory that only we can enter: somebody else has made it; remove it, or set TMPDIR to another place",
                path.display()
            );
        }
        Ok(Self(path))
    }

    /// The socket by which ssh takes orders.
    pub(super) fn control(&self) -> PathBuf {
        self.0.join(CONTROL)
    }

    /// The socket by which it is tried out whether nodes are reached.
    pub(super) fn proof(&self) -> PathBuf {
        self.0.join("proof")
    }

    /// The socket that leads to an API server.
    pub(super) fn way_to(&self, server: &Endpoint) -> PathBuf {
        self.0.join(format!("api-{:016x}", hash(&(&server.host, server.port))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is found by the next.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn hash(what: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_others_can_enter_is_not_taken() {
        let hostpipe = tempfile::tempdir().unwrap();
        let place = Place::take(hostpipe.path()).unwrap();
        let path = place.0.clone();
        std::fs::write(place.control(), "left behind").unwrap();
        assert_eq!(Place::take(hostpipe.path()).unwrap().0, path, "the same again");
        assert!(!path.exists(), "it is gone with the last who has it");
        drop(place);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Place::take(hostpipe.path()).unwrap_err().to_string().contains("only we can enter"));
        std::fs::remove_dir(&path).unwrap();
    }
}
