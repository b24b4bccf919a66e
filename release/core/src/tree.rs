//! Files in archives, with nothing of where they come from: no owner, no time of their own, in the order of their paths.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use crate::edition::Time;

/// What gzip's header says of a machine: that it is not known (RFC 1952, 2.3.1).
const UNKNOWN_SYSTEM: u8 = 255;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A file that is read.
    Data(Vec<u8>),
    /// A file that is run.
    Program(Vec<u8>),
    /// A symbolic link to this.
    Link(String),
}

/// Files by their paths, which are relative and have no `.` or `..` in them. Directories come by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, Item>);

impl Tree {
    /// Puts something at a path, in place of what was there.
    pub fn put(&mut self, path: impl Into<String>, item: Item) {
        self.0.insert(path.into(), item);
    }

    /// The paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The tree as a tar archive in the format of POSIX (ustar), in which everything is of this time and of user and group 0.
    ///
    /// # Errors
    /// If the format has no room for a path.
    pub fn tar(&self, time: Time) -> io::Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        let directories: BTreeSet<&str> = self.paths().flat_map(parents).collect();
        // Each directory is before what is in it.
        let mut all: BTreeMap<&str, Option<&Item>> = directories.into_iter().map(|path| (path, None)).collect();
        all.extend(self.0.iter().map(|(path, item)| (path.as_str(), Some(item))));
        for (path, item) in all {
            let (kind, mode, data): (_, _, &[u8]) = match item {
                None => (EntryType::Directory, 0o755, &[]),
                Some(Item::Data(data)) => (EntryType::Regular, 0o644, data),
                Some(Item::Program(data)) => (EntryType::Regular, 0o755, data),
                Some(Item::Link(_)) => (EntryType::Symlink, 0o777, &[]),
            };
            let mut header = Header::new_ustar();
            match item {
                None => header.set_path(format!("{path}/"))?,
                Some(_) => header.set_path(path)?,
            }
            if let Some(Item::Link(target)) = item {
                header.set_link_name(target)?;
            }
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(time.epoch());
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data)?;
        }
        builder.into_inner()
    }

    /// The same, compressed.
    ///
    /// # Errors
    /// If the format has no room for a path.
    pub fn tar_gz(&self, time: Time) -> io::Result<Vec<u8>> {
        gzip(&self.tar(time)?)
    }
}

/// Compresses, with a header that says nothing of where and when.
///
/// # Errors
/// None that is known: it writes to memory.
pub fn gzip(data: &[u8]) -> io::Result<Vec<u8>> {
    let builder = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM);
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(data)?;
    encoder.finish()
}

/// `a/b/c` is in `a` and `a/b`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').filter_map(|(at, _)| path.get(..at))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.put("share/doc/x", Item::Data(b"text".to_vec()));
        tree.put("bin/x", Item::Program(b"program".to_vec()));
        tree.put("bin/y", Item::Link("x".to_owned()));
        tree
    }

    #[test]
    fn an_archive_says_nothing_of_where_it_was_made() {
        let packed = sample().tar_gz(Time::of_epoch(1_700_000_000)).unwrap();
        // Magic, method, no flags, no time, no level, no system.
        assert_eq!(packed[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
        let mut listed = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!((header.username().unwrap(), header.groupname().unwrap()), (Some(""), Some("")));
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            let mode = header.mode().unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            listed.push(format!("{mode:o} {} {text}", entry.path().unwrap().display()));
        }
        assert_eq!(
            listed,
            ["755 bin/ ", "755 bin/x program", "777 bin/y ", "755 share/ ", "755 share/doc/ ", "644 share/doc/x text",]
        );
        assert_eq!(packed, sample().tar_gz(Time::of_epoch(1_700_000_000)).unwrap());
    }
}
