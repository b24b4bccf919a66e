//! A machine of a reader: a fresh `$HOME`, the project's programs on PATH, and a shell at a terminal.
//!
//! Each command is run by a bash of its own, which begins where the one before has ended: in its directory, with what it has
//! exported. So a command that hangs is ended alone, and what it has left behind (`vk-node pipe &`) goes on.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::control_plane::ControlPlane;
use crate::janitor::{self, SITE_VARIABLE};
use crate::process::{self, Process};
use crate::scratch::{Scratch, write_private};
use crate::{binaries, packages};

/// The terminal: wide, so that nothing is cut that a page does not cut, and so long that nothing leaves it.
const SIZE: (u16, u16) = (500, 220);
/// What the shell writes when a command has ended: a control sequence of nobody, with its exit code.
const END: &str = "\u{1b}_vk-end-";
/// What goes on is told to end, and then waited for.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A machine. Dropping it ends what runs there.
#[derive(Debug)]
pub struct Machine {
    going: Vec<Process>,
    scratch: Scratch,
}

/// What a command has done.
#[derive(Debug)]
pub struct Done {
    /// Its exit code.
    pub code: i32,
    /// What the terminal shows of its output in the end.
    pub shown: String,
}

impl Machine {
    /// One with the user's kubeconfig for this namespace of the cluster.
    ///
    /// # Errors
    /// What could not be made.
    pub async fn new(plane: &ControlPlane, namespace: &str) -> Result<Self> {
        // A short name: the path of the pipe's socket may have 107 bytes and no more.
        let this = Self { going: Vec::new(), scratch: Scratch::new("vk-doc-")? };
        for directory in [this.home(), this.bin(), this.home().join(".kube"), this.home().join("bin")] {
            std::fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        janitor::end_processes_at_exit(&this.home())?;
        let programs = binaries::built().await?;
        let (plugin, cluster) = (binaries::plugin().await?, plane.cluster());
        this.has_program("vk-node", &programs.node)?;
        this.has_program("vk-operator", &programs.operator)?;
        this.has_program("kubectl", cluster.kubectl_path())?;
        this.has_program("helm", cluster.helm_path())?;
        this.has_program("kubectl-cmdjob", plugin)?;
        this.has_program("kubectl_complete-cmdjob", plugin)?;
        let config =
            std::fs::read_to_string(plane.kubeconfig()).context("cannot read the administrator's kubeconfig")?;
        write_private(&this.home().join(".kube/config"), &config)?;
        // What the variables of the original say: any port, and an address that the control plane reaches.
        let state = "export KUBELET_PORT=0 VKUBELET_POD_IP=127.0.0.1\n";
        write_private(&this.state(), &format!("unset BASH_ENV\n{state}cd {}\n", this.home().display()))?;
        this.must(&format!("kubectl config set-context --current --namespace {namespace}")).await?;
        Ok(this)
    }

    /// The reader's home, where the commands begin.
    pub fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    /// The pipe's directory.
    pub fn hostpipe(&self) -> PathBuf {
        self.home().join("hostpipe")
    }

    /// Leaves all there for good.
    pub fn keep(&self) {
        self.scratch.keep();
    }

    fn bin(&self) -> PathBuf {
        self.scratch.path().join("bin")
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// A program on PATH.
    ///
    /// # Errors
    /// If it cannot be put there.
    pub fn has_program(&self, name: &str, program: &Path) -> Result<()> {
        let _ = std::fs::remove_file(self.bin().join(name));
        std::os::unix::fs::symlink(program, self.bin().join(name)).with_context(|| format!("cannot link {name}"))
    }

    /// A script on PATH.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn has_script(&self, name: &str, text: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.bin().join(name);
        let _ = std::fs::remove_file(&path);
        // Renamed into place by nobody: what another thread starts meanwhile must not hold it open for writing.
        let mut write = Command::new("tee");
        write.arg(&path).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = process::spawn(write).context("cannot run tee")?;
        std::io::Write::write_all(&mut child.stdin.take().context("no pipe to tee")?, text.as_bytes())?;
        child.wait()?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).with_context(|| format!("no {name}"))
    }

