//! The command line.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use vk_release_core::chart::IMAGES;

use crate::{make, verify};

/// Makes a release: programs, images, the chart, the plugin's manifest, bills of materials and checksums.
#[derive(Debug, Parser)]
#[command(name = "cargo make-release", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    make: Make,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the release of the last commit twice, in different places, and compares all files.
    Verify(Verify),
}

/// How a release is made.
#[derive(Debug, Clone, Args)]
pub struct Make {
    /// Where to put the files [default: release-VERSION in cargo's target directory]. It must be empty or not be there.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The checkout to make it of.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."), hide_default_value = true)]
    pub source: PathBuf,
    /// Takes the programs from here instead of compiling them.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Makes one of a checkout that is not as committed: its version ends in -dirty.
    #[arg(long)]
    pub allow_dirty: bool,
    /// What it says of where it is to be had.
    #[command(flatten)]
    pub names: Names,
}

/// What a release says of where it is to be had.
#[derive(Debug, Clone, Args)]
pub struct Names {
    /// Where the images will be pushed to: registry.example.org/me for registry.example.org/me/vk-operator. It is what they are
    /// called when they are loaded, and what the chart asks for.
    #[arg(long, value_name = "NAME", default_value = IMAGES)]
    pub images: String,
    /// The address that the archives will be under, for krew's manifest. Without it the manifest names the file alone, which is
    /// enough for `kubectl krew install --manifest cmdjob.yaml --archive FILE`.
    #[arg(long, value_name = "URL", default_value = "")]
    pub url: String,
}

/// How a release is verified.
#[derive(Debug, Args)]
pub struct Verify {
    /// Where to build: it takes about 2 GB, and is removed at the end [default: in cargo's target directory].
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,
    /// Where to put the files, once both are the same [default: nowhere].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What it says of where it is to be had.
    #[command(flatten)]
    pub names: Names,
}

impl Cli {
    /// Does it.
    ///
    /// # Errors
    /// If there is no release, or not twice the same.
    pub fn run(self) -> Result<()> {
        match self.command {
            None => make::run(&self.make),
            Some(Command::Verify(args)) => verify::run(&args),
        }
    }
}
