//! The manual pages.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use vk_cli_core::args::Cli;

/// Writes a page for the plugin and one for each of its commands.
pub(crate) fn write(directory: &Path) -> Result<u8> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    // Pages are called after commands, and a bin_name has a space.
    let command = Cli::command().bin_name("kubectl-cmdjob");
    clap_mangen::generate_to(command, directory).with_context(|| format!("cannot write to {}", directory.display()))?;
    Ok(0)
}
