//! How the files that people write for `vk-node` are read: YAML, strictly, with all that is wrong told at once and each
//! thing with its line. Pure.
//!
//! ```text
//!   text ──load──▶ Document ──Reader::map, text, integer …──▶ what the file says
//!                                │
//!                                └──▶ Problems { line, message }
//! ```
//!
//! A file says the version of its words first (`version: 1`). A key that is not known is a mistake, and the nearest one
//! that is known is named.

mod node;
mod quantity;

use std::fmt;

pub use node::{Document, Map, Node, Reader};

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what to write.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// All that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Problems(pub Vec<Problem>);

/// Reads a file whose top is a mapping with these keys and `version`.
///
/// # Errors
/// All that is wrong with it.
pub fn read<T>(
    text: &str,
    version: u64,
    keys: &[&str],
    make: impl FnOnce(&mut Reader, &Map<'_>) -> T,
) -> Result<T, Problems> {
    let document = Document::load(text)?;
    let mut reader = Reader::default();
    let made = reader.map(&document.root(), &[&["version"], keys].concat()).map(|map| {
        reader.version(&map, version);
        make(&mut reader, &map)
    });
    let mut problems = reader.into_problems();
    problems.sort_by_key(|p| p.line);
    match made {
        Some(made) if problems.is_empty() => Ok(made),
        _ => Err(Problems(problems)),
    }
}
