//! The site's file on disk.
//!
//! ```text
//!   looked at before each decision ──▶ the same as before ──▶ what is in force stays
//!                                  └─▶ another ──▶ checked, read ──▶ right: in force
//!                                                                └─▶ wrong, or gone: what was in force stays, and it is
//!                                                                    told in the log and to whoever asks
//! ```
//!
//! When the pipe starts there is nothing in force yet: a file that is wrong then ends it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use tracing::{error, info};
use vk_site::Site;

use crate::server::lock;

/// Where the file is looked for, first.
pub const SYSTEM_PLACE: &str = "/etc/vk-cmd/site.yaml";
/// And then, in the pipe's directory.
pub const OWN_NAME: &str = "site.yaml";
/// No file is longer.
const MAX_BYTES: u64 = 4 << 20;
/// The kernel's clock for files does not tick finer than that: a file that was changed so short a time ago may be changed
/// again without looking different.
const TICK: Duration = Duration::from_millis(100);

/// The file, and what of it is in force.
#[derive(Debug)]
pub(super) struct SiteFile {
    /// The places where it may be, the first one counts.
    places: Vec<PathBuf>,
    /// Whether it must be there.
    named: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What was read last, whatever it was.
    seen: Option<Seen>,
    /// The file whose rules are in force.
    path: Option<PathBuf>,
    site: Arc<Site>,
    /// What is wrong with the file as it is now.
    error: Option<String>,
}

/// By what a file is known to be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    identity: [i64; 8],
    /// Whether a change after it was read would show.
    settled: bool,
}

impl SiteFile {
    pub(super) fn open(named: Option<PathBuf>, root: &Path) -> anyhow::Result<Self> {
        let places = match &named {
            Some(path) => vec![std::path::absolute(path)?],
            None => vec![PathBuf::from(SYSTEM_PLACE), root.join(OWN_NAME)],
        };
        let state = State { seen: None, path: None, site: Arc::default(), error: None };
        let file = Self { places, named: named.is_some(), state: Mutex::new(state) };
        file.look(&mut lock(&file.state))?;
        Ok(file)
    }

    /// The rules in force, and what is wrong with the file as it is now.
    pub(super) fn current(&self) -> (Arc<Site>, Option<String>) {
        let mut state = lock(&self.state);
        let before = state.error.clone();
        state.error = self.look(&mut state).err().map(|e| format!("{e:#}"));
        if state.error != before {
            match &state.error {
                Some(e) => error!("the site's file is wrong, and what it said before is in force: {e}"),
                None => info!("the site's file is right again"),
            }
        }
        (Arc::clone(&state.site), state.error.clone())
    }

    /// The file whose rules are in force.
    pub(super) fn path(&self) -> Option<PathBuf> {
        lock(&self.state).path.clone()
    }

    /// Takes in what the file says, if that may have changed.
    fn look(&self, state: &mut State) -> anyhow::Result<()> {
        let Some((path, metadata)) = self.find()? else {
            return match &state.path {
                Some(path) => bail!("{} is gone: put it back, or start the pipe again without it", path.display()),
                None => Ok(()),
            };
        };
        let seen = Seen::of(&path, &metadata);
        if seen.settled && state.seen.as_ref() == Some(&seen) {
            return match &state.error {
                Some(e) => bail!("{e}"),
                None => Ok(()),
            };
        }
        state.seen = Some(seen);
        let site = read(&path).and_then(|text| Ok(Site::parse(&text)?));
        let site = site.with_context(|| path.display().to_string())?;
        if state.path.is_some() && *state.site != site {
            info!(file = %path.display(), "the site's file has changed, and is in force");
        }
        state.site = Arc::new(site);
        state.path = Some(path);
        Ok(())
    }

    /// The first place that has something.
    fn find(&self) -> anyhow::Result<Option<(PathBuf, Metadata)>> {
        for path in &self.places {
            match path.metadata() {
                Ok(metadata) => return Ok(Some((path.clone(), metadata))),
                // Of a link that leads nowhere, somebody wanted something.
                Err(e) if e.kind() == io::ErrorKind::NotFound && !self.named && !path.is_symlink() => {}
                Err(e) => return Err(e).with_context(|| path.display().to_string()),
            }
        }
        Ok(None)
    }
}

