//! The file of the audit log: one line for each entry, and one write for each line.

use std::fs::{File, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tokio::sync::Notify;
use tracing::{error, info};
use vk_record::{RecordError, chain};
use vk_site::Audit;
use vk_site::audit::Entry;

use crate::server::lock;

/// The file, opened when it is first needed.
#[derive(Debug, Default)]
pub(super) struct LogFile {
    open: Mutex<Option<Open>>,
    /// Rings when something has been written that is not durable.
    written: Notify,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    /// The last write left a piece of a line: the next one begins a line of its own.
    torn: bool,
    /// Something was written that may not be on disk yet.
    dirty: bool,
}

impl LogFile {
    /// Appends one entry to the file at `path`.
    pub(super) fn append(&self, path: &Path, config: &Audit, entry: &Entry) -> Result<(), RecordError> {
        let line = entry.line().map_err(|source| RecordError::Malformed { path: path.to_owned(), source })?;
        let mut slot = lock(&self.open);
        let open = ready(&mut slot, path, config)?;
        let bytes = if open.torn { [b"\n", &*line].concat() } else { line };
        let written = loop {
            match open.file.write(&bytes) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match written {
            Ok(n) if n == bytes.len() => {
                open.torn = false;
                if !std::mem::replace(&mut open.dirty, true) {
                    self.written.notify_one();
                }
                Ok(())
            }
            Ok(n) => {
                open.torn |= n > 0;
                Err(failed("write the whole of an entry to", path, Errno::NOSPC.into()))
            }
            Err(e) => Err(failed("write to", path, e)),
        }
    }

    /// Waits until there is something to make durable. Cancel-safe: a ring that is not waited for is kept.
    pub(super) async fn written(&self) {
        self.written.notified().await;
    }

    /// Makes what was written durable. Others may write in the meantime.
    pub(super) fn sync(&self) -> Result<(), RecordError> {
        let synced = self.try_sync();
        if synced.is_err() {
            if let Some(open) = lock(&self.open).as_mut() {
                open.dirty = true;
            }
            self.written.notify_one();
        }
        synced
    }

    fn try_sync(&self) -> Result<(), RecordError> {
        let (file, path) = {
            let mut slot = lock(&self.open);
            let Some(open) = slot.as_mut().filter(|open| open.dirty) else { return Ok(()) };
            open.dirty = false;
            (open.file.try_clone().map_err(|e| failed("open again", &open.path, e))?, open.path.clone())
        };
        file.sync_data().map_err(|e| failed("make durable", &path, e))
    }
}

/// The file that entries go to now: another one if the site says so, if somebody has moved it away, or if it is full.
fn ready<'a>(slot: &'a mut Option<Open>, path: &Path, config: &Audit) -> Result<&'a mut Open, RecordError> {
    if let Some(open) = slot.take() {
        let now = path.symlink_metadata().ok();
        let ours = open.file.metadata().map_err(|e| failed("look at", path, e))?;
        let same = open.path == path && now.is_some_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino()));
        if same && ours.len() < config.rotate_bytes {
            return Ok(slot.insert(open));
        }
        // Nothing of it may be lost when nobody has it open any more.
        open.file.sync_data().map_err(|e| failed("make durable", &open.path, e))?;
        if same {
            set_aside(path, config)?;
        }
    }
    let file = open_file(path)?;
    // A pipe that was killed may have left a piece of a line.
    let torn = !ends_with_a_line(path, &file).map_err(|e| failed("read", path, e))?;
    Ok(slot.insert(Open { file, path: path.to_owned(), torn, dirty: false }))
}

fn open_file(path: &Path) -> Result<File, RecordError> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NONBLOCK;
    let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed("open", path, e.into()))?;
    let file = File::from(fd);
    let metadata = file.metadata().map_err(|e| failed("look at", path, e))?;
    let uid = rustix::process::geteuid().as_raw();
    let not_ours = |what: String| Err(RecordError::NotOurs { path: path.to_owned(), what, uid });
    if !metadata.is_file() {
        return not_ours("is no plain file".to_owned());
    }
    if metadata.uid() != uid {
        return not_ours(format!("belongs to uid {}", metadata.uid()));
    }
    if metadata.nlink() != 1 {
        return not_ours("has a second name (a hard link)".to_owned());
    }
    Ok(file)
}

/// Whether the file ends where a line does, or is empty.
fn ends_with_a_line(path: &Path, file: &File) -> std::io::Result<bool> {
    let len = file.metadata()?.len();
    if len == 0 {
        return Ok(true);
    }
    let mut last = [0];
    let reader = rustix::fs::open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::pread(&reader, &mut last, len - 1)?;
    Ok(last == *b"\n")
}

