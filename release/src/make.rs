//! Makes a release.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use vk_release_core::edition::Edition;
use vk_release_core::notices::Notice;
use vk_release_core::oci::Image;
use vk_release_core::program::Program;
use vk_release_core::sbom::{Known, Licensed, Told};
use vk_release_core::{chart, krew, layout, notices, sums};

use crate::cargo::Cargo;
use crate::cli::{Make, Names};
use crate::pages;
use crate::source::Source;

/// Files by their names.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Makes a release, and says what is in it.
///
/// # Errors
/// If it cannot be made.
pub fn run(args: &Make) -> Result<()> {
    let source = Source::at(&args.source)?;
    let edition = source.edition(args.allow_dirty)?;
    let target = target(&source);
    let out = args.out.clone().unwrap_or_else(|| target.join(format!("release-{}", edition.version)));
    // Before anything takes its time.
    must_be_empty(&out)?;
    let cargo = Cargo::new(&source, &target, &edition)?;
    let begun = Instant::now();
    let programs: BTreeMap<Program, Vec<u8>> = match &args.programs {
        Some(given) => {
            Program::ALL.into_iter().map(|program| Ok((program, read(&given.join(program.name()))?))).collect()
        }
        None => Program::ALL.into_iter().map(|program| Ok((program, cargo.compile(program)?))).collect::<Result<_>>(),
    }?;
    let compiled = begun.elapsed();
    let files = files(&source, &cargo, &edition, &programs, &args.names)?;
    if source.edition(args.allow_dirty)? != edition {
        bail!("the checkout has changed while the release was made of it: make it again");
    }
    write(&out, &files)?;
    println!("{} {} in {}:", edition.revision, edition.time, out.display());
    for (name, bytes) in &files {
        println!("{:>10}  {name}", bytes.len());
    }
    let packed = begun.elapsed() - compiled;
    println!("{:.0} s to compile, {:.1} s to pack", compiled.as_secs_f64(), packed.as_secs_f64());
    Ok(())
}

/// All files of a release.
fn files(
    source: &Source,
    cargo: &Cargo,
    edition: &Edition,
    programs: &BTreeMap<Program, Vec<u8>>,
    names: &Names,
) -> Result<Files> {
    let mut files = Files::new();
    let license = source.bytes("LICENSE")?;
    let known = cargo.known()?;
    for (program, bytes) in programs {
        let (program, bytes) = (*program, bytes.clone());
        let trees = cargo.trees(program)?;
        files.insert(edition.sbom(program), known.sbom(program, &bytes, trees.told(), edition)?);
        if program.has_image() {
            let image = Image::parse(program, &source.containerfile(program)?)?;
            let name = format!("{}/{}:{}", names.images, program.name(), edition.version);
            files.insert(edition.image(program), image.archive(bytes.clone(), &name, edition)?);
        }
        let notices = notices::of(program, &notices(&known, trees.told())?);
        let archive = layout::archive(program, bytes, pages::of(program)?, license.clone(), notices);
        let packed = archive.tar_gz(edition.time).context("cannot pack a program")?;
        files.insert(edition.archive(program), packed);
    }
    files.insert(edition.chart(), chart::package(source.tracked("charts/vk-cmd")?, &names.images, edition)?);
    let plugin = edition.archive(Program::Plugin);
    let archive = krew::Archive {
        architecture: edition.architecture,
        sha256: sums::sha256(files.get(&plugin).context("the plugin is not part of the release")?),
        uri: address(&names.url, &plugin),
    };
    let manifest = krew::manifest(&source.text("cli/krew/cmdjob.yaml.in")?, &edition.version, &[archive])?;
    files.insert(krew::FILE.to_owned(), manifest.into_bytes());
    files.insert("LICENSE".to_owned(), license);
    files.insert(sums::FILE.to_owned(), sums::of(&files).into_bytes());
    Ok(files)
}

/// What the crates that are linked say of their licenses, from where cargo has put them.
fn notices(known: &Known, told: Told<'_>) -> Result<Vec<Notice>> {
    let mut found = Vec::new();
    for Licensed { package, license, manifest } in known.linked(told)? {
        let mut texts = Vec::new();
        if let Some(directory) = manifest.and_then(|manifest| Path::new(manifest).parent()) {
            let files = read_some(directory, notices::is_notice)?;
            texts = files.into_values().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
        }
        found.push(Notice { package, license, texts });
    }
    Ok(found)
}

fn address(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", prefix.trim_end_matches('/')) }
}

/// Where cargo builds.
#[must_use]
pub fn target(source: &Source) -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    given.unwrap_or_else(|| source.directory.join("target"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a release.
///
/// # Errors
/// If one of its files cannot be read.
pub fn read_all(directory: &Path) -> Result<Files> {
    read_some(directory, |_| true)
}

/// The files of a directory, not of those in it, whose names are wanted.
fn read_some(directory: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Files> {
    let cannot = || format!("cannot read {}", directory.display());
    let mut files = Files::new();
    for entry in std::fs::read_dir(directory).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_wanted(&name) && entry.file_type().with_context(cannot)?.is_file() {
            files.insert(name, read(&entry.path())?);
        }
    }
    Ok(files)
}

/// A release is whole, and nothing else is beside it.
///
/// # Errors
/// If something is there.
pub fn must_be_empty(directory: &Path) -> Result<()> {
    if std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty: remove it, or name another directory with --out", directory.display());
    }
    Ok(())
}

/// Writes a release: under another name first, so that what is there is whole.
///
/// # Errors
/// If it cannot be written.
pub fn write(directory: &Path, files: &Files) -> Result<()> {
    let parent = directory.parent().context("--out must be a directory that can be made")?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let partial = tempfile::Builder::new().prefix(".release-").tempdir_in(parent);
    let partial = partial.with_context(|| format!("cannot make a directory in {}", parent.display()))?;
    let inside = partial.path().join("release");
    std::fs::create_dir(&inside).with_context(|| format!("cannot make {}", inside.display()))?;
    for (name, bytes) in files {
        let path = inside.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    // An empty directory gives way.
    std::fs::rename(&inside, directory).with_context(|| format!("cannot put the release into {}", directory.display()))
}
