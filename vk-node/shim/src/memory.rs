//! Keeping a process small: once it only waits, it unmaps the pages of its own program that starting up has touched.
//!
//! They stay in the kernel's page cache, once for all processes, and those few that are needed come back by themselves. But
//! as long as they are mapped each process is charged for all of them: batch systems add up the resident size of all
//! processes of a job, shared or not, and end the job when the sum is too high.

use std::fs;

use nix::libc;

/// Unmaps the pages of this process that hold what is in a program's file, unchanged.
#[allow(unsafe_code)]
pub fn forget_program() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (begin, end) in maps.lines().filter_map(program_range) {
        // SAFETY: the range is, by `program_range`, a private mapping of a file that this process may not write to, and
        // never could: it holds the file's own bytes, and the next access finds the same bytes again.
        let _ = unsafe { libc::madvise(begin as *mut libc::c_void, end - begin, libc::MADV_DONTNEED) };
    }
}

/// The range that a line of `/proc/self/maps` is about, if it holds a program's code, or the constants before it: see
/// proc_pid_maps(5). Constants that come later in the file are left alone, for there the dynamic loader has written
/// addresses before it took the right to write away.
fn program_range(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, offset, _device, inode) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_start = offset.bytes().all(|b| b == b'0');
    let unchanged = rights == "r-xp" || (rights == "r--p" && is_start);
    if !unchanged || inode == "0" {
        return None;
    }
    let (begin, end) = range.split_once('-')?;
    let (begin, end) = (usize::from_str_radix(begin, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    (begin < end).then_some((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_have_been_written_to_is_unmapped() {
        let program = |line| program_range(line);
        assert_eq!(program("1000-3000 r--p 00000000 fe:00 123 /bin/x"), Some((0x1000, 0x3000)));
        assert_eq!(program("3000-4000 r-xp 00002000 fe:00 123 /bin/x"), Some((0x3000, 0x4000)));
        for other in [
            "4000-5000 r--p 00003000 fe:00 123 /bin/x",
            "5000-6000 rw-p 00004000 fe:00 123 /bin/x",
            "3000-4000 rwxp 00002000 fe:00 123 /bin/x",
            "6000-7000 rw-p 00000000 00:00 0 [heap]",
            "7000-8000 r-xp 00000000 00:00 0 [vdso]",
            "8000-9000 r--s 00000000 fe:00 124 /shared",
            "garbage",
            "",
        ] {
            assert_eq!(program(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_goes_on_after_it() {
        forget_program();
        assert_eq!("12".parse::<i32>(), Ok(12));
    }
}
