//! The signals of the shim: all that it can get wait in a descriptor, none interrupts it, none ends it but `SIGKILL`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::ShimError;

/// The signal by which the pipe says "look at `stop.json` again". It is one that does nothing to a process that has not
/// asked for it: a shim that is only being born must not be ended by it. Such a shim reads `stop.json` after it has
/// asked for the signal, so nothing is missed.
pub const DOORBELL: rustix::process::Signal = rustix::process::Signal::URG;

/// Blocks all signals and opens a descriptor of those that mean something.
///
/// `SIGTERM`, `SIGINT` and `SIGHUP` mean nothing: they come when the host goes down or a session ends, the task gets
/// them too, and the shim is there to write down what it makes of them.
pub(crate) fn take() -> Result<SignalFd, ShimError> {
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(ShimError::system("block signals"))?;
    // A child is only reported when its signal is not ignored, and whoever started the shim may have ignored it.
    set_default(libc::SIGCHLD);
    let wanted = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGURG]);
    SignalFd::with_flags(&wanted, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(ShimError::system("open a descriptor of signals"))
}

/// Takes all signals that wait; says whether the doorbell was among them.
pub(crate) fn drain(signals: &SignalFd) -> bool {
    let mut rung = false;
    while let Ok(Some(info)) = signals.read_signal() {
        rung |= i32::try_from(info.ssi_signo) == Ok(DOORBELL.as_raw());
    }
    rung
}

/// Sends a process a signal, by its number: rustix knows them by name only,
/// and neither those for programs nor those that the C library keeps to itself.
#[allow(unsafe_code)]
pub(crate) fn send(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the call takes a descriptor, which is open, a number, a pointer that may be null, and no flags.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0_u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling process, about to be another program, the signals of a fresh one: all with their default effect,
/// none blocked. Whoever started the pipe may have ignored some, as nohup(1) does, and that would be inherited.
pub(crate) fn reset() {
    for signal in 1..=libc::SIGRTMAX() {
        set_default(signal);
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// Gives a signal its default effect. It fails for `SIGKILL` and `SIGSTOP`, which never have another. The kernel is asked
/// itself, for the C library keeps two signals (32 and 33) to itself, and its posix_spawn(3) leaves them ignored.
#[allow(unsafe_code)]
fn set_default(signal: i32) {
    // No handler, no flags, an empty mask, whatever the machine's order of them; and the size of a mask of 64 signals.
    let (action, mask_bytes) = ([0_u64; 8], 8_usize);
    // SAFETY: the kernel reads its `struct sigaction`, which is no longer than `action`, and writes nothing. No handler is
    // installed, so none can do anything unsound; no handler of this process is lost, as it has none but those of Rust's
    // runtime, for which the default effect is as good in a process this small.
    let _ = unsafe {
        libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), std::ptr::null_mut::<u64>(), mask_bytes)
    };
}
