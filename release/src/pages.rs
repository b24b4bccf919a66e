//! Manual pages and completions, made of the programs' command lines. The programs themselves hold nothing for it.

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::aot;
use vk_release_core::layout::{Pages, Shell};
use vk_release_core::program::Program;

/// The command line of a program.
fn command(program: Program) -> clap::Command {
    let command = match program {
        Program::Node => vk_node::command(),
        Program::Operator => vk_operator::cli::Cli::command(),
        Program::Plugin => vk_cli_core::args::Cli::command(),
    };
    // That of the plugin has a space, by which no page is called.
    command.bin_name(program.name())
}

/// The pages of a program.
///
/// # Errors
/// If there is no room for the pages in the directory for temporary files.
pub fn of(program: Program) -> Result<Pages> {
    let directory = tempfile::tempdir().context("there is no place for manual pages")?;
    clap_mangen::generate_to(command(program), directory.path()).context("cannot write manual pages")?;
    let mut pages = Pages::default();
    for entry in std::fs::read_dir(directory.path()).context("cannot read what manual pages there are")? {
        let path = entry.context("cannot read what manual pages there are")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        pages.manual.insert(name, std::fs::read(&path).context("cannot read a manual page")?);
    }
    for shell in Shell::ALL {
        let generator = match shell {
            Shell::Bash => aot::Shell::Bash,
            Shell::Zsh => aot::Shell::Zsh,
            Shell::Fish => aot::Shell::Fish,
        };
        let mut script = Vec::new();
        aot::generate(generator, &mut command(program), program.name(), &mut script);
        pages.completions.insert(shell, script);
    }
    Ok(pages)
}
