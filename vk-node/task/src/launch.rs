//! How a task is started at this site: what the pipe makes of its [`Place`](crate::Place), once, when it is accepted. It
//! stands in the intent, so that a change of the site's configuration does not touch tasks that were accepted before.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{EnvName, FilePath};

/// How a task is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Launch {
    /// The program itself is executed.
    #[default]
    Direct,
    /// A container runtime's client is executed instead, and has the program run.
    Runtime(RuntimeLaunch),
}

/// What a container runtime is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuntimeLaunch {
    /// The runtime's name, for people: `podman`.
    pub runtime: String,
    /// The client with all its arguments, the container's command among them. It stays in the foreground.
    pub argv: Vec<String>,
    /// Variables of the client, on top of the base environment; those of the task are among them only where the
    /// runtime takes them from there.
    #[serde(default)]
    pub env: BTreeMap<EnvName, String>,
    /// Commands that remove what may be left of the container, in order, after the client has ended or was killed, and
    /// before the task's end is written down. Each must succeed also where nothing is left.
    #[serde(default)]
    pub remove: Vec<Vec<String>>,
    /// How another program is run in the container.
    pub exec: ExecVia,
    /// Who is asked to end when the task is to.
    #[serde(default)]
    pub terminate: Terminate,
    /// Whether what [`crate::TaskSpec::security`] takes away is taken from the client, because it becomes the container. If
    /// not, the command line says it.
    #[serde(default)]
    pub confine_client: bool,
}

/// Who gets the signal to end when a task with a container is to. (What a client could not pass on, `SIGKILL` say, is for
/// all.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Terminate {
    /// All processes of the task: the client has become the program, or does not care.
    #[default]
    Tree,
    /// The client alone, which passes it on. If the container ended by a signal of its own before the client could do that,
    /// podman's would end by the signal, and the container's exit code would be lost.
    Client,
}

/// How another program is run in a task's container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ExecVia {
    /// By the runtime's own command: `prefix`, then `stdin` if input is wanted, `terminal` if a terminal is, `target`, and
    /// then the program with its arguments.
    Command {
        /// `podman exec`.
        prefix: Vec<String>,
        /// `-i`.
        stdin: Vec<String>,
        /// `-t`.
        terminal: Vec<String>,
        /// The container's name.
        target: Vec<String>,
    },
    /// By entering the namespaces of the task's processes, for runtimes that have no command for it.
    Namespaces,
}

/// What the pipe has made ready on the host for a task, before it accepted it. It stands in the intent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HostSetup {
    /// The container's own directories, if it has such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnDirectory>,
    /// What its own mount namespace shows elsewhere than the host does; without any, it has none, unless it is to be
    /// [`Self::read_only_root`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<Bind>,
    /// Whether its own mount namespace shows all as read-only but for what is mounted to be written to, and what is in
    /// [`Self::own`], [`Self::writable`] and [`Self::termination_log`].
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only_root: bool,
    /// Volumes that links in its own directory lead to, and that it may write to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<PathBuf>,
    /// The file on the host that holds its last words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_log: Option<PathBuf>,
}

/// The directories of one container of a pod, the same for all its runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnDirectory {
    /// Where its programs start, and where links lead to volumes with a relative target.
    pub work: PathBuf,
    /// Their `TMPDIR`.
    pub tmp: PathBuf,
}

/// A directory or file of the host that a task sees at another path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bind {
    /// Its absolute path on the host.
    pub source: PathBuf,
    /// Only this part of it, which is made as a directory if it is not there. No link in it leads out of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<FilePath>,
    /// The absolute path at which the task sees it.
    pub target: PathBuf,
    /// Whether the task may not write to it.
    #[serde(default)]
    pub read_only: bool,
}
