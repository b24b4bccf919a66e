//! What ssh says on its standard error, and what it means.
//!
//! The words are those of OpenSSH, where they have stayed the same for many years; a later line may tell more than an earlier
//! one, and a reason is not replaced by a mere consequence of it (see `Trouble::weight`). What is not known is passed on as
//! it is.

/// Why there is no connection, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// ssh itself cannot be started.
    #[error("{words}: install an ssh client, or name one as `program` of the tunnel in the node's file")]
    NoProgram {
        /// What the system says.
        words: String,
    },
    /// ssh does not like how it is set up.
    #[error("ssh does not take its settings: {words}: mend the file that it names, or the tunnel's `options`")]
    Settings {
        /// What it says.
        words: String,
    },
    /// The host has no address.
    #[error("{words}: check the host's name, and this machine's DNS")]
    NoSuchHost {
        /// What ssh says.
        words: String,
    },
    /// The host does not answer at its port.
    #[error(
        "{words}: check that an sshd listens there, and that this site lets its hosts connect to it (or name a jump host: `ProxyJump` in ssh's config)"
    )]
    Unreachable {
        /// What ssh says.
        words: String,
    },
    /// The server does not let anybody begin.
    #[error(
        "the server ends the connection before anybody can log in: {words}: it may be full (MaxStartups), or refuse this host"
    )]
    TurnedAway {
        /// What ssh says.
        words: String,
    },
    /// The host's key is not known here.
    #[error(
        "the server's host key is not known here, so it might be anybody: connect by hand once, `ssh` to the same destination, \
         compare the key's fingerprint with the administrator's and accept it; or put the key into ~/.ssh/known_hosts"
    )]
    HostKeyUnknown,
    /// The host's key is another than the one that is known.
    #[error(
        "THE SERVER'S HOST KEY IS NOT THE ONE THAT IS KNOWN HERE: somebody may be in between, or the host was installed anew. Ask its \
         administrator; if the new key is right, remove the old one{}", place(known.as_deref())
    )]
    HostKeyChanged {
        /// Where the known one stands: file and line.
        known: Option<String>,
    },
    /// The server does not accept who we say we are.
    #[error(
        "the server does not let us in ({words}): check the user, and that the key is in the authorized_keys there and in the agent or \
         without a passphrase here. Where a person is needed (a password, a second factor), start vk-node at a terminal, set \
         SSH_ASKPASS, or open a connection that is shared: `ssh -M` with a ControlPath in ssh's config, to the same destination; \
         it is found by itself"
    )]
    Denied {
        /// What ssh says.
        words: String,
    },
    /// It took too long until the connection was up.
    #[error("the connection was not up in time: the server, or something on the way, does not go on")]
    Slow,
    /// The server, or the way to it, was silent.
    #[error("the server does not answer any more ({words})")]
    Silent {
        /// What ssh says.
        words: String,
    },
    /// The connection was there and is gone.
    #[error("the connection was lost ({words})")]
    Lost {
        /// What ssh says.
        words: String,
    },
    /// The socket by which the connection takes orders is gone.
    #[error("somebody has removed the socket by which ssh takes orders")]
    SocketGone,
    /// Nothing is known but how it ended.
    #[error("ssh ended ({how}){}", after(last.as_deref()))]
    Ended {
        /// Its exit status.
        how: String,
        /// The last that it said.
        last: Option<String>,
    },
}

fn place(known: Option<&str>) -> String {
    known.map(|known| format!(", {known}")).unwrap_or_default()
}

fn after(last: Option<&str>) -> String {
    last.map(|last| format!(": {last}")).unwrap_or_default()
}

impl Trouble {
    /// Whether it stays until a person does something: to try at short intervals would only have a server's guards shut us out.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::NoProgram { .. }
            | Self::Settings { .. }
            | Self::HostKeyUnknown
            | Self::HostKeyChanged { .. }
            | Self::Denied { .. } => true,
            Self::NoSuchHost { .. }
            | Self::Unreachable { .. }
            | Self::TurnedAway { .. }
            | Self::Slow
            | Self::Silent { .. }
            | Self::Lost { .. }
            | Self::SocketGone
            | Self::Ended { .. } => false,
        }
    }

    /// How much it explains: of two, the one that explains more is told, and of equal ones the first.
    fn weight(&self) -> u8 {
        match self {
            Self::HostKeyChanged { known: Some(_) } => 5,
            Self::HostKeyChanged { known: None } | Self::NoProgram { .. } | Self::Settings { .. } => 4,
            Self::HostKeyUnknown
            | Self::Denied { .. }
            | Self::NoSuchHost { .. }
            | Self::Unreachable { .. }
            | Self::Slow
            | Self::SocketGone
            | Self::Silent { .. } => 3,
            Self::TurnedAway { .. } => 2,
            Self::Lost { .. } => 1,
            Self::Ended { .. } => 0,
        }
    }
}

