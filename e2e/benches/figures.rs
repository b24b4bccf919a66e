//! `cargo bench`: see [`vk_cmd_e2e::bench`].

use std::process::ExitCode;

fn main() -> ExitCode {
    vk_cmd_e2e::bench::main()
}
