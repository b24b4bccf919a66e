//! Removing what a container runtime has left, when the whole tree of its client is gone.
//!
//! ```text
//!   tree gone ──▶ run the commands ──all succeed, nothing of theirs is left──▶ done
//!                   ▲        │ one fails, or takes too long
//!                   └─pause──┘ told in lingering.json
//! ```
//!
//! There is no last try: the task has not ended while its container may run.

use std::os::fd::AsFd;
use std::process::Stdio;

use rustix::process::WaitOptions;
use vk_record::TaskDir;
use vk_record::runtime::{PATIENCE, Removal, pause};

use crate::error::say;
use crate::linger::Lingerers;
use crate::notify::Notifier;
use crate::tree::{KILL_PAUSE, KILL_PAUSE_MAX};
use crate::{clock, tree};

/// Removes it, however long that takes.
pub(crate) fn remove(removal: &Removal, task: &TaskDir, notifier: &mut Notifier) {
    let mut lingerers = Lingerers::default();
    let mut failures = 0;
    loop {
        let outcome = removal.attempt(PATIENCE, complaints);
        clear(task, notifier);
        match outcome {
            Ok(()) => break,
            Err(e) => {
                failures += 1;
                say(format_args!("{e}"));
                lingerers.tell(vec![e.lingering()], task, notifier);
                std::thread::sleep(pause(failures));
                notifier.retry();
            }
        }
    }
    lingerers.tell(Vec::new(), task, notifier);
}

/// Ends what the commands have left running: they are the task's processes too.
fn clear(task: &TaskDir, notifier: &mut Notifier) {
    let mut lingerers = Lingerers::default();
    let mut pause = KILL_PAUSE;
    // Until there is no child at all.
    while let Ok(ended) = rustix::process::wait(WaitOptions::NOHANG) {
        if ended.is_some() {
            continue;
        }
        match tree::kill() {
            Ok(killed) => _ = lingerers.note(&killed, clock::boot(), task, notifier),
            Err(e) => say(format_args!("cannot kill what the removal has left: {e}")),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(KILL_PAUSE_MAX);
    }
    lingerers.tell(Vec::new(), task, notifier);
}

/// The shim's own.
fn complaints() -> Stdio {
    std::io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from)
}