/// What a line of ssh's means for the connection, if anything is known of it.
#[must_use]
pub fn meaning(line: &str) -> Option<Trouble> {
    let line = line.trim();
    let words = || line.to_owned();
    let has = |text: &str| line.contains(text);
    if has("REMOTE HOST IDENTIFICATION HAS CHANGED") {
        return Some(Trouble::HostKeyChanged { known: None });
    }
    if line.starts_with("Offending ") && has(" key in ") {
        let known = line.rsplit_once(" key in ").map(|(_, place)| place.to_owned());
        return Some(Trouble::HostKeyChanged { known });
    }
    if has("Host key verification failed") || (line.starts_with("No ") && has("host key is known for")) {
        return Some(Trouble::HostKeyUnknown);
    }
    if has("Permission denied (") || has("Too many authentication failures") || has("No more authentication methods") {
        return Some(Trouble::Denied { words: words() });
    }
    if has("Could not resolve hostname") {
        return Some(Trouble::NoSuchHost { words: words() });
    }
    if has("connect to host ") || (has("Connection to ") && has("timed out")) {
        return Some(Trouble::Unreachable { words: words() });
    }
    if has("Bad configuration option")
        || has("Bad owner or permissions")
        || has("bad configuration options")
        || has("Can't open user config file")
        || has("too long for Unix domain socket")
        || has("ControlPath")
        || has("cannot bind to path")
    {
        return Some(Trouble::Settings { words: words() });
    }
    if has("vk-node: cannot run ") {
        return Some(Trouble::NoProgram { words: line.trim_start_matches("vk-node: ").to_owned() });
    }
    if line.starts_with("Timeout, server ") {
        return Some(Trouble::Silent { words: words() });
    }
    if has("kex_exchange_identification") || has("ssh_exchange_identification") || has("banner exchange") {
        return Some(Trouble::TurnedAway { words: words() });
    }
    let is_end =
        ["closed by remote host", "Connection reset", "Connection closed by", "Broken pipe", "disconnected by"];
    if is_end.iter().any(|end| has(end)) {
        return Some(Trouble::Lost { words: words() });
    }
    None
}

/// Why one connection that was asked for through the tunnel did not come to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    /// The ssh server does not allow it.
    #[error(
        "the ssh server does not let us connect to the API server, or to the relay where there is one: its sshd_config needs \
         `AllowTcpForwarding yes` (or `local`), and a `PermitOpen` that has it; the key's line in authorized_keys, where it says `restrict`, needs `port-forwarding`"
    )]
    Prohibited,
    /// The far end cannot connect there.
    #[error(
        "the far end cannot reach the API server, or the relay where there is one ({why}): check that the host and port of the kubeconfig's \
         server, and those of the relay, lead there from the ssh server's host, or say where the API server is with the tunnel's `apiServer`"
    )]
    Unreachable {
        /// What it says.
        why: String,
    },
}

/// What a line of ssh's says of one connection that was asked for through the tunnel.
#[must_use]
pub fn of_one_connection(line: &str) -> Option<NotOpened> {
    let (_, why) = line.trim().strip_prefix("channel ")?.split_once(": open failed: ")?;
    Some(match why.strip_prefix("administratively prohibited") {
        Some(_) => NotOpened::Prohibited,
        None => NotOpened::Unreachable { why: why.to_owned() },
    })
}

/// What has been said by one ssh so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    trouble: Option<Trouble>,
    last: Option<String>,
}

impl Heard {
    /// One more line.
    pub fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        self.last = Some(line.to_owned());
        if let Some(trouble) = meaning(line) {
            self.found(trouble);
        }
    }

    /// Something that we have found out ourselves.
    pub fn found(&mut self, trouble: Trouble) {
        if self.trouble.as_ref().is_none_or(|before| before.weight() < trouble.weight()) {
            self.trouble = Some(trouble);
        }
    }

    /// Why it ended.
    #[must_use]
    pub fn why(self, how: &str) -> Trouble {
        self.trouble.unwrap_or(Trouble::Ended { how: how.to_owned(), last: self.last })
    }
}

/// The last line that says something.
pub(super) fn last_line(text: &str) -> String {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it says nothing").to_owned()
}
