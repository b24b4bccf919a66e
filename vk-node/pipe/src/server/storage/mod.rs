//! The pipe's directory, and where its records are: in it, or on local disk where it is on a shared file system. There
//! locks, names that are made once and the order of writes do not hold as the records need it.
//!
//! - `kind` tells file systems apart, `plan` decides; both are pure.
//! - `host_claim` says on a shared one which host has it.

mod host_claim;
mod kind;
mod plan;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustix::fs::{AtFlags, FileType, FlockOperation};
use sha2::{Digest, Sha256};
use tracing::{info, warn};
use vk_record::{Dir, Lock, LockHolder, Parent, RecordError, Weakness, chain, names, weaknesses};
use vk_task::RecordsPlace;

pub(super) use host_claim::HostClaim;
pub use kind::FileSystem;
use plan::{Candidate, Place};

/// The directories of a pipe, locked.
#[derive(Debug)]
pub(super) struct Storage {
    /// Of the FIFO and the sockets.
    pub(super) root: Arc<Dir>,
    /// Of the records.
    pub(super) records: Dir,
    /// The same, for others to know.
    pub(super) place: RecordsPlace,
    /// On a shared file system: that this host has it.
    pub(super) claim: Option<HostClaim>,
    _locks: Vec<Lock>,
    /// Keeps what cleans `/var/tmp` from records of tasks that run for long: tmpfiles.d(5).
    _kept: Option<Dir>,
}

impl Storage {
    /// Opens and locks the directories: the pipe's at `directory`, and that of the records, at `records` if that is
    /// given. `pretended` is what the pipe's directory is taken to be on, for tests.
    pub(super) fn open(
        directory: &Path,
        records: Option<PathBuf>,
        pretended: Option<FileSystem>,
        hostname: String,
    ) -> anyhow::Result<Self> {
        let root = Arc::new(Dir::open_or_create(directory).context("the pipe's directory cannot be used")?);
        look_at_parents(directory)?;
        let kind = pretended.map_or_else(|| kind_of(directory), Ok).context("the pipe's directory cannot be used")?;
        let shared = kind.shared();
        let mut locks = Vec::new();
        match lock(&root) {
            Ok(lock) => locks.push(lock),
            // Some are mounted without locks; the claim and the lock on local disk have to do.
            Err(e) if shared.is_some() && e.downcast_ref::<RecordError>().is_some() => {
                warn!("the pipe's directory cannot be locked: {e:#}");
            }
            Err(e) => return Err(e),
        }
        let claim = match shared {
            Some(_) => Some(HostClaim::take(Arc::clone(&root), hostname).with_context(|| {
                format!("{} cannot be used: a pipe's directory is for one host", directory.display())
            })?),
            None => None,
        };
        let (records, kept) = match plan::place(records, kind, &candidates()) {
            Place::Own => (root.try_clone()?, None),
            Place::Named(path) => {
                let records = Dir::open_or_create(&path).context("the directory for the records cannot be used")?;
                if let Ok(FileSystem::Shared(kind)) = kind_of(&path) {
                    warn!("{} is on a shared file system ({kind}): records are not safe there", path.display());
                }
                (records, None)
            }
            Place::Beneath(bases) => {
                let (records, kept) = beneath(&bases, directory)?;
                (records, Some(kept))
            }
        };
        if !is_same(&root, &records)? {
            locks.push(lock(&records)?);
            point_to(&root, &records)?;
            info!(records = %records.path().display(), shared, "the records are not in the pipe's directory");
        } else {
            check_in_place(&root)?;
        }
        let place = RecordsPlace { directory: records.path().to_owned(), moved_off: shared.map(str::to_owned) };
        Ok(Self { root, records, place, claim, _locks: locks, _kept: kept })
    }
}

/// Says who may replace the pipe's directory, and refuses it where everybody may. A group is often a site's way to share
/// a project's space, and its owner is trusted with that.
fn look_at_parents(directory: &Path) -> anyhow::Result<()> {
    let parents = Parent::all(directory).context("the parents of the pipe's directory cannot be looked at")?;
    for weakness in weaknesses(&parents, rustix::process::geteuid().as_raw()) {
        match weakness {
            Weakness::Everybody(_) => bail!("{} cannot be the pipe's directory: {weakness}", directory.display()),
            Weakness::Group(_) | Weakness::Owner { .. } => warn!("the pipe's directory is not safe: {weakness}"),
        }
    }
    Ok(())
}

