//! A wall clock that a test can set, for a program that is linked with this: `CLOCK_REALTIME` is ahead of the host's by the
//! number of seconds that is in a file beside the program, [`FILE`], as an `i64` of the machine. Without the file it is the
//! host's. Every other clock is the host's. Whoever writes the file sets the clock of all processes that run that program.
//!
//! A program's own `clock_gettime` takes the place of the C library's for all that is linked into it, the standard library
//! included. Programs that it runs have the host's clock.

#![allow(unsafe_code, reason = "the C library's function is replaced")]

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use nix::libc::{
    CLOCK_REALTIME, MAP_FAILED, MAP_SHARED, PROT_READ, SYS_clock_gettime, clockid_t, mmap, syscall, time_t, timespec,
};

/// The name of the file, which is in the directory of the program.
pub const FILE: &str = "clock-step";

/// Reads a clock, as the C library's function of this name does.
///
/// # Safety
/// `time` must be valid for a write, as for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller's pointer is handed on to the kernel, which writes there what this function is to write.
    let answer = unsafe { syscall(SYS_clock_gettime, clock, time) };
    if answer == 0 && clock == CLOCK_REALTIME {
        // SAFETY: the kernel has just written there.
        unsafe { (*time).tv_sec += step() as time_t };
    }
    // As the C library's: the error is in `errno` already.
    if answer == 0 { 0 } else { -1 }
}

/// By how many seconds the clock is ahead.
fn step() -> i64 {
    static STEP: OnceLock<Option<&'static AtomicI64>> = OnceLock::new();
    STEP.get_or_init(map).map_or(0, |step| step.load(Ordering::Relaxed))
}

/// The file, for as long as the process lives.
fn map() -> Option<&'static AtomicI64> {
    let file = File::open(std::env::current_exe().ok()?.with_file_name(FILE)).ok()?;
    let bytes = std::mem::size_of::<AtomicI64>();
    if file.metadata().ok()?.len() < bytes as u64 {
        return None;
    }
    // SAFETY: a new mapping touches nothing that is there.
    let at = unsafe { mmap(std::ptr::null_mut(), bytes, PROT_READ, MAP_SHARED, file.as_raw_fd(), 0) };
    // SAFETY: the mapping is as long as the value and is never taken back, its address is that of a page and so aligned,
    // each pattern of bits is a value, and the test that writes the file neither shortens it nor writes less than all.
    (at != MAP_FAILED).then(|| unsafe { &*at.cast::<AtomicI64>() })
}
