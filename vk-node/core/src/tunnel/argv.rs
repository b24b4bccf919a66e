//! The command lines of ssh.
//!
//! Of an option that is given twice, ssh takes the first. So what must be as it is stands before the user's own options, and
//! what is only a default stands behind them. Nothing here needs a newer OpenSSH than 6.7.

use std::ffi::OsString;
use std::path::Path;

use super::address::{Bind, bracketed};
use super::forward::Forward;
use crate::config::TunnelConfig;

/// The longest path of a Unix socket, in bytes, and what ssh adds to that of its control socket while it makes it.
const LONGEST_SOCKET: usize = 107;
const CONTROL_EXTRA: usize = 17;

/// A name for those who are only asked by their socket.
const NOBODY: &str = "vk-node";

/// Whether ssh may ask somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Nobody is there: what it would have to ask for is refused at once.
    Nobody,
    /// Somebody is: at the terminal, or by the program of `SSH_ASKPASS`.
    Somebody,
}

impl Asking {
    /// Who is there: somebody at the terminal in whose foreground we are, or a program that asks somebody elsewhere.
    #[must_use]
    pub fn by(at_terminal: bool, askpass: Option<&str>) -> Self {
        if at_terminal || askpass.is_some_and(|program| !program.is_empty()) { Self::Somebody } else { Self::Nobody }
    }
}

/// ssh that connects, and then takes orders at the socket `control` until it ends.
#[must_use]
pub fn connect(config: &TunnelConfig, control: &Path, asking: Asking) -> Vec<OsString> {
    let mut argv = Argv::of(config);
    argv.words(["-N", "-T", "-a", "-x"]);
    argv.option(match asking {
        Asking::Nobody => "BatchMode=yes",
        Asking::Somebody => "BatchMode=no",
    });
    argv.words(["-S"]).word(control);
    for option in [
        "ControlMaster=yes",
        // It is to end with us, and not to stay behind in the background.
        "ControlPersist=no",
        // Those of the user's own config: for the user, who may have them open already.
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "StreamLocalBindMask=0177",
        "StreamLocalBindUnlink=yes",
        "LogLevel=INFO",
    ] {
        argv.option(option);
    }
    argv.given(config);
    for option in ["ConnectTimeout=20", "ServerAliveInterval=5", "ServerAliveCountMax=3"] {
        argv.option(option);
    }
    argv.destination(config);
    argv.all
}

/// ssh that tells, on its standard output, what its config says of the destination.
#[must_use]
pub fn config_of(config: &TunnelConfig) -> Vec<OsString> {
    let mut argv = Argv::of(config);
    argv.words(["-G"]);
    argv.given(config);
    argv.destination(config);
    argv.all
}

/// What is asked of an ssh that takes orders.
#[derive(Clone, Copy, Debug)]
pub enum Order<'a> {
    /// Whether it is there.
    Check,
    /// Have this.
    Forward(&'a Forward),
    /// Have it no more.
    Cancel(&'a Forward),
}

/// ssh that gives an order at the socket `control`. No config is read: the forwards of the user's would be ordered too.
#[must_use]
pub fn order(control: &Path, order: Order<'_>) -> Vec<OsString> {
    let mut argv = Argv { all: Vec::new() };
    argv.words(["-F", "/dev/null", "-S"]).word(control);
    let (name, forward) = match order {
        Order::Check => ("check", None),
        Order::Forward(forward) => ("forward", Some(forward)),
        Order::Cancel(forward) => ("cancel", Some(forward)),
    };
    argv.words(["-O", name]);
    match forward {
        Some(Forward::Out { socket, to }) => {
            let mut spec = socket.clone().into_os_string();
            spec.push(format!(":{}:{}", bracketed(&to.host), to.port));
            argv.words(["-L"]).word(spec);
        }
        Some(Forward::In { bind, port, to }) => {
            let bind = match bind {
                Bind::Address(address) => bracketed(&address.to_string()),
                Bind::Every => "*".to_owned(),
            };
            let to = (bracketed(&to.ip().to_string()), to.port());
            argv.words(["-R"]).word(format!("{bind}:{port}:{}:{}", to.0, to.1));
        }
        None => {}
    }
    argv.words([NOBODY]);
    argv.all
}

/// The control socket of a connection that a person shares, by what [`config_of`] has told; none where there is no sharing.
#[must_use]
pub fn shared_socket(told: &str) -> Option<&Path> {
    let path = told.lines().find_map(|line| line.strip_prefix("controlpath "))?.trim();
    (path != "none" && path.starts_with('/')).then(|| Path::new(path))
}

/// Whether ssh can have its sockets in this directory, each with a name of so many bytes: no longer than a socket's path may
/// be, and with nothing in it that ssh gives a meaning of its own.
#[must_use]
pub fn can_hold_sockets(directory: &Path, name: usize) -> bool {
    let Some(text) = directory.to_str() else { return false };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    directory.is_absolute() && text.chars().all(is_plain) && text.len() + 1 + name + CONTROL_EXTRA <= LONGEST_SOCKET
}

struct Argv {
    all: Vec<OsString>,
}

impl Argv {
    /// Begins with the config file, if another is to be read.
    fn of(config: &TunnelConfig) -> Self {
        let mut argv = Self { all: Vec::new() };
        if let Some(file) = &config.config_file {
            argv.words(["-F"]).word(file);
        }
        argv
    }

    fn word(&mut self, word: impl Into<OsString>) -> &mut Self {
        self.all.push(word.into());
        self
    }

    fn words<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) -> &mut Self {
        self.all.extend(words.into_iter().map(OsString::from));
        self
    }

    fn option(&mut self, option: &str) {
        self.words(["-o", option]);
    }

    /// The user's own options.
    fn given(&mut self, config: &TunnelConfig) {
        for option in &config.options {
            self.option(option);
        }
    }

    fn destination(&mut self, config: &TunnelConfig) {
        if let Some(user) = &config.to.user {
            self.words(["-l", user]);
        }
        if let Some(port) = config.to.port {
            self.words(["-p", &port.to_string()]);
        }
        self.words(["--", &config.to.host]);
    }
}