/// Where the records of a pipe in `directory` would be, or in what directory they would get one.
pub(super) fn would_be(named: Option<PathBuf>, directory: &Path) -> PathBuf {
    let own = kind_of(directory).unwrap_or(FileSystem::Local);
    match plan::place(named, own, &candidates()) {
        Place::Own => directory.to_owned(),
        Place::Named(path) => path,
        Place::Beneath(bases) => bases.into_iter().next().unwrap_or_else(|| directory.to_owned()),
    }
}

fn candidates() -> Vec<Candidate> {
    let bases = [Some("/var/tmp".into()), Some("/tmp".into()), std::env::var_os("TMPDIR")];
    let candidate = |base: std::ffi::OsString| Candidate { kind: kind_of(Path::new(&base)).ok(), base: base.into() };
    bases.into_iter().flatten().map(candidate).collect()
}

pub(super) fn kind_of(directory: &Path) -> std::io::Result<FileSystem> {
    let magic = rustix::fs::statfs(directory)?.f_type;
    // It has 32 bits, in a number whose size and sign depend on the machine.
    Ok(FileSystem::of(u32::try_from(i128::from(magic) & i128::from(u32::MAX)).unwrap_or_default()))
}

/// Makes the records' directory beneath the first of `bases` where that can be done: `vk-cmd-<uid>/<of the directory>`.
/// The first of these two is given too, kept from being cleaned away.
fn beneath(bases: &[PathBuf], directory: &Path) -> anyhow::Result<(Dir, Dir)> {
    let path = directory.canonicalize().context("the pipe's directory cannot be used")?;
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let user = format!("vk-cmd-{}", rustix::process::geteuid().as_raw());
    let mut failures = Vec::new();
    for base in bases {
        let made = Dir::open_or_create_among_others(base, &user).and_then(|of_user| {
            let (records, _) = of_user.create_dir(&name)?;
            Ok((records, of_user))
        });
        match made {
            Ok((records, of_user)) => {
                if let Err(e) = rustix::fs::flock(&of_user, FlockOperation::NonBlockingLockShared) {
                    warn!("{} cannot be kept from being cleaned up: {e}", of_user.path().display());
                }
                return Ok((records, of_user));
            }
            Err(e) => failures.push(chain(&e)),
        }
    }
    bail!(
        "the pipe's directory is on a shared file system, where records are not safe, and there is no local place for \
         them: name one with --records{}{}",
        if failures.is_empty() { "" } else { "; " },
        failures.join("; ")
    )
}

fn is_same(a: &Dir, b: &Dir) -> anyhow::Result<bool> {
    let (a, b) = (rustix::fs::fstat(a)?, rustix::fs::fstat(b)?);
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// Leaves a link in the pipe's directory, for people: `tasks` is where the records are.
fn point_to(root: &Dir, records: &Dir) -> anyhow::Result<()> {
    match root.stat(names::TASKS)?.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Some(FileType::Symlink) => root.remove_file(names::TASKS)?,
        None => {}
        // An empty one is of no use; one that is not may be of a pipe that had its records here.
        Some(_) if rustix::fs::unlinkat(root, names::TASKS, AtFlags::REMOVEDIR).is_ok() => {}
        Some(_) => {
            let tasks = root.path().join(names::TASKS);
            warn!("{} holds records of an earlier pipe, which are left alone", tasks.display());
            return Ok(());
        }
    }
    symlink(records.path().join(names::TASKS), root.short_path(names::TASKS))
        .with_context(|| format!("cannot make the link {}", root.path().join(names::TASKS).display()))
}

/// Records that are elsewhere are not forgotten silently.
fn check_in_place(root: &Dir) -> anyhow::Result<()> {
    let is_link = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if root.stat(names::TASKS)?.is_some_and(is_link) {
        let link = root.path().join(names::TASKS);
        let target = std::fs::read_link(&link).unwrap_or_default();
        bail!(
            "the records of this pipe were in {}: name that place with --records, or remove the link {} to begin anew",
            target.parent().unwrap_or(&target).display(),
            link.display()
        );
    }
    Ok(())
}

/// Makes sure that this is the only pipe of a directory.
fn lock(dir: &Dir) -> anyhow::Result<Lock> {
    let path = dir.path().display();
    match Lock::try_take(dir, names::PIPE_LOCK)? {
        Some(lock) => Ok(lock),
        None => match LockHolder::of(dir, names::PIPE_LOCK)? {
            LockHolder::Process(pid) => {
                let pid = pid.as_raw_nonzero();
                bail!(
                    "another pipe, process {pid}, has {path}: use that one, end it, or give this one a directory of its own"
                )
            }
            LockHolder::Nobody | LockHolder::Elsewhere => {
                bail!("another pipe, in a container or on another host, has {path}: a pipe's directory is for one host")
            }
        },
    }
}
