//! Which cgroup a pipe uses.

use std::path::PathBuf;
use std::str::FromStr;

/// Which directory of cgroups the pipe uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupChoice {
    /// Its own, if that is delegated to it.
    #[default]
    Auto,
    /// None.
    Off,
    /// This one.
    Directory(PathBuf),
}

impl FromStr for CgroupChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::Directory(path.into())),
            other => Err(format!("{other:?} is neither `auto` nor `off` nor an absolute path of a cgroup")),
        }
    }
}

impl std::fmt::Display for CgroupChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Directory(path) => path.display().fmt(f),
        }
    }
}
