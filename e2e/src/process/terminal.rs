//! A terminal at which a program runs as if a person had started it there.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use super::{Process, spawn};

/// A terminal, from the person's side.
#[derive(Debug)]
pub struct Terminal(File);

impl Terminal {
    /// Types this, and the key for the end of a line.
    pub fn types(&self, line: &str) -> Result<()> {
        (&self.0).write_all(format!("{line}\n").as_bytes()).context("cannot type at the terminal")
    }
}

impl Process {
    /// Starts `command` at a terminal of its own, in its foreground. What is shown there is appended to the file `log`.
    ///
    /// The command is to be one of setsid(1) with `--ctty`, which makes a terminal that of the program that it becomes.
    pub fn start_at_terminal(
        name: impl Into<String>,
        mut command: Command,
        log: impl AsRef<Path>,
    ) -> Result<(Self, Terminal)> {
        let (name, log) = (name.into(), log.as_ref());
        let (ours, theirs) = terminal().context("cannot make a terminal")?;
        let shown = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let mut shown = shown.with_context(|| format!("cannot open the log file {} for {name}", log.display()))?;
        let side = || theirs.try_clone().map(Stdio::from).context("cannot share the terminal");
        command.stdin(side()?).stdout(side()?).stderr(side()?);
        drop(theirs);
        let program = Path::new(command.get_program()).display().to_string();
        let child = spawn(command).with_context(|| format!("cannot start {name} ({program})"))?;
        let mut screen = ours.try_clone().context("cannot share the terminal")?;
        let reader = std::thread::Builder::new().name("terminal".into());
        // It ends with the last program that has the terminal: reading fails then.
        let read = move || {
            let mut piece = [0; 4096];
            while let Ok(read) = screen.read(&mut piece) {
                let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { return };
                if shown.write_all(read).is_err() {
                    return;
                }
            }
        };
        reader.spawn(read).context("cannot look at the terminal")?;
        Ok((Self { name, log: log.to_owned(), child, ended: None }, Terminal(ours)))
    }
}

/// The person's side, and the program's.
fn terminal() -> std::io::Result<(File, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    Ok((File::from(ours), theirs))
}
