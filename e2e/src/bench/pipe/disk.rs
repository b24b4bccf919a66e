//! What the disk takes: records as the pipe writes them, and nothing else.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes the record `name` in `directory` as vk-record does: write, fsync, rename, fsync of the directory.
pub(super) fn write_record(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let temporary = directory.join(format!(".{name}"));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, directory.join(name))?;
        File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("cannot write a record in {}", directory.display()))
}
