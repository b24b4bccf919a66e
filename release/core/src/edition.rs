//! Which release it is, and what its files are called.

use std::fmt;

use jiff::Timestamp;

use crate::program::Program;

/// What follows the version of a release that is not made of a commit alone.
pub const DIRTY: &str = "-dirty";

/// Which release it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// What it is called.
    pub version: Version,
    /// What its programs run on. It is always Linux.
    pub architecture: Architecture,
    /// The commit that it is made of, in hexadecimal digits.
    pub revision: String,
    /// When that was made: the one time that a release has. `SOURCE_DATE_EPOCH` of reproducible-builds.org.
    pub time: Time,
}

impl Edition {
    /// The name of a file about a program for this architecture.
    fn of(&self, program: Program, end: &str) -> String {
        format!("{}-{}-linux-{}.{end}", program.name(), self.version, self.architecture)
    }

    /// The program with all that belongs to it.
    #[must_use]
    pub fn archive(&self, program: Program) -> String {
        self.of(program, "tar.gz")
    }

    /// Its image.
    #[must_use]
    pub fn image(&self, program: Program) -> String {
        self.of(program, "oci.tar")
    }

    /// What it is made of. CycloneDX asks for this end of the name.
    #[must_use]
    pub fn sbom(&self, program: Program) -> String {
        self.of(program, "cdx.json")
    }

    /// The chart, called as helm calls it.
    #[must_use]
    pub fn chart(&self) -> String {
        format!("vk-cmd-{}.tgz", self.version)
    }
}

/// What a release is called: the version of the workspace, and whether it is that of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    number: String,
    dirty: bool,
}

impl Version {
    /// The version `number` of Cargo.toml; of a tree that is not as committed if `dirty`.
    #[must_use]
    pub fn new(number: impl Into<String>, dirty: bool) -> Self {
        Self { number: number.into(), dirty }
    }

    /// What Cargo.toml says.
    #[must_use]
    pub fn number(&self) -> &str {
        &self.number
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.number, if self.dirty { DIRTY } else { "" })
    }
}

/// An architecture that programs are released for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Architecture {
    /// x86_64
    Amd64,
    /// aarch64
    Arm64,
}

impl Architecture {
    /// Of the architecture that Rust calls so; `None` where none is released for.
    #[must_use]
    pub fn of_rust(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }
}

/// As images, Kubernetes and krew call it: `GOARCH`.
impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        })
    }
}

/// A time, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(Timestamp);

impl Time {
    /// So many seconds after the beginning of 1970.
    #[must_use]
    pub fn of_epoch(seconds: u32) -> Self {
        // 2106 is within what a Timestamp holds.
        Self(Timestamp::from_second(i64::from(seconds)).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// Seconds since the beginning of 1970.
    #[must_use]
    pub fn epoch(self) -> u64 {
        u64::try_from(self.0.as_second()).unwrap_or(0)
    }
}

/// As RFC 3339 writes it.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_after_version_and_architecture() {
        let edition = |dirty| Edition {
            version: Version::new("1.2.3", dirty),
            architecture: Architecture::Amd64,
            revision: "0".repeat(40),
            time: Time::of_epoch(1_700_000_000),
        };
        assert_eq!(edition(false).archive(Program::Plugin), "kubectl-cmdjob-1.2.3-linux-amd64.tar.gz");
        assert_eq!(edition(false).image(Program::Operator), "vk-operator-1.2.3-linux-amd64.oci.tar");
        assert_eq!(edition(true).chart(), "vk-cmd-1.2.3-dirty.tgz");
        assert_eq!(edition(true).time.to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(edition(true).time.epoch(), 1_700_000_000);
    }
}
