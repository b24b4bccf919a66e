//! The pipe, its shims and its client, as processes on a real kernel. This program is all of them: it runs itself as
//! the pipe and as the shim.

// The lints' leave for tests knows `#[test]` functions only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm
)]

mod audit;
mod basics;
mod cgroups;
mod codes;
mod crash;
mod dial;
mod ends;
mod faults;
mod fifo;
mod figures;
mod garbage;
mod hostile;
mod last_words;
mod limits;
mod logs;
mod matrix;
mod mounts;
mod pods;
mod records;
mod restarts;
mod site;
mod small_node;
mod stats;
mod storage;
mod streams;
mod streams_attach;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test: its name, and what it does with a host of its own.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    match args.nth(1).as_ref().and_then(|a| a.to_str()) {
        Some("shim") => return vk_shim::main(args),
        Some("become-root") => return ends::become_root(),
        Some("stream") => return restarts::be_a_stream(args),
        Some("threads") => return limits::be_threads(args),
        Some("node") => return small_node::be_the_node(args),
        Some("listen") => return dial::listen(args),
        Some("pipe") => return support::be_the_pipe(args),
        _ => {}
    }
    let tests = [
        audit::TESTS,
        basics::TESTS,
        cgroups::TESTS,
        codes::TESTS,
        crash::TESTS,
        dial::TESTS,
        ends::TESTS,
        faults::TESTS,
        fifo::TESTS,
        garbage::TESTS,
        hostile::TESTS,
        last_words::TESTS,
        limits::TESTS,
        logs::TESTS,
        matrix::TESTS,
        mounts::TESTS,
        pods::TESTS,
        records::TESTS,
        restarts::TESTS,
        site::TESTS,
        stats::TESTS,
        storage::TESTS,
        streams::TESTS,
        streams_attach::TESTS,
    ]
    .concat();
    let trial = |(name, test): Test| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let long = [figures::TESTS, restarts::LONG_TESTS].concat();
    let long = long.into_iter().map(|test| trial(test).with_ignored_flag(true));
    let trials = tests.into_iter().map(trial).chain(long);
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
