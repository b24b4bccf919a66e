//! Clearing up after this process, also when it is killed with -9 or ends without running destructors, as test programs do.
//!
//! A small shell holds the reading end of a pipe of ours. The kernel closes the pipe when we end; the shell then does what it was
//! told to do at that point and ends too.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, anyhow};

/// Set this to keep every temporary directory (logs, etcd's data) for a look afterwards.
pub const KEEP_VARIABLE: &str = "VK_CMD_KEEP";

/// The environment variable by which the processes of a site are known, besides `HOME`; its value is the site's home.
pub const SITE_VARIABLE: &str = "VK_CMD_E2E_SITE";

const SCRIPT: &str = include_str!("janitor.sh");

/// Removes the directory `path` when this process has ended.
pub fn remove_at_exit(path: &Path) -> Result<()> {
    if std::env::var_os(KEEP_VARIABLE).is_some() { Ok(()) } else { tell("remove", path.as_os_str()) }
}

/// Takes [`remove_at_exit`] back, because someone will want to read the logs in `path`.
pub fn keep(path: &Path) -> Result<()> {
    tell("keep", path.as_os_str())
}

/// The entries of which the environment of a site's processes has at least one: a task may be given another `HOME`, or be kept from
/// variables that its pod does not name.
pub fn marks(home: &Path) -> [Vec<u8>; 2] {
    ["HOME", SITE_VARIABLE].map(|name| [name.as_bytes(), b"=", home.as_os_str().as_encoded_bytes()].concat())
}

/// Ends, when this process has ended, all processes with a mark of the site at `home`: its shims and what they run.
pub fn end_processes_at_exit(home: &Path) -> Result<()> {
    tell("end", home.as_os_str())
}

fn tell(verb: &str, what: &OsStr) -> Result<()> {
    static JANITOR: OnceLock<Result<Mutex<ChildStdin>, String>> = OnceLock::new();
    let janitor = JANITOR.get_or_init(|| start().map(Mutex::new).map_err(|error| error.to_string()));
    let pipe = janitor.as_ref().map_err(|error| anyhow!("cannot start the clearing-up shell: {error}"))?;
    let mut line = format!("{verb} ").into_bytes();
    line.extend_from_slice(what.as_encoded_bytes());
    line.push(b'\n');
    let mut pipe = pipe.lock().map_err(|_| anyhow!("another thread failed while talking to the clearing-up shell"))?;
    pipe.write_all(&line).context("the clearing-up shell has gone away")
}

fn start() -> io::Result<ChildStdin> {
    // Not tied to us like everything else: it has to outlive us by a moment. Rust's pipes are close-on-exec, so no other child of
    // ours holds the pipe open.
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(SCRIPT).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    child.stdin.take().ok_or_else(|| io::Error::other("no pipe to the shell"))
}
