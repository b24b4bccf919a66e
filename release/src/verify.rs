//! Shows that a release comes out the same wherever it is made: made twice, with nothing in common but the commit, the toolchain and the
//! machine. Checkout, target directory, `$HOME`, cargo's directory, umask, time zone and language differ.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use vk_release_core::compare;

use crate::cargo::cargo_home;
use crate::cli::{Names, Verify};
use crate::source::Source;
use crate::{make, run};

/// Where a build differs from the other one.
struct Place {
    /// Of unlike length and depth.
    directory: &'static str,
    umask: &'static str,
    zone: &'static str,
    language: &'static str,
}

const PLACES: [Place; 2] = [
    Place { directory: "one", umask: "022", zone: "UTC", language: "C" },
    Place { directory: "the/other/one", umask: "077", zone: "Pacific/Kiritimati", language: "C.UTF-8" },
];

/// Makes the release twice, and compares.
///
/// # Errors
/// If it cannot be made, or differs.
pub fn run(args: &Verify) -> Result<()> {
    let source = Source::at(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")))?;
    // The commit is what is made; pages are made by this program, so it must be of that commit.
    let edition = source.edition(false)?;
    if let Some(out) = &args.out {
        make::must_be_empty(out)?;
    }
    let parent = args.scratch.clone().unwrap_or_else(|| make::target(&source));
    std::fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let scratch =
        tempfile::Builder::new().prefix("verify-").tempdir_in(parent).context("there is no place to build")?;
    let mut releases = Vec::new();
    for place in &PLACES {
        let begun = Instant::now();
        let directory = scratch.path().join(place.directory);
        println!("building in {}", directory.display());
        releases.push(make_in(&source, &edition.revision, &directory, place, &args.names)?);
        println!("built in {:.0} s", begun.elapsed().as_secs_f64());
    }
    let [one, other] = &releases[..] else { bail!("there are not two releases to compare") };
    let differences = compare::releases(one, other);
    if !differences.is_empty() {
        let kept = scratch.keep();
        bail!("the two differ, and are kept in {}:\n{}", kept.display(), differences.join("\n"));
    }
    println!("{} {}: both are the same, {} files", edition.revision, edition.version, one.len());
    if let Some(out) = &args.out {
        make::write(out, one)?;
        println!("they are in {}", out.display());
    }
    Ok(())
}

/// One of the two, made by this program as a process of its own.
fn make_in(source: &Source, revision: &str, directory: &Path, place: &Place, names: &Names) -> Result<make::Files> {
    let checkout = directory.join("vk-cmd");
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--no-hardlinks", "--no-checkout"]).arg(&source.directory).arg(&checkout);
    run::output(clone)?;
    // Work may go on meanwhile.
    let mut take = Command::new("git");
    take.arg("-C").arg(&checkout).args(["checkout", "--quiet", "--detach", revision]);
    run::output(take)?;
    let home = directory.join("home");
    let cargo = home.join(".cargo");
    share_downloads(&cargo)?;
    let out = directory.join("release");
    let mut made = Command::new("sh");
    made.args(["-c", "umask \"$0\" && exec \"$@\"", place.umask]);
    made.arg(std::env::current_exe().context("cannot find out where this program is")?);
    made.arg("--source").arg(&checkout).arg("--out").arg(&out);
    made.args(["--images", &names.images, "--url", &names.url]);
    made.env("HOME", &home).env("CARGO_HOME", &cargo).env("CARGO_TARGET_DIR", directory.join("target"));
    made.env("RUSTUP_HOME", rustup_home()?).env_remove("RUSTUP_TOOLCHAIN");
    made.env("TZ", place.zone).env("LC_ALL", place.language);
    run::output(made).context("one of the two cannot be made")?;
    let files = make::read_all(&out)?;
    // The room is needed for the other one.
    let target = directory.join("target");
    std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    Ok(files)
}

/// A directory for cargo that has what is downloaded already, and everything else anew: the sources are unpacked there.
fn share_downloads(cargo: &Path) -> Result<()> {
    let usual = cargo_home()?.canonicalize().context("cargo has no directory")?;
    std::fs::create_dir_all(cargo.join("registry")).with_context(|| format!("cannot make {}", cargo.display()))?;
    for shared in ["registry/index", "registry/cache", "config.toml"] {
        if usual.join(shared).exists() {
            let link = cargo.join(shared);
            symlink(usual.join(shared), &link).with_context(|| format!("cannot make {}", link.display()))?;
        }
    }
    Ok(())
}

/// Where rustup keeps toolchains: that of another $HOME would have none.
fn rustup_home() -> Result<PathBuf> {
    let given = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    given.or_else(|| Some(std::env::home_dir()?.join(".rustup"))).context("neither $RUSTUP_HOME nor $HOME is set")
}
