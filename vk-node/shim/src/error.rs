//! What can stop a shim.

use std::io;
use std::path::PathBuf;

use vk_record::RecordError;

/// Why a shim gave up before it started anything.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The kernel refused something.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A record could not be read or written.
    #[error("the task's records fail")]
    Record(#[from] RecordError),
    /// There is nothing to do here.
    #[error("{} is no task's directory: it has no intent", .0.display())]
    NoIntent(PathBuf),
    /// A string of the task cannot be given to a program.
    #[error("{0} holds a NUL byte, which no program can be given")]
    Nul(String),
}

impl ShimError {
    /// For `map_err`: the kernel refused `action`.
    pub(crate) fn system<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |e| Self::System { action, source: e.into() }
    }
}

/// Says something in the task's `shim.err`. Not by `eprintln!`: that panics when the disk is full.
pub(crate) fn say(what: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "vk-shim: {what}");
}

/// Says that something did not work which the shim can do without.
pub(crate) fn complain(what: &str, result: io::Result<()>) {
    if let Err(e) = result {
        say(format_args!("cannot {what}: {e}"));
    }
}
