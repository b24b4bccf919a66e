//! The shim: the small process that stands beside one task, holds its output, waits for it and writes down how it
//! ended. It outlives the pipe and the node, and it is the one that starts the program.
//!
//! ```text
//!  take the lock ──▶ fork a child that waits ──▶ start.json durable ──▶ open the gate ──▶ exec
//!      │ held            at a gate                                                         │
//!      ▼                    │ stop.json is there                                           ▼
//!    leave                  ▼                                             relay output, watch the tree, obey stops
//!                       exit.json: never started                                           │ tree gone, output drained
//!                                                                                          ▼
//!                                                                              exit.json durable, ring, leave
//! ```
//!
//! Whatever kills the shim kills the task with it: the child at the gate sees the gate close, the main process gets
//! `SIGKILL` from the kernel, and the pipe sees to the rest.
//!
//! The shim is one thread without an async runtime, a logger or an argument parser, so that a thousand of them cost
//! little. What it decides is in `life` and `command`, which touch nothing.

mod cgroup;
mod clock;
mod command;
mod control;
mod end;
mod error;
mod exec;
mod fork;
mod gate;
mod last_words;
mod life;
mod limits;
mod linger;
mod log;
mod memory;
mod mounts;
mod notify;
mod pipeline;
mod prepare;
mod relay;
mod remove;
mod run;
mod signals;
mod start;
mod stdio;
mod tree;
mod watch;
mod watchdog;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use vk_record::chain;

pub use error::ShimError;
use error::say;
pub use memory::forget_program;
pub use signals::DOORBELL;

/// In place of a task's directory: to find out whether tasks can have mounts of their own here. In place of the pipe's
/// directory comes one, at least two levels below the root, that may be mounted over. What stands against it is told on
/// standard error.
pub const TRY_MOUNTS: &str = "--try-mounts";

/// The command line of `vk-node shim <task-dir> <pipe-dir>`, given without the program and the word `shim`. To be called before
/// the process has a second thread.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(dir), Some(pipe), None) = (args.next(), args.next(), args.next()) else {
        say(format_args!(
            "usage: vk-node shim <task-directory> <pipe-directory>\nThe pipe runs this; it is of no use by hand."
        ));
        return ExitCode::from(2);
    };
    if dir == TRY_MOUNTS {
        return match mounts::try_out(&PathBuf::from(pipe)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                say(format_args!("{why}"));
                ExitCode::FAILURE
            }
        };
    }
    match run::run(&PathBuf::from(dir), &PathBuf::from(pipe)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            say(format_args!("{}", chain(&e)));
            ExitCode::FAILURE
        }
    }
}
