//! `vk-release`: see the library of the same name.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match vk_release::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
