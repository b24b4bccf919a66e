//! cargo: compiles the programs, and tells what they are made of.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use vk_release_core::edition::{Edition, Time};
use vk_release_core::flags::{self, Places};
use vk_release_core::program::Program;
use vk_release_core::sbom::{FORMAT, Known, Linked, Told};

use crate::run;
use crate::source::Source;

/// cargo in a checkout, with nothing of this machine in its environment but what finds it and its crates.
#[derive(Clone, Debug)]
pub struct Cargo {
    source: Source,
    places: Places,
    time: Time,
    /// The target, as rustc calls it.
    host: String,
}

/// What `cargo tree` has written of a program.
#[derive(Clone, Debug)]
pub struct Trees {
    linked: String,
    all: String,
}

impl Trees {
    /// What the bill of materials is made of.
    #[must_use]
    pub fn told(&self) -> Told<'_> {
        Told { linked: &self.linked, all: &self.all }
    }
}

impl Cargo {
    /// cargo for this checkout, which builds in this directory.
    ///
    /// # Errors
    /// If there is no rustc, or a path is no text.
    pub fn new(source: &Source, target: &Path, edition: &Edition) -> Result<Self> {
        let rustc = |arguments: &[&str]| {
            let mut rustc = Command::new("rustc");
            // The checkout says which.
            rustc.current_dir(&source.directory).env_remove("RUSTUP_TOOLCHAIN").args(arguments);
            run::text(rustc)
        };
        let said = rustc(&["--version", "--verbose"])?;
        let field = |name: &str| {
            let found = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            found.map(str::to_owned).with_context(|| format!("`rustc --version --verbose` says no {name}"))
        };
        let places = Places {
            source: absolute(&source.directory)?,
            target: absolute(target)?,
            cargo_home: absolute(&cargo_home()?)?,
            sysroot: rustc(&["--print", "sysroot"])?,
            rustc: field("commit-hash")?,
        };
        Ok(Self { source: source.clone(), places, time: edition.time, host: field("host")? })
    }

    fn command(&self) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.source.directory).env_clear();
        cargo.envs(std::env::vars_os().filter(|(name, _)| flags::is_kept(name))).envs(flags::FIXED);
        cargo.env("SOURCE_DATE_EPOCH", self.time.epoch().to_string());
        cargo.env("CARGO_HOME", &self.places.cargo_home).env("CARGO_TARGET_DIR", &self.places.target);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.places.rustflags()).env("CFLAGS", self.places.cflags());
        cargo.arg("--locked");
        cargo
    }

    /// Compiles a program as a static one, by the alias with the compiler's flags for it.
    ///
    /// # Errors
    /// If that fails.
    pub fn compile(&self, program: Program) -> Result<Vec<u8>> {
        let mut cargo = self.command();
        cargo.arg(program.alias());
        run::output(cargo).with_context(|| format!("cannot build {}", program.name()))?;
        let path = Path::new(&self.places.target).join("release").join(program.name());
        std::fs::read(&path).with_context(|| format!("`cargo {}` has made no {}", program.alias(), path.display()))
    }

    /// What a program is made of.
    ///
    /// # Errors
    /// If cargo does not tell.
    pub fn trees(&self, program: Program) -> Result<Trees> {
        let tree = |edges: &str| {
            let mut cargo = self.command();
            cargo.args(["tree", "--package", program.package(), "--edges", edges, "--target", &self.host]);
            cargo.args(["--prefix", "depth", "--format", FORMAT]);
            run::text(cargo)
        };
        Ok(Trees { linked: tree("normal,no-proc-macro")?, all: tree("normal,build")? })
    }

    /// What is known of all crates, and of what else is linked.
    ///
    /// # Errors
    /// If one of the tools does not tell.
    pub fn known(&self) -> Result<Known> {
        let mut cargo = self.command();
        cargo.args(["metadata", "--format-version", "1", "--filter-platform", &self.host]);
        let metadata = run::output(cargo)?;
        let platform = self.platform()?;
        Ok(Known::new(&metadata, &self.source.text("Cargo.lock")?, platform, self.host.clone())?)
    }

    /// What is in a static program that is no crate.
    fn platform(&self) -> Result<Vec<Linked>> {
        let ask = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.current_dir(&self.source.directory).env_remove("RUSTUP_TOOLCHAIN").args(arguments);
            run::text(command)
        };
        let word = |text: String, at: usize| {
            let word = text.split_whitespace().nth(at).map(str::to_owned);
            word.with_context(|| format!("no version is found in {text:?}"))
        };
        if !self.host.ends_with("-linux-gnu") {
            bail!("releases are built with the C library of GNU, and this is {}", self.host);
        }
        let linked = |name, version, license| Linked { name, version, license };
        Ok(vec![
            linked("rust-std", word(ask("rustc", &["--version"])?, 1)?, "MIT OR Apache-2.0"),
            linked("glibc", word(ask("getconf", &["GNU_LIBC_VERSION"])?, 1)?, "LGPL-2.1-or-later"),
            linked("libgcc", ask("cc", &["-dumpfullversion"])?, "GPL-3.0-or-later WITH GCC-exception-3.1"),
        ])
    }
}

/// cargo's own directory.
///
/// # Errors
/// If there is no $HOME either.
pub fn cargo_home() -> Result<PathBuf> {
    let given = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    given.or_else(|| Some(std::env::home_dir()?.join(".cargo"))).context("neither $CARGO_HOME nor $HOME is set")
}

/// The path without symbolic links, as a compiler sees it. The directory is made if it is not there.
fn absolute(path: &Path) -> Result<String> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    let text = path.into_os_string().into_string();
    let path = text.map_err(|path| anyhow::anyhow!("{} is no text", path.display()))?;
    if path.contains(char::is_whitespace) {
        bail!("{path:?} has a space in it, which compilers of C cannot be told of: make the release elsewhere");
    }
    Ok(path)
}
