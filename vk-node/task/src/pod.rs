//! What belongs to a pod rather than to one of its tasks: its directory on the host, its volumes, and what of them a task
//! is given.
//!
//! ```text
//!   pods/<uid>/
//!     volumes/<volume>/             a Files or Empty volume
//!     containers/<container>/work   where the container's programs start
//!                           /tmp    their $TMPDIR
//!                           /termination-log
//! ```
//!
//! The pipe makes all of it, because the node may sit where it cannot see the host's files. It goes when the pod does.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name that is also that of a directory, so it can be no path: a pod's UID or a volume's name. 1 to 200 characters out
/// of `A-Z a-z 0-9 . _ -`, not beginning with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DirName(String);

/// A string that names no directory of a pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name a directory: use 1 to 200 characters out of A-Z a-z 0-9 . _ -, the first not a dot")]
pub struct InvalidDirName(pub String);

/// Where a file is in its volume: a relative path without `.` and `..`, whose first part does not begin with two dots
/// (those are the volume's own, see [`VolumeContent::Files`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

/// A string that is no path within a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path within a volume: it must be relative, without \"..\", and not begin with \"..\"")]
pub struct InvalidFilePath(pub String);

/// What is in a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum VolumeContent {
    /// These files and no others: of ConfigMaps, Secrets, the downward API, tokens. A change reaches all readers at once:
    /// the files are in a directory of their own, and one rename of the link `..data` leads to the new one, as in the
    /// kubelet (its `AtomicWriter`).
    Files {
        /// The files.
        files: BTreeMap<FilePath, FileContent>,
        /// Whether they are to be in memory, where the host has a place for that: what is secret is on no disk then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        memory: bool,
    },
    /// Nothing at first; the tasks write to it: `emptyDir`. Once made it is left as it is.
    Empty {
        /// Whether it is to be in memory, where the host has a place for that.
        #[serde(default)]
        memory: bool,
    },
}

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileContent {
    /// Its bytes.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub data: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
}

/// A volume that a task is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMount {
    /// What it is given.
    pub source: VolumeSource,
    /// Only this part of it. What is not there is made, as a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<FilePath>,
    /// Where: absolute, in the image or in the task's own mount namespace; or relative to the container's own working
    /// directory (whatever [`TaskSpec::working_dir`](crate::TaskSpec::working_dir) is), where a link leads to it.
    pub target: PathBuf,
    /// Whether it may not write to it. A link cannot keep it from that; a mount does.
    #[serde(default)]
    pub read_only: bool,
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum VolumeSource {
    /// A volume of the task's pod, which must have been written before.
    Volume {
        /// Its name.
        name: DirName,
    },
    /// A directory or file of the host.
    Host {
        /// Its absolute path.
        path: PathBuf,
        /// What it must be.
        #[serde(default)]
        expects: HostPathType,
    },
}

/// What a path of the host must be: the `type` of core/v1 `hostPath`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPathType {
    /// Anything that is there.
    #[default]
    Unchecked,
    /// A directory.
    Directory,
    /// A directory, which is made where there is nothing.
    DirectoryOrCreate,
    /// A file.
    File,
    /// A file, which is made where there is nothing.
    FileOrCreate,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// Where a task may leave its last words, and what stands in for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TerminationMessage {
    /// The file: core/v1 `terminationMessagePath`. Absolute ones are where the task looks for them only in an image or in a
    /// mount namespace; a relative one counts from the container's own directory, or in an image from its root. What is
    /// really written to is in the pod's directory, and [`TERMINATION_LOG_VARIABLE`](crate::TERMINATION_LOG_VARIABLE)
    /// names it in any case on the host.
    pub path: PathBuf,
    /// Whether the last of the output stands in where the task failed and left nothing there:
    /// `FallbackToLogsOnError`.
    #[serde(default)]
    pub fallback_to_logs: bool,
}

impl TerminationMessage {
    /// The path where none is named: core/v1's default.
    pub const DEFAULT_PATH: &str = "/dev/termination-log";
}

impl DirName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// When `text` could be a path or a hidden file, or is empty or too long.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidDirName> {
        let text = text.into();
        match crate::TaskId::new(text) {
            Ok(id) => Ok(Self(id.into())),
            Err(crate::InvalidTaskId(text)) => Err(InvalidDirName(text)),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DirName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DirName {
    type Error = InvalidDirName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<DirName> for String {
    fn from(name: DirName) -> Self {
        name.0
    }
}

impl FilePath {
    /// Checks `text` and makes it a path.
    ///
    /// # Errors
    /// When it could lead out of its volume, or into what the volume keeps for itself.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidFilePath> {
        let text = text.into();
        let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
        if text.contains('\0') || text.starts_with("..") || !text.split('/').all(is_part) {
            return Err(InvalidFilePath(text));
        }
        Ok(Self(text))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FilePath {
    type Error = InvalidFilePath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

/// Names of an address, for a task's `/etc/hosts`: core/v1 `hostAliases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// Its names.
    #[serde(default)]
    pub hostnames: Vec<String>,
}

impl HostAlias {
    /// Where a program looks for them.
    pub const FILE: &str = "/etc/hosts";

    /// Whether it is one line of such a file, and nothing else.
    #[must_use]
    pub fn is_line(&self) -> bool {
        let is_word = |text: &String| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        is_word(&self.ip) && !self.ip.starts_with('#') && self.hostnames.iter().all(is_word)
    }

    /// What the file says: the host's own, and these. The kubelet's format for a pod in the host's network.
    #[must_use]
    pub fn file(hosts: &str, aliases: &[Self]) -> String {
        let mut text =
            format!("# Kubernetes-managed hosts file (host network).\n{hosts}\n# Entries added by HostAliases.\n");
        for Self { ip, hostnames } in aliases {
            text.push_str(&format!("{ip}\t{}\n", hostnames.join("\t")));
        }
        text
    }
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    STANDARD.decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_in_its_volume() {
        for good in ["a", "a/b", "a..b", "a/..b", ".hidden"] {
            assert!(FilePath::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "/a", "a//b", "a/", "..", "../a", "a/../b", "./a", "..data", "a\0"] {
            assert_eq!(FilePath::new(bad), Err(InvalidFilePath(bad.to_owned())));
        }
        assert!(DirName::new("../x").is_err());
    }

    #[test]
    fn aliases_are_lines_after_the_hosts_own() {
        let alias = |ip: &str, names: &[&str]| HostAlias {
            ip: ip.into(),
            hostnames: names.iter().map(|&name| name.into()).collect(),
        };
        let text = HostAlias::file("127.0.0.1 localhost\n", &[alias("192.0.2.1", &["a", "b.c"]), alias("::1", &["d"])]);
        assert_eq!(
            text,
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n\n\
             # Entries added by HostAliases.\n192.0.2.1\ta\tb.c\n::1\td\n"
        );
        assert!(alias("::1", &["d"]).is_line());
        for bad in [alias("", &["a"]), alias("#1", &["a"]), alias("::1", &["a\nb"]), alias("::1 x", &[])] {
            assert!(!bad.is_line(), "{bad:?}");
        }
    }

    #[test]
    fn bytes_come_back() {
        let content = FileContent { data: vec![0, 255, b'x'], mode: 0o640 };
        let text = serde_json::to_string(&content).unwrap();
        assert_eq!(text, r#"{"data":"AP94","mode":416}"#);
        assert_eq!(serde_json::from_str::<FileContent>(&text).unwrap(), content);
    }
}
