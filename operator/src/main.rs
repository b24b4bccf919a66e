//! `vk-operator`: see the library of the same name.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    // One thread is enough for what the API server can take, and keeps the memory small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(vk_operator::cli::Cli::parse().run())
}
