//! The documentation, read as its readers do: its commands with what it shows of their output, its files, its links.
//!
//! - [`mod@page`] reads a page
//! - [`shown`] compares what a page shows with what came
//! - [`machine`] is where commands are typed: a shell at a terminal, in a home of its own

#[cfg(test)]
mod links;
pub mod machine;
pub mod page;
pub mod shown;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use machine::Machine;
pub use page::{Command, Page};

/// Where pages are: files, and directories with all that is in them.
const PLACES: [&str; 5] = ["README.md", "docs", "charts", "cli", "images"];

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All pages of the project, in the order of their paths.
///
/// # Errors
/// What cannot be read.
pub fn all() -> Result<Vec<Page>> {
    let root = repository();
    let mut paths = Vec::new();
    for place in PLACES {
        collect(&root.join(place), &mut paths)?;
    }
    paths.sort();
    paths.iter().map(|path| read(&root, path)).collect()
}

/// One page, by its path in the repository.
///
/// # Errors
/// If it cannot be read.
pub fn page(path: &str) -> Result<Page> {
    let root = repository();
    read(&root, &root.join(path))
}

fn read(root: &Path, path: &Path) -> Result<Page> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    Ok(Page::parse(&name, &text))
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
        for entry in entries {
            collect(&entry?.path(), into)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "md") {
        into.push(path.to_owned());
    }
    Ok(())
}
