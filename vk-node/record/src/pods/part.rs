//! A part of a directory whose contents are not to be trusted: `subPath`.

use std::io;
use std::path::{Path, PathBuf};

use vk_task::FilePath;

/// Where a part of a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// In it, at this path, which held no link when it was looked at.
    Inside(PathBuf),
    /// A link leads out of it.
    Outside,
}

/// Finds `sub` in `source`, as the kubelet does: links are followed, and what they lead to must be in the source. What is
/// not there counts as it is written, beneath what is.
///
/// # Errors
/// When the source is not there, or the kernel does not say.
pub fn part(source: &Path, sub: &FilePath) -> io::Result<Part> {
    let source = source.canonicalize()?;
    let wanted = source.join(sub.as_str());
    for above in wanted.ancestors() {
        match above.canonicalize() {
            Ok(real) => {
                // A link that leads nowhere is there, and may lead somewhere by and by.
                let rest = wanted.strip_prefix(above).unwrap_or(Path::new(""));
                let is_link = rest.iter().next().is_some_and(|name| real.join(name).is_symlink());
                let is_inside = !is_link && real.starts_with(&source);
                // Joining nothing would give the path a slash at its end.
                let path = rest.iter().fold(real, |path, name| path.join(name));
                return Ok(if is_inside { Part::Inside(path) } else { Part::Outside });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Part::Outside)
}
