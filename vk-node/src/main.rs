//! `vk-node`: see the library of the same name.

#[cfg(feature = "test-clock")]
use vk_test_clock as _;

fn main() -> std::process::ExitCode {
    vk_node::main()
}
