//! Terminals of our own making, for tasks and for programs that are run beside them.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, SpecialCodeIndex, Winsize, tcgetattr, tcsetwinsize};
use vk_task::stream::TerminalSize;

/// A terminal's two sides.
#[derive(Debug)]
pub struct Terminal {
    /// Ours: what is written to it is typed, what is read from it is shown. It does not block. Reading it fails with
    /// `EIO` once nobody has the other side.
    pub ours: OwnedFd,
    /// The program's.
    pub theirs: OwnedFd,
}

impl Terminal {
    /// Makes one.
    ///
    /// # Errors
    /// When the host has no `/dev/ptmx`, or no terminal to spare.
    pub fn new() -> io::Result<Self> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&ours)?;
        // By the descriptor and not by a path: /dev/pts may be another one in this mount namespace. grantpt(3) has
        // nothing to do since Linux has devpts.
        let theirs = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok(Self { ours, theirs })
    }
}

/// Gives a terminal this size; the programs at it are told by `SIGWINCH`.
///
/// # Errors
/// When `terminal` is none.
pub fn resize(terminal: impl AsFd, size: TerminalSize) -> io::Result<()> {
    let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

/// What is typed to say that there is no more input; `None` while the program wants every key for itself.
#[must_use]
pub fn end_of_input(terminal: impl AsFd) -> Option<u8> {
    let attributes = tcgetattr(terminal).ok()?;
    attributes.local_modes.contains(LocalModes::ICANON).then(|| attributes.special_codes[SpecialCodeIndex::VEOF])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::{isatty, tcgetwinsize};

    #[test]
    fn a_terminal_is_one() {
        let terminal = Terminal::new().unwrap();
        assert!(isatty(&terminal.theirs));
        resize(&terminal.ours, TerminalSize { width: 100, height: 40 }).unwrap();
        let size = tcgetwinsize(&terminal.theirs).unwrap();
        assert_eq!((size.ws_col, size.ws_row), (100, 40));
        assert_eq!(end_of_input(&terminal.ours), Some(4));
        rustix::io::write(&terminal.ours, b"typed\n").unwrap();
        let mut bytes = [0; 16];
        assert_eq!(rustix::io::read(&terminal.theirs, &mut bytes), Ok(6));
        assert_eq!(end_of_input(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
