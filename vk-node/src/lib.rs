//! `vk-node`: makes the machine it runs on a Kubernetes node. One program with several parts: see `cli`.
//!
//! It is a library so that the release can write manual pages and completions of its command line without the program that sites
//! get growing by what writes them.

mod admin;
mod cli;
mod credentials;
mod ending;
mod events;
mod given;
mod join;
mod kubelet;
mod logging;
mod node;
mod pods;
mod probes;
mod tasks;
mod tunnel;
mod way;

use std::process::ExitCode;

pub use self::cli::{command, settings};

/// Does what the process's arguments say: the whole of the program.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = std::env::args_os();
    // The shim is told apart before anything else is set up: there is one for each task, and it must stay small. So is the
    // leash, which becomes another program.
    match args.nth(1) {
        Some(part) if part == "shim" => return vk_shim::main(args),
        Some(part) if part == "leash" => return tunnel::leash(args),
        Some(_) | None => {}
    }
    cli::main()
}
