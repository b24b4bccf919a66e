//! Where a file system puts what has nothing to do with each other.

use rustix::fs::{IFlags, fstatfs, ioctl_getflags, ioctl_setflags};

use crate::Dir;

/// What statfs(2) says of ext2, ext3 and ext4.
const EXT: i128 = 0xef53;

impl Dir {
    /// Tells the file system that the directories in this one have nothing to do with each other: `T` of chattr(1). ext4 then
    /// puts each of them, with its files, into a part of the disk of its own choice.
    ///
    /// Without that all are next to this one, and each that comes looks for a free inode among those that the ones before it
    /// have left. Where there is no journal, those that were freed within the last minutes are passed over one by one, by the
    /// thousand: a file that is made takes up to a millisecond then, and not 15 µs.
    ///
    /// It is a hint. Other file systems have no such thing, and where it cannot be given all is as it would be without.
    pub fn spread_directories(&self) {
        if !fstatfs(self).is_ok_and(|of| i128::from(of.f_type) == EXT) {
            return;
        }
        if let Ok(flags) = ioctl_getflags(self)
            && !flags.contains(IFlags::TOPDIR)
        {
            let _ = ioctl_setflags(self, flags | IFlags::TOPDIR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_marked_where_the_file_system_knows_the_mark_and_what_is_in_it_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let before = ioctl_getflags(&dir);
        for _ in 0..2 {
            dir.spread_directories();
        }
        if fstatfs(&dir).is_ok_and(|of| i128::from(of.f_type) == EXT) {
            assert_eq!(ioctl_getflags(&dir).unwrap(), before.unwrap() | IFlags::TOPDIR);
            let (sub, _) = dir.create_dir("sub").unwrap();
            assert!(!ioctl_getflags(&sub).unwrap().contains(IFlags::TOPDIR));
        } else {
            assert_eq!(ioctl_getflags(&dir).ok(), before.ok());
        }
    }
}
