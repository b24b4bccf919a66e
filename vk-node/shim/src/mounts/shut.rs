//! A root that is read-only, but for some places.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::act::{attach_over, clone_of, close_tree};
use super::said;

/// What a container can write to besides its volumes: what is the kernel's own, and shared memory.
const AS_IN_CONTAINERS: [&str; 3] = ["/proc", "/dev/shm", "/dev/mqueue"];

/// Makes all read-only but these places. What is there to be written to is taken as it is now, and laid over itself when all
/// is shut: its mount is another one then. What the host mounts later comes in as it is there.
pub(super) fn all<'a>(but: impl Iterator<Item = &'a PathBuf>) -> Result<(), String> {
    let mut open = Vec::new();
    for place in outermost(but.map(PathBuf::as_path).chain(AS_IN_CONTAINERS.map(Path::new))) {
        let fd = match rustix::fs::openat(CWD, place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => fd,
            // There is no such place on this host, or not for this user.
            Err(Errno::NOENT | Errno::ACCESS) => continue,
            Err(e) => return Err(said(&format!("cannot open {}", place.display()), e)),
        };
        let tree = clone_of(&fd, c"").map_err(|e| said(&format!("cannot keep {} open", place.display()), e))?;
        open.push((place, fd, tree));
    }
    close_tree(Path::new("/")).map_err(|e| match e {
        Errno::NOSYS => "the root cannot be made read-only: the kernel is older than 5.12".to_owned(),
        e => said("the root cannot be made read-only", e),
    })?;
    for (place, fd, tree) in open {
        attach_over(&tree, &fd).map_err(|e| said(&format!("cannot keep {} open", place.display()), e))?;
    }
    Ok(())
}

/// Those that are in none of the others, which show with those.
fn outermost<'a>(all: impl Iterator<Item = &'a Path>) -> Vec<&'a Path> {
    let all: BTreeSet<&Path> = all.collect();
    let is_in_another = |place: &&Path| place.ancestors().skip(1).any(|above| all.contains(above));
    all.iter().copied().filter(|place| !is_in_another(place)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_another_place_shows_with_that() {
        let all = ["/a/b/c", "/a", "/ab", "/d/e", "/d/f", "/a/b"].map(Path::new);
        assert_eq!(outermost(all.into_iter()), ["/a", "/ab", "/d/e", "/d/f"].map(Path::new));
    }
}
