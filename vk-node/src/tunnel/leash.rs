//! `vk-node leash PID PROGRAM …`: becomes PROGRAM, which ends when the process PID does, however that ends.
//!
//! The kernel sees to it (PR_SET_PDEATHSIG): TERM, so that ssh takes its sockets and its jump hosts' processes with it. It is
//! asked for between fork and exec, which is what this part is for.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, getppid, set_parent_process_death_signal};

/// What a program that is not there ends with, as in a shell.
const NOT_FOUND: u8 = 127;

/// The arguments behind `leash`: the process that is to be outlived by nothing, and the program with its arguments.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = args.next().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let (Some(parent), Some(program)) = (parent, args.next()) else {
        eprintln!("vk-node: the leash is for vk-node itself");
        return ExitCode::from(2);
    };
    let leashed = set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    // It may have ended before that; then no signal would ever come.
    if leashed.is_err() || getppid() != Some(parent) {
        return ExitCode::FAILURE;
    }
    // A Ctrl-C at the terminal is for the node, which still wants to say good-bye by this connection.
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    let _ = interrupt.thread_block();
    let error = Command::new(&program).args(args).exec();
    eprintln!("vk-node: cannot run {}: {error}", program.display());
    ExitCode::from(NOT_FOUND)
}
