//! Where the records go, and whether another host has the directory. Pure.
//!
//! ```text
//!   a directory was named ─────────────▶ there
//!   the pipe's directory is local ─────▶ in it
//!   otherwise ─────────────────────────▶ the first of /var/tmp, /tmp, $TMPDIR that is local and can be used
//!   none of them ──────────────────────▶ the pipe does not start
//! ```

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FileSystem;

/// How often the pipe says that it is there.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
/// After so long without that, a pipe on another host counts as gone.
const SILENCE: Duration = Duration::from_secs(90);

/// A place where records might be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) base: PathBuf,
    /// `None` where the kernel does not say: it is not there.
    pub(super) kind: Option<FileSystem>,
}

/// Where the records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Into the pipe's directory.
    Own,
    /// Into this very directory.
    Named(PathBuf),
    /// Beneath the first of these where that can be done.
    Beneath(Vec<PathBuf>),
}

/// Decides from the directory that was named, the kind of the pipe's own, and what else there is.
pub(super) fn place(named: Option<PathBuf>, own: FileSystem, candidates: &[Candidate]) -> Place {
    match (named, own) {
        (Some(directory), _) => Place::Named(directory),
        (None, FileSystem::Local) => Place::Own,
        (None, FileSystem::Shared(_)) => {
            let local = candidates.iter().filter(|c| c.kind == Some(FileSystem::Local)).map(|c| c.base.clone());
            let mut bases: Vec<PathBuf> = Vec::new();
            local.for_each(|base| {
                if !bases.contains(&base) {
                    bases.push(base);
                }
            });
            Place::Beneath(bases)
        }
    }
}

/// `pipe.host`: which host has the pipe's directory, where several could.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Claim {
    /// The host's name.
    pub(super) host: String,
    /// Its boot: hosts may have the same name.
    pub(super) boot_id: String,
    /// The pipe's process there.
    pub(super) pid: u32,
}

/// Why the directory cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pipe of host {}, process {}, has it, and has said so {} s ago: use that one, end it, or give this one a directory \
     of its own (--hostpipe)", .claim.host, .claim.pid, .age.as_secs()
)]
pub(super) struct Taken {
    claim: Claim,
    age: Duration,
}

/// Whether `own` may take the directory, where `there` was written `age` ago by the clock of the file system's server. A
/// claim of this host is no obstacle: its pipe would hold the lock.
pub(super) fn may_claim(own: &Claim, there: Option<(Claim, Duration)>) -> Result<(), Taken> {
    match there {
        Some((claim, age)) if (&claim.host, &claim.boot_id) != (&own.host, &own.boot_id) && age < SILENCE => {
            Err(Taken { claim, age })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NFS: FileSystem = FileSystem::Shared("nfs");

    fn candidate(base: &str, kind: Option<FileSystem>) -> Candidate {
        Candidate { base: base.into(), kind }
    }

    #[test]
    fn records_stay_unless_others_share_the_directory() {
        let tmp = [candidate("/var/tmp", Some(FileSystem::Local))];
        assert_eq!(place(None, FileSystem::Local, &tmp), Place::Own);
        assert_eq!(place(None, NFS, &tmp), Place::Beneath(vec!["/var/tmp".into()]));
        assert_eq!(place(Some("/scratch/u".into()), FileSystem::Local, &tmp), Place::Named("/scratch/u".into()));
    }

    #[test]
    fn only_local_places_are_tried_in_their_order() {
        let tmp = [
            candidate("/var/tmp", Some(NFS)),
            candidate("/tmp", Some(FileSystem::Local)),
            candidate("/gone", None),
            candidate("/local", Some(FileSystem::Local)),
            candidate("/tmp", Some(FileSystem::Local)),
        ];
        assert_eq!(place(None, NFS, &tmp), Place::Beneath(vec!["/tmp".into(), "/local".into()]));
    }

    #[test]
    fn a_directory_that_another_host_has_is_not_taken() {
        let claim = |host: &str, boot: &str| Claim { host: host.into(), boot_id: boot.into(), pid: 7 };
        let own = claim("a", "1");
        assert_eq!(may_claim(&own, None), Ok(()));
        assert_eq!(may_claim(&own, Some((claim("a", "1"), Duration::ZERO))), Ok(()));
        assert_eq!(may_claim(&own, Some((claim("b", "2"), SILENCE))), Ok(()));
        for other in [claim("b", "2"), claim("a", "2")] {
            let why = may_claim(&own, Some((other.clone(), Duration::from_secs(20)))).unwrap_err().to_string();
            assert!(why.contains(&format!("host {}, process 7", other.host)) && why.contains("20 s ago"), "{why}");
        }
    }
}