    /// A file below the home, which only the user can read.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn has_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.home().join(name);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        write_private(&path, text)
    }

    /// A copy of a file, below the home.
    ///
    /// # Errors
    /// If it cannot be copied.
    pub fn has_copy(&self, name: &str, of: &Path) -> Result<()> {
        let text = std::fs::read_to_string(of).with_context(|| format!("cannot read {}", of.display()))?;
        self.has_file(name, &text)
    }

    /// A directory or file of the repository, by a link in the home.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn has_of_repository(&self, name: &str) -> Result<()> {
        let path = super::repository().join(name).canonicalize().with_context(|| format!("there is no {name}"))?;
        std::os::unix::fs::symlink(path, self.home().join(name)).with_context(|| format!("cannot link {name}"))
    }

    /// A variable that the shell exports from now on.
    ///
    /// # Errors
    /// If the state cannot be written.
    pub fn exports(&self, name: &str, value: &str) -> Result<()> {
        let state = std::fs::read_to_string(self.state()).context("no state")?;
        let value = value.replace('\'', r"'\''");
        write_private(&self.state(), &format!("{state}export {name}='{value}'\n"))
    }

    /// A bash that begins where the last one has ended.
    fn bash(&self) -> Command {
        const INHERITED: [&str; 4] = ["USER", "LOGNAME", "SHELL", "TZ"];
        let mut bash = Command::new(packages::find("bash").unwrap_or_else(|| "bash".into()));
        bash.env_clear().current_dir(self.home());
        bash.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        let usual = std::env::var("PATH").unwrap_or_default();
        bash.env("PATH", format!("{}:{}:{usual}", self.home().join("bin").display(), self.bin().display()));
        bash.env("HOME", self.home()).env(SITE_VARIABLE, self.home()).env("BASH_ENV", self.state());
        bash.env("LANG", "C.UTF-8").env("TERM", "xterm");
        bash
    }

    /// Runs a command to its end. It is ended after `limit`.
    ///
    /// # Errors
    /// If it cannot be run, or does not end.
    pub async fn run(&self, text: &str, limit: Duration) -> Result<Done> {
        let script = tempfile::Builder::new().prefix("command-").tempfile_in(self.scratch.path())?;
        let state = self.state();
        let state = state.display();
        let whole = format!(
            "{text}\n__code=$?\n{{ echo unset BASH_ENV; export -p; printf 'cd %q\\n' \"$PWD\"; }} > {state}\n\
             printf '\\033_vk-end-%s\\033\\\\' \"$__code\"\n"
        );
        std::fs::write(script.path(), whole).context("cannot write the command")?;
        let (ours, theirs) = terminal().context("cannot make a terminal")?;
        let mut bash = self.bash();
        let side = || theirs.try_clone().map(Stdio::from);
        bash.arg(script.path()).stdin(Stdio::null()).stdout(side()?).stderr(side()?);
        let mut child = process::spawn(bash).with_context(|| format!("cannot start bash for `{text}`"))?;
        drop(theirs);
        let pieces = reader(ours)?;
        let command = text.to_owned();
        let waited = tokio::task::spawn_blocking(move || {
            let read = read_to_end(&pieces, limit);
            if read.is_err() {
                let _ = child.kill();
            }
            let _ = child.wait();
            read
        });
        let bytes = waited.await?.with_context(|| format!("`{command}`"))?;
        let read = String::from_utf8_lossy(&bytes);
        let (output, code) =
            read.split_once(END).with_context(|| format!("`{command}` has ended the shell: {read}"))?;
        let code: String = code.chars().take_while(char::is_ascii_digit).collect();
        Ok(Done { code: code.parse().with_context(|| format!("no exit code of `{command}`"))?, shown: screen(output) })
    }

    /// The same of what must succeed; what is shown.
    ///
    /// # Errors
    /// If it does not succeed.
    pub async fn must(&self, text: &str) -> Result<String> {
        let done = self.run(text, Duration::from_secs(120)).await?;
        if done.code != 0 {
            bail!("`{text}` has ended with {}: {}", done.code, done.shown);
        }
        Ok(done.shown)
    }

    /// Starts what goes on until it is told to end. What it says is in the log that is returned.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&mut self, text: &str) -> Result<PathBuf> {
        let log = self.scratch.path().join(format!("{}.log", self.going.len()));
        let mut bash = self.bash();
        // With nothing after it: bash becomes the program, which so gets the signals.
        bash.arg("-c").arg(text.trim_end().trim_end_matches('&'));
        self.going.push(Process::start(text, bash, &log)?);
        Ok(log)
    }

    /// Fails, with the end of its log, if what was started last has ended.
    ///
    /// # Errors
    /// If it has.
    pub fn must_be_running(&mut self) -> Result<()> {
        self.going.last_mut().context("nothing was started")?.must_be_running()
    }

    /// Whether something that was started goes on.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn is_running(&mut self) -> Result<bool> {
        self.going.last_mut().map_or(Ok(false), |last| Ok(last.exited()?.is_none()))
    }

    /// Tells all that goes on to end, and waits.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&mut self) -> Result<()> {
        for process in &mut self.going {
            stop_group(process)?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.going.clear();
        // What cannot be ended now is ended at exit.
        let _ = process::kill_by_environment(&janitor::marks(&self.home()));
    }
}