/// Gives the full file a name with its date, and removes the oldest of those beyond what is kept.
fn set_aside(path: &Path, config: &Audit) -> Result<(), RecordError> {
    let mut old = path.as_os_str().to_owned();
    old.push(format!(".{}", Timestamp::now().strftime("%Y%m%dT%H%M%S.%9fZ")));
    std::fs::rename(path, &old).map_err(|e| failed("set aside", path, e))?;
    info!(file = %PathBuf::from(&old).display(), "the audit log was full, and goes on in a new file");
    if let Some(keep) = config.keep_files
        && let Err(e) = remove_oldest(path, keep)
    {
        error!("old audit logs are still there: {}", chain(&e));
    }
    Ok(())
}

fn remove_oldest(path: &Path, keep: u32) -> Result<(), RecordError> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return Ok(());
    };
    let prefix = format!("{name}.");
    let mut old: Vec<PathBuf> = std::fs::read_dir(directory)
        .map_err(|e| failed("list", directory, e))?
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().and_then(|n| n.strip_prefix(&prefix)).is_some_and(is_date))
        .filter(|entry| entry.metadata().as_ref().is_ok_and(Metadata::is_file))
        .map(|entry| entry.path())
        .collect();
    // By date, as their names sort.
    old.sort();
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    for path in old.iter().take(old.len().saturating_sub(keep)) {
        std::fs::remove_file(path).map_err(|e| failed("remove", path, e))?;
    }
    Ok(())
}

/// Whether a name's end is one that [`set_aside`] gives.
fn is_date(text: &str) -> bool {
    text.len() == "20260101T000000.000000000Z".len()
        && text.ends_with('Z')
        && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'T' | b'.' | b'Z'))
}

fn failed(action: &'static str, path: &Path, source: std::io::Error) -> RecordError {
    RecordError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use vk_site::audit::Event;
    use vk_task::{Origin, TaskId};

    fn entry(name: &str) -> Entry {
        Entry {
            at: Timestamp::UNIX_EPOCH,
            task: TaskId::new(name).unwrap(),
            by: Origin::Fifo { writer: None },
            event: Event::Unknown { message: "m".into() },
        }
    }

    fn config() -> Audit {
        Audit { rotate_bytes: 300, keep_files: Some(2), ..Audit::default() }
    }

    fn tasks(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter_map(|l| serde_json::from_str::<Entry>(l).ok()).map(|e| e.task.to_string()).collect()
    }

    #[test]
    fn a_full_file_is_set_aside_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        fs::write(dir.path().join("audit.log.important"), "").unwrap();
        let log = LogFile::default();
        let config = Audit { keep_files: None, ..config() };
        let names: Vec<String> = (0..20).map(|n| format!("t{n:02}")).collect();
        for name in &names {
            log.append(&path, &config, &entry(name)).unwrap();
            log.sync().unwrap();
        }
        let mut files: Vec<PathBuf> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        // The one that is written to sorts first.
        let files = [&files[1..], &files[..1]].concat();
        assert!(files.len() > 4, "{files:?}");
        assert_eq!(files.iter().flat_map(|f| tasks(f)).collect::<Vec<_>>(), names);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_so_many_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let log = LogFile::default();
        fs::write(dir.path().join("audit.log.important"), "").unwrap();
        for n in 0..30 {
            log.append(&path, &config(), &entry(&format!("t{n}"))).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
        assert!(tasks(&path).contains(&"t29".to_owned()));
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        fs::write(&path, "{\"at\":").unwrap();
        let log = LogFile::default();
        log.append(&path, &config(), &entry("a")).unwrap();
        log.append(&path, &config(), &entry("b")).unwrap();
        assert_eq!(tasks(&path), ["a", "b"]);
    }

    #[test]
    fn it_goes_on_in_a_new_file_when_somebody_moves_it() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("audit.log"), dir.path().join("moved"));
        let log = LogFile::default();
        log.append(&path, &config(), &entry("a")).unwrap();
        fs::rename(&path, &other).unwrap();
        log.append(&path, &config(), &entry("b")).unwrap();
        // And where the site says.
        log.append(&dir.path().join("elsewhere"), &config(), &entry("c")).unwrap();
        assert_eq!((tasks(&other), tasks(&path)), (vec!["a".to_owned()], vec!["b".to_owned()]));
    }

    #[test]
    fn what_is_not_ours_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let refused = || LogFile::default().append(&path, &config(), &entry("a")).unwrap_err();
        fs::write(dir.path().join("secret"), "s").unwrap();
        symlink(dir.path().join("secret"), &path).unwrap();
        assert!(matches!(refused(), RecordError::Io { .. }));
        fs::remove_file(&path).unwrap();
        fs::hard_link(dir.path().join("secret"), &path).unwrap();
        assert!(refused().to_string().contains("hard link"));
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"s");
        fs::remove_file(&path).unwrap();
        assert!(LogFile::default().append(Path::new("/dev/full"), &config(), &entry("a")).is_err());
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(matches!(refused(), RecordError::Io { .. } | RecordError::NotOurs { .. }));
    }
}
