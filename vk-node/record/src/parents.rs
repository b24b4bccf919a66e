//! Who else may replace a directory: those who may write to one of its parents. As `StrictModes` of sshd_config(5) has it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory on the way to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its path.
    pub path: PathBuf,
    /// Whose it is.
    pub uid: u32,
    /// Its permission bits.
    pub mode: u32,
}

/// Why what is beneath a directory may be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// Everybody may.
    #[error("{} can be written to by everybody, who may replace what is in it: chmod o-w it", .0.display())]
    Everybody(PathBuf),
    /// Its group may.
    #[error("{} can be written to by its group, whose members may replace what is in it: chmod g-w it", .0.display())]
    Group(PathBuf),
    /// Its owner may, who is neither this user nor root.
    #[error("{} belongs to uid {uid}, who may replace what is in it", path.display())]
    Owner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
}

const STICKY: u32 = 0o1000;

impl Parent {
    /// All parents of the directory at `path`, whatever links its path leads over.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn all(path: &Path) -> io::Result<Vec<Self>> {
        let path = path.canonicalize()?;
        let parents = path.ancestors().skip(1).map(|parent| {
            let stat = parent.symlink_metadata()?;
            Ok(Self { path: parent.to_owned(), uid: stat.uid(), mode: stat.mode() & 0o7777 })
        });
        parents.collect()
    }
}

/// What lets others than `uid` and root replace what is beneath `parents`. Pure.
#[must_use]
pub fn weaknesses(parents: &[Parent], uid: u32) -> Vec<Weakness> {
    let weakness = |parent: &Parent| {
        let path = || parent.path.clone();
        if parent.uid != uid && parent.uid != 0 {
            return Some(Weakness::Owner { path: path(), uid: parent.uid });
        }
        // In a sticky one, only the owner of a file may replace it: `/tmp`.
        match parent.mode {
            mode if mode & STICKY != 0 => None,
            mode if mode & 0o002 != 0 => Some(Weakness::Everybody(path())),
            mode if mode & 0o020 != 0 => Some(Weakness::Group(path())),
            _ => None,
        }
    };
    parents.iter().filter_map(weakness).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_replace_a_parent_is_told() {
        let parent = |path: &str, uid, mode| Parent { path: path.into(), uid, mode };
        let fine = [parent("/home/u", 7, 0o755), parent("/home", 0, 0o755), parent("/tmp", 0, 0o1777)];
        assert_eq!(weaknesses(&fine, 7), []);
        let weak = [parent("/a", 7, 0o777), parent("/b", 0, 0o775), parent("/c", 8, 0o700)];
        let wanted = [
            Weakness::Everybody("/a".into()),
            Weakness::Group("/b".into()),
            Weakness::Owner { path: "/c".into(), uid: 8 },
        ];
        assert_eq!(weaknesses(&weak, 7), wanted);
    }

    #[test]
    fn all_parents_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let parents = Parent::all(dir.path()).unwrap();
        assert_eq!(parents.last().map(|p| p.path.as_path()), Some(Path::new("/")));
    }
}
