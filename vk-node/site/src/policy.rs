//! Who may run what.

use vk_task::{MountNamespaces, Origin};

use crate::clear::{Denied, Refusal};
use crate::pattern::{Pattern, Patterns, Rule};

/// Who may run what.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The namespaces of pods.
    pub namespaces: Rule,
    /// The users of pods, which are their ServiceAccounts, as `namespace:name`.
    pub users: Rule,
    /// The programs that run on the host, as they are named; those in images are the images' own.
    pub programs: Rule,
    /// Whether scripts may be run on the host; their shell is a program. Lines of the FIFO are scripts.
    pub scripts: bool,
    /// Images, without a `docker://` before them.
    pub images: Rule,
    /// The directories and files of the host that a task may be given as a volume, in an image or on the host; `None`: all.
    pub host_paths: Option<Vec<HostPath>>,
    /// Whether lines written to the FIFO are run.
    pub fifo: bool,
    /// Who may run programs beside a task's own.
    pub exec: Door,
    /// Who may take part in a task's input and output.
    pub attach: Door,
    /// Which ports `kubectl port-forward` may reach.
    pub port_forward: PortForward,
    /// Whether tasks may be given mounts of their own, where the kernel lets them.
    pub mount_namespaces: bool,
    /// Variables that are never passed to a task, by name.
    pub drop_env: Patterns,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            namespaces: Rule::default(),
            users: Rule::default(),
            programs: Rule::default(),
            scripts: true,
            images: Rule::default(),
            host_paths: None,
            fifo: true,
            exec: Door::default(),
            attach: Door::default(),
            port_forward: PortForward::default(),
            mount_namespaces: true,
            drop_env: Patterns::default(),
        }
    }
}

/// A way into a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Door {
    /// Whether it is there at all.
    pub open: bool,
    /// For the pods of which namespaces.
    pub namespaces: Rule,
}

impl Default for Door {
    fn default() -> Self {
        Self { open: true, namespaces: Rule::default() }
    }
}

/// Which ports of the host's loopback may be reached for a pod from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortForward {
    /// Those on which a process of the pod listens: the host's other services are none of theirs.
    #[default]
    Own,
    /// All.
    Any,
    /// None.
    Never,
}

/// Who listens on a port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// A process of the pod.
    Own,
    /// Others only.
    Others,
    /// Nobody.
    Nobody,
}

/// A directory with all beneath it, or a file, that an image may be given.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPath {
    /// The path or those above it.
    pub path: Pattern,
    /// For what.
    pub access: Access,
}

/// What a mount may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    ReadOnly,
    /// To read and to write.
    ReadWrite,
}

/// A way into a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Another program beside it.
    Exec,
    /// Its own input and output.
    Attach,
    /// A port on which it listens.
    PortForward,
}

impl StreamKind {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "port-forward",
        }
    }
}

impl Policy {
    /// Whether tasks can have mounts of their own, where the kernel says `kernel` to that.
    #[must_use]
    pub fn mount_namespaces(&self, kernel: &MountNamespaces) -> MountNamespaces {
        if self.mount_namespaces {
            return kernel.clone();
        }
        MountNamespaces::Unavailable {
            why: "the site does not allow them (policy.mountNamespaces of its file is false)".to_owned(),
        }
    }

    /// Whether `kind` is allowed for a task that `origin` asked for. The rules about namespaces and users hold too: a
    /// task that was started before they were made may not be entered after.
    ///
    /// # Errors
    /// With every reason why not.
    pub fn may_stream(&self, origin: &Origin, kind: StreamKind) -> Result<(), Denied> {
        let mut refusals = self.who(origin);
        let everywhere = Door::default();
        let door = match kind {
            StreamKind::Exec => &self.exec,
            StreamKind::Attach => &self.attach,
            // Which port is another question: see `may_forward`.
            StreamKind::PortForward => &everywhere,
        };
        if !door.open {
            refusals.push(Refusal::Stream(kind));
        } else if let Some(run) = origin.run()
            && !door.namespaces.permits(&run.namespace)
        {
            refusals.push(Refusal::StreamNamespace { kind, namespace: run.namespace.clone() });
        }
        Denied::unless_empty(refusals)
    }

    /// Whether somebody outside may be connected to `port` for the pod of `origin`.
    ///
    /// # Errors
    /// With every reason why not.
    pub fn may_forward(&self, origin: &Origin, port: u16, listening: Listening) -> Result<(), Denied> {
        let mut refusals = self.who(origin);
        match (self.port_forward, listening) {
            (PortForward::Never, _) => refusals.push(Refusal::Stream(StreamKind::PortForward)),
            (PortForward::Own, Listening::Others) => refusals.push(Refusal::NotOwnPort(port)),
            // That there is nobody is no matter of rules.
            (PortForward::Own, Listening::Own | Listening::Nobody) | (PortForward::Any, _) => {}
        }
        Denied::unless_empty(refusals)
    }

    /// What is against this origin.
    pub(crate) fn who(&self, origin: &Origin) -> Vec<Refusal> {
        let mut refusals = Vec::new();
        if let Some(run) = origin.run() {
            if !self.namespaces.permits(&run.namespace) {
                refusals.push(Refusal::Namespace(run.namespace.clone()));
            }
            let user = format!("{}:{}", run.namespace, run.service_account);
            if !self.users.permits(&user) {
                refusals.push(Refusal::User(user));
            }
        }
        refusals
    }
}
