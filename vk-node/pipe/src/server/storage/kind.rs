//! What kind of file system a directory is on, by the magic number that statfs(2) gives. Pure.
//!
//! The numbers are those of `linux/magic.h`, and for file systems outside of Linux those of coreutils' `src/stat.c`.

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Of this host alone, as far as is known.
    Local,
    /// Other hosts may have it too, under this name.
    Shared(&'static str),
}

const SHARED: [(u32, &str); 18] = [
    (0x6969, "nfs"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x517B, "smb"),
    (0x00C3_6400, "ceph"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x0102_1997, "9p"),
    // sshfs is one of these; which it is, the number does not say.
    (0x6573_5546, "fuse"),
    (0x1983_0326, "beegfs"),
    (0x2003_0528, "orangefs"),
    (0xAAD7_AAEA, "panfs"),
    (0x0116_1970, "gfs2"),
    (0x7461_636F, "ocfs2"),
    (0x7375_7245, "coda"),
    (0x564C, "ncp"),
];

impl FileSystem {
    /// By its number.
    #[must_use]
    pub fn of(magic: u32) -> Self {
        SHARED.iter().find(|(number, _)| *number == magic).map_or(Self::Local, |(_, name)| Self::Shared(name))
    }

    /// Its name, if other hosts may have it too.
    #[must_use]
    pub fn shared(self) -> Option<&'static str> {
        match self {
            Self::Local => None,
            Self::Shared(name) => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_their_numbers() {
        assert_eq!(FileSystem::of(0x6969).shared(), Some("nfs"));
        assert_eq!(FileSystem::of(0x0BD0_0BD0).shared(), Some("lustre"));
        // ext4, xfs, tmpfs, btrfs, overlayfs.
        for magic in [0xEF53, 0x5846_5342, 0x0102_1994, 0x9123_683E, 0x794C_7630] {
            assert_eq!(FileSystem::of(magic), FileSystem::Local);
        }
    }
}
