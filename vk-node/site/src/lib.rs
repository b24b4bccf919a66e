//! What a site allows, and how it runs images: the rules of the site's own file, and what follows from them. Pure: the
//! file's text and the facts of the host come in as arguments, a verdict comes out.
//!
//! ```text
//!   site.yaml ──read──▶ Site ─┐
//!   TaskSpec ─────────────────┼──clear──▶ Cleared { spec (clamped), launch, told }
//!   Facts of the host ────────┘      └──▶ Denied { every reason }
//! ```
//!
//! - `read` turns text into a [`Site`], or tells all that is wrong with it at once.
//! - `policy`, `limits` and `runtime` hold the rules; `clear` applies them.
//! - `runtime` knows the command line of each container runtime.
//! - `audit` holds the entries of the audit log.
//!
//! The file is described in `docs/reference/site.md`.

pub mod audit;
mod clear;
mod limits;
mod pattern;
mod policy;
mod read;
mod runtime;

pub use clear::{Cleared, Denied, Facts, GivenMount, Refusal, clear};
pub use limits::{Amounts, LimitRules};
pub use pattern::{Pattern, Patterns, Rule};
pub use policy::{Access, Door, HostPath, Listening, Policy, PortForward, StreamKind};
pub use runtime::{CustomRuntime, Found, Kind, NamedRuntime, Runtime, SEARCH_ORDER};

use std::path::PathBuf;

use vk_yaml::Problems;

/// All that a site's file says. The default is what is in force where there is no file: everything that Linux allows the
/// pipe's user, and images in whatever runtime is found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Site {
    /// Who may run what.
    pub policy: Policy,
    /// How much a task may use.
    pub limits: LimitRules,
    /// What runs images.
    pub runtime: Runtime,
    /// How long records are kept.
    pub records: Records,
    /// The audit log.
    pub audit: Audit,
}

/// How long the records of tasks are kept whose end has been told of, and those of FIFO lines that have ended. What has
/// not been told of is never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// Seconds after the end.
    pub keep_seconds: u64,
    /// How many at most; the oldest go first.
    pub keep_tasks: u64,
    /// Bytes on disk of all records and logs together. The oldest that may go are removed until there are fewer; if that
    /// does not help, new tasks are refused.
    pub max_bytes: u64,
}

impl Default for Records {
    fn default() -> Self {
        Self { keep_seconds: 7 * 24 * 3600, keep_tasks: 1000, max_bytes: 20 << 30 }
    }
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The file, with an absolute path; `None`: `audit.log` in the pipe's directory.
    pub file: Option<PathBuf>,
    /// The size at which the file is set aside under a name with its date and the next is begun, in bytes.
    pub rotate_bytes: u64,
    /// How many files that were set aside are kept; `None`: all of them.
    pub keep_files: Option<u32>,
}

impl Default for Audit {
    fn default() -> Self {
        Self { file: None, rotate_bytes: 64 << 20, keep_files: None }
    }
}

impl Site {
    /// Reads the text of a site's file.
    ///
    /// # Errors
    /// All that is wrong with it, each with its line.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        read::site(text)
    }
}
