//! The pipe, its shims and its client, as processes on a real kernel. This program is all of them: it runs itself as
//! the pipe and as the shim.

mod basics;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test: its name, and what it does with a host of its own.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    match args.nth(1).as_ref().and_then(|a| a.to_str()) {
        Some("shim") => return vk_shim::main(args),
        Some("pipe") => return support::be_the_pipe(args),
        _ => {}
    }
    let tests = [basics::TESTS].concat();
    let trials = tests.into_iter().map(|(name, test): Test| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