/// Tells all of a pipe to end that bash has started, and waits for them: `echo … | vk-node join --run`.
fn stop_group(process: &mut Process) -> Result<()> {
    let Some(group) = i32::try_from(process.pid()).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let begun = Instant::now();
    // What has ended needs no signal.
    let _ = kill_process_group(group, Signal::TERM);
    loop {
        // Bash itself is there until we have asked after it.
        let is_over = process.exited()?.is_some();
        if is_over && test_kill_process_group(group).is_err() {
            return Ok(());
        }
        if begun.elapsed() > STOP_LIMIT {
            bail!("`{}` does not end: {}", process.name(), process.log_tail(20));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn terminal() -> Result<(File, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    let (rows, columns) = SIZE;
    tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((File::from(ours), theirs))
}

/// What comes from the terminal, in pieces. It ends with the last program that has the terminal, which may be long after us.
fn reader(mut ours: File) -> Result<Receiver<Vec<u8>>> {
    let (pieces, receiver) = channel();
    let read = move || {
        let mut piece = [0; 4096];
        while let Ok(read) = ours.read(&mut piece) {
            let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { return };
            // Nobody listens any more: what goes on at this terminal must not be kept from writing.
            let _ = pieces.send(read.to_vec());
        }
    };
    std::thread::Builder::new().name("reader".into()).spawn(read).context("cannot read the terminal")?;
    Ok(receiver)
}

/// All up to the end of the command.
fn read_to_end(pieces: &Receiver<Vec<u8>>, limit: Duration) -> Result<Vec<u8>> {
    let (begun, mut bytes) = (Instant::now(), Vec::new());
    let is_over = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.rsplit_once(END).is_some_and(|(_, rest)| rest.contains('\u{1b}'))
    };
    while !is_over(&bytes) {
        match pieces.recv_timeout(limit.saturating_sub(begun.elapsed())) {
            Ok(piece) => bytes.extend(piece),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("did not end within {limit:.0?}; it has said: {}", String::from_utf8_lossy(&bytes))
            }
        }
    }
    Ok(bytes)
}

/// What a terminal shows in the end: without colours, and without what was wiped away.
fn screen(bytes: &str) -> String {
    let (rows, columns) = SIZE;
    let mut parser = vt100::Parser::new(rows, columns, 0);
    parser.process(bytes.as_bytes());
    // A line that is longer than the terminal is wide is one line.
    parser.screen().contents().trim_end().to_owned()
}
