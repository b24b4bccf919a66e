//! The checkout: what it says of itself, and what of it goes into a release as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use vk_release_core::edition::{Architecture, Edition, Time, Version};
use vk_release_core::program::Program;

use crate::run;

/// By which a release's time can be given: <https://reproducible-builds.org/specs/source-date-epoch/>.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A checkout with git.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is, without symbolic links in the path: as a compiler sees it.
    pub directory: PathBuf,
}

impl Source {
    /// The checkout in this directory.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn at(directory: &Path) -> Result<Self> {
        let directory = directory.canonicalize();
        Ok(Self { directory: directory.context("the checkout to make a release of is not there")? })
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.arg("-C").arg(&self.directory).args(arguments);
        run::text(git).context("a release is made of a checkout with git")
    }

    /// Which release this checkout is.
    ///
    /// # Errors
    /// If it is not as committed and `allow_dirty` is not set, or git does not tell.
    pub fn edition(&self, allow_dirty: bool) -> Result<Edition> {
        let changed = self.git(&["status", "--porcelain"])?;
        if !changed.is_empty() && !allow_dirty {
            bail!(
                "the checkout {} is not as committed, so nobody could make this release again:\n{changed}\n\
                 Commit, or use --allow-dirty for a release that says -dirty",
                self.directory.display()
            );
        }
        let time = match std::env::var(EPOCH) {
            Ok(given) => given.parse().with_context(|| format!("{EPOCH} is no number of seconds: {given:?}"))?,
            Err(_) => self.git(&["log", "-1", "--format=%ct"])?.parse().context("git tells no time of the commit")?,
        };
        let architecture = Architecture::of_rust(std::env::consts::ARCH);
        Ok(Edition {
            version: Version::new(self.version()?, !changed.is_empty()),
            architecture: architecture.with_context(|| format!("no release is made on {}", std::env::consts::ARCH))?,
            revision: self.git(&["rev-parse", "HEAD"])?,
            time: Time::of_epoch(time),
        })
    }

    /// The version of the workspace, of which all packages are: this one's too, if it is of this checkout.
    fn version(&self) -> Result<String> {
        let manifest = self.text("Cargo.toml")?;
        let in_package = manifest.split("[workspace.package]").nth(1).unwrap_or_default();
        let line = in_package.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
        line.map(str::to_owned).context("Cargo.toml says no version in [workspace.package]")
    }

    /// A file of the checkout.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.directory.join(path);
        std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// The same as text.
    ///
    /// # Errors
    /// If it cannot be read, or is no text.
    pub fn text(&self, path: &str) -> Result<String> {
        String::from_utf8(self.bytes(path)?).with_context(|| format!("{path} is no text"))
    }

    /// The files of a directory that git knows, by their paths in it.
    ///
    /// # Errors
    /// If git does not tell, or one cannot be read.
    pub fn tracked(&self, directory: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        let listed = self.git(&["ls-files", "-z", "--", directory])?;
        let paths = listed.split('\0').filter(|path| !path.is_empty());
        let within = paths.filter_map(|path| Some((path, path.strip_prefix(directory)?.strip_prefix('/')?)));
        // One that has been removed since is none of a release that is dirty anyway.
        let there = within.filter(|(path, _)| self.directory.join(path).is_file());
        there.map(|(path, name)| Ok((name.to_owned(), self.bytes(path)?))).collect()
    }

    /// The Containerfile of a program's image.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn containerfile(&self, program: Program) -> Result<String> {
        self.text(&format!("images/{}/Containerfile", program.name()))
    }
}
