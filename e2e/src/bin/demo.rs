//! `cargo demo`: see [`vk_cmd_e2e::demo`].

use std::process::ExitCode;

fn main() -> ExitCode {
    vk_cmd_e2e::demo::main()
}