impl Seen {
    fn of(path: &Path, m: &Metadata) -> Self {
        let bits = |n: u64| n.cast_signed();
        let identity = [
            bits(m.dev()),
            bits(m.ino()),
            bits(m.size()),
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec(),
            i64::from(m.mode()) << 32 | i64::from(m.uid()),
        ];
        let changed = Duration::from_secs(m.ctime().max(0).unsigned_abs())
            + Duration::from_nanos(m.ctime_nsec().max(0).unsigned_abs());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { path: path.to_owned(), identity, settled: now > changed + TICK }
    }
}

/// The text of the file, if nobody else could have written it.
fn read(path: &Path) -> anyhow::Result<String> {
    let own = rustix::process::geteuid().as_raw();
    let trusted = |m: &Metadata| m.uid() == 0 || m.uid() == own;
    let link = path.symlink_metadata()?;
    if !trusted(&link) {
        bail!("it is a link that belongs to uid {}: it must be root's or the pipe's own user's", link.uid());
    }
    // Whoever may write to its directory may put another file in its place; in one like /tmp only its owner may.
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = directory.metadata().context("its directory")?;
    if !trusted(&directory) || (directory.mode() & 0o022 != 0 && directory.mode() & 0o1000 == 0) {
        bail!(
            "its directory belongs to uid {} and has mode {:04o}: it must be root's or the pipe's own user's, and closed \
             to other writers (chmod go-w)",
            directory.uid(),
            directory.mode() & 0o7777
        );
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        bail!("it is no plain file");
    }
    if !trusted(&metadata) {
        bail!("it belongs to uid {}: it must be root's or the pipe's own user's", metadata.uid());
    }
    if metadata.mode() & 0o022 != 0 {
        bail!("others may write to it (mode {:04o}): chmod go-w", metadata.mode() & 0o7777);
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("it is longer than {MAX_BYTES} bytes, which no such file is");
    }
    String::from_utf8(bytes).context("it is no UTF-8 text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn fifo(file: &SiteFile) -> (bool, Option<String>) {
        let (site, error) = file.current();
        (site.policy.fifo, error)
    }

    #[test]
    fn the_last_good_rules_stay_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.yaml");
        write(&path, "version: 1\npolicy: {fifo: false}\n");
        let file = SiteFile::open(Some(path.clone()), dir.path()).unwrap();
        assert_eq!(fifo(&file), (false, None));
        write(&path, "version: 1\npolicy: {fifo: flase}\n");
        let (allowed, error) = fifo(&file);
        let error = error.unwrap();
        assert!(!allowed && error.contains("site.yaml: line 2: policy.fifo"), "{error}");
        // Again, without the file being another.
        assert_eq!(fifo(&file), (false, Some(error)));
        write(&path, "version: 1\npolicy: {fifo: true}\n");
        assert_eq!(fifo(&file), (true, None));
        fs::remove_file(&path).unwrap();
        assert!(fifo(&file).1.unwrap().contains("No such file"));
        write(&path, "version: 1\npolicy: {fifo: false}\n");
        assert_eq!(fifo(&file), (false, None));
    }

    #[test]
    fn a_file_may_come_later_where_none_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = SiteFile::open(None, dir.path()).unwrap();
        assert_eq!((fifo(&file), file.path()), ((true, None), None));
        let path = dir.path().join("site.yaml");
        write(&path, "version: 1\npolicy: {fifo: false}\n");
        assert_eq!((fifo(&file), file.path()), ((false, None), Some(path.clone())));
        fs::remove_file(&path).unwrap();
        let (allowed, error) = fifo(&file);
        assert!(!allowed && error.unwrap().contains("is gone"));
    }

    #[test]
    fn what_others_may_write_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("site.yaml");
        let open = || SiteFile::open(Some(path.clone()), dir.path()).map(drop).map_err(|e| format!("{e:#}"));
        assert!(open().unwrap_err().contains("No such file"));
        write(&path, "version: 1\n");
        assert_eq!(open(), Ok(()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(open().unwrap_err().contains("others may write to it (mode 0664)"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(open().unwrap_err().contains("its directory"));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let real = dir.path().join("real.yaml");
        fs::rename(&path, &real).unwrap();
        symlink(&real, &path).unwrap();
        assert_eq!(open(), Ok(()));
        if rustix::process::geteuid().is_root() {
            chown(&real, Some(12345), None).unwrap();
            assert!(open().unwrap_err().contains("belongs to uid 12345"));
            chown(&real, Some(0), None).unwrap();
            std::os::unix::fs::lchown(&path, Some(12345), None).unwrap();
            assert!(open().unwrap_err().contains("a link that belongs to uid 12345"));
        }
    }
}
