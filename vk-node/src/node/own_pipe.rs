//! The pipe that a node starts for itself, where nobody else has.

use std::ffi::OsString;
use std::io::ErrorKind::{AlreadyExists, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use rustix::fs::Access;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use vk_node_core::config::{PipeConfig, PipeOwner};
use vk_pipe::client::PipeClient;
use vk_task::HostInfo;

use crate::join::no_place;
use crate::tasks::Link;

/// How often a pipe is looked for that does not answer yet.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The wait between two pipes that end at once, and between two looks at one that answers and is not followed yet.
const PAUSE: Duration = Duration::from_secs(1);

/// A task that sees to it that a pipe runs; it and the pipe it started end with this value.
pub(super) struct OwnPipe(JoinHandle<()>);

impl Drop for OwnPipe {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes the directory of a pipe that is ours to start. What is told here is what trying again would not mend.
///
/// # Errors
/// When we may not write there.
pub(super) fn make_directory(directory: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    let usable = made.and_then(|()| Ok(rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK)?));
    match usable {
        Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | NotADirectory | AlreadyExists) => {
            Err(error).with_context(|| no_place(directory))
        }
        // A file server that does not answer now may later: a pipe is started until one does.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Starts a pipe whenever none answers. One that outlived an earlier node is used as it is: while it is followed,
/// nothing is done here. It may have so many `open_files`, if that is not what the node may have.
pub(super) fn keep(
    config: &PipeConfig,
    pipe: PipeClient,
    mut link: watch::Receiver<Link>,
    open_files: Option<u64>,
) -> OwnPipe {
    let args = arguments(config);
    OwnPipe(tokio::spawn(async move {
        // The mirror lives as long as the node.
        while link.wait_for(|link| *link == Link::Lost).await.is_ok() {
            if pipe.info().await.is_err() {
                run_one(&args, open_files).await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }))
}

/// The pipe's command line.
fn arguments(config: &PipeConfig) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec!["pipe".into(), "--hostpipe".into(), config.directory.clone().into()];
    args.extend(["--cgroup".into(), config.cgroup.to_string().into()]);
    for (name, path) in [("--records", &config.records), ("--site", &config.site_file)] {
        if let Some(path) = path {
            args.extend([name.into(), path.clone().into()]);
        }
    }
    args
}

/// Starts a pipe and waits for its end.
async fn run_one(args: &[OsString], open_files: Option<u64>) {
    // The name of the running file may be gone (an update replaces it); this link still leads to it.
    let ours = format!("/proc/{}/exe", std::process::id());
    let mut command = match open_files {
        None => Command::new(ours),
        Some(most) => {
            // The limit is lowered between fork and exec, which is what a shell is for.
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", r#"ulimit -S -n "$0"; exec "$@""#, &most.to_string(), &ours]);
            shell
        }
    };
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    // A Ctrl-C at the node's terminal is for the node; it ends its pipe itself.
    command.process_group(0);
    match command.spawn() {
        Ok(mut child) => {
            info!(pid = child.id(), "started the pipe");
            match child.wait().await {
                Ok(status) => warn!(%status, "the pipe ended; tasks go on, and the next one takes them up"),
                Err(error) => warn!(%error, "cannot wait for the pipe"),
            }
        }
        Err(error) => warn!(%error, "cannot start the pipe"),
    }
}

/// Waits until a pipe answers, and says so while none does.
pub(super) async fn await_pipe(pipe: &PipeClient, config: &PipeConfig) -> HostInfo {
    let mut attempts = 0_u32;
    loop {
        match pipe.info().await {
            Ok(info) => return info,
            Err(error) => {
                // Once at about one second, and then every half a minute.
                if attempts % 600 == 20 {
                    let hint = if config.owner == PipeOwner::Node {
                        "it was started"
                    } else {
                        "start `vk-node pipe` on the host"
                    };
                    warn!(directory = %config.directory.display(), %error, "no pipe answers: {hint}");
                }
            }
        }
        attempts = attempts.wrapping_add(1);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
