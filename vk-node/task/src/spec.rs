//! What is asked for a task.

use std::path::{Component, Path, PathBuf};
use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{DirName, HostAlias, Limits, Security, StopSignal, TerminationMessage, VolumeMount, VolumeSource};

/// The longest single argument or `NAME=value` string that Linux passes through `execve`, without its NUL:
/// `MAX_ARG_STRLEN` (32 pages) less one. See execve(2).
pub const MAX_EXEC_STRING_BYTES: usize = 131_071;

/// What to run, and how: the body of the request that starts a task, and the text of its intent on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// Who asks: it comes back in every view of the task, so that a node that lost its memory knows its own.
    pub origin: Origin,
    /// What to run.
    pub program: Program,
    /// Where to run it: on the host itself, or in an image of the site's container runtime.
    #[serde(default)]
    pub place: Place,
    /// Variables on top of the pipe's base environment (`HOME`, `USER`, `LOGNAME`, `SHELL`, `PATH`, `LANG`, `TMPDIR`).
    #[serde(default)]
    pub env: BTreeMap<EnvName, String>,
    /// Volumes that it is given. The pipe makes links, mounts or the image's mounts of them: see [`VolumeMount::target`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<VolumeMount>,
    /// Names that it finds in `/etc/hosts` besides the host's own. On the host that takes a mount namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_aliases: Vec<HostAlias>,
    /// Whether it has a working directory and a `TMPDIR` of its own, which its container's later runs find as it left them
    /// and which go with the pod. Only a pod's task on the host can.
    #[serde(default)]
    pub own_directory: bool,
    /// Where its last words are, if anybody asks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_message: Option<TerminationMessage>,
    /// Where the program starts. `None`: its own directory if it has one, else the home directory of the pipe's user, or
    /// the image's own. A relative path counts from there; one that begins with `~` from the home directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
    /// What becomes of processes that outlive the main one.
    pub leftovers: Leftovers,
    /// What its processes are sent when it is to end. Without it, `SIGTERM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<StopSignal>,
    /// What its standard input and outputs are.
    #[serde(default)]
    pub stdio: Stdio,
    /// What it may use at most. The site's policy may make it less.
    #[serde(default)]
    pub limits: Limits,
    /// What is taken from its processes.
    #[serde(default, skip_serializing_if = "Security::is_default")]
    pub security: Security,
}

/// Who asked for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Origin {
    /// A container of a pod.
    Pod(ContainerRun),
    /// A line written to the FIFO.
    Fifo {
        /// The run that wrote it, where the line says so: the line's processes then belong to that pod.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        writer: Option<ContainerRun>,
    },
}

/// One run of one container of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRun {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The pod's ServiceAccount: the user that Kubernetes knows a pod by.
    #[serde(default)]
    pub service_account: String,
    /// The container's name.
    pub container: String,
    /// How many runs of this container came before.
    pub restart: u32,
    /// The node that the pod is bound to, as it was when it asked: several may share a pipe. A node of an earlier version
    /// has not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<AskingNode>,
}

/// The Node object of the node that asked for a task. A node of the same name in another cluster has another UID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskingNode {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

impl ContainerRun {
    /// The variables that tell the run's processes whose they are.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &str); 4] {
        let Self { namespace, pod, uid, service_account: _, container, restart: _, node: _ } = self;
        [("VK_CMD_NAMESPACE", namespace), ("VK_CMD_POD", pod), ("VK_CMD_POD_UID", uid), ("VK_CMD_CONTAINER", container)]
    }
}

impl Origin {
    /// The pod's run that it belongs to, if it belongs to a pod at all.
    #[must_use]
    pub fn run(&self) -> Option<&ContainerRun> {
        match self {
            Self::Pod(run) => Some(run),
            Self::Fifo { writer } => writer.as_ref(),
        }
    }
}

/// Where a task runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Place {
    /// On the host.
    #[default]
    Host,
    /// In a container of the site's runtime.
    Image(Image),
}

/// A container image and what it is given of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// The image, as the pod names it: `docker://godlovedc/lolcow`, `registry.example.org/a/b:c`, `/images/x.sif`.
    pub reference: String,
    /// Directories and files of the host that it sees.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Graphics processors that it is to see.
    #[serde(default)]
    pub gpus: Gpus,
}

/// A directory or file of the host inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// Its absolute path on the host.
    pub source: PathBuf,
    /// Its absolute path in the container.
    pub target: PathBuf,
    /// Whether the container may not write to it.
    #[serde(default)]
    pub read_only: bool,
}

/// Graphics processors for a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Gpus {
    /// None.
    #[default]
    None,
    /// So many of NVIDIA's.
    Nvidia(u32),
    /// So many of AMD's.
    Amd(u32),
}

/// A task's standard input and outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stdio {
    /// Standard input.
    #[serde(default)]
    pub stdin: Stdin,
    /// Whether all three are one terminal; what it shows goes to the log as standard output.
    #[serde(default)]
    pub terminal: bool,
}

/// A task's standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stdin {
    /// It is at its end from the beginning.
    #[default]
    Null,
    /// Whoever attaches may write to it, and others after that: core/v1 `stdin`.
    Open,
    /// It is at its end when the first who attached to it has done with it: core/v1 `stdinOnce`.
    Once,
}

/// What a task runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Program {
    /// A program with its arguments, given to `execve` as they are. A name without a slash is looked up in `PATH`.
    Exec {
        /// The program and its arguments; at least the program.
        argv: Vec<String>,
    },
    /// A script, written to a file beside the task's records and run from there: it may be longer than one argument
    /// can be.
    Script {
        /// The script, unchanged.
        text: String,
        /// What runs it.
        runner: ScriptRunner,
    },
}

/// What runs a script's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ScriptRunner {
    /// The kernel, by the script's own `#!` line.
    Shebang,
    /// This program, with the file as its argument.
    Shell {
        /// Its name or path, `/bin/sh` say.
        path: String,
    },
}

/// What becomes of processes that are left when the main process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leftovers {
    /// They are killed, as the processes of a container are when its first one ends.
    Kill,
    /// The task goes on until the last of them has ended by itself.
    Await,
}

/// The name of an environment variable: at least one printable ASCII character, none of them `=`
/// (Kubernetes' relaxed rule, the default since 1.34).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvName(String);

/// A string that cannot be the name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name an environment variable: use printable ASCII characters other than '='")]
pub struct InvalidEnvName(pub String);

impl EnvName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// When `text` is empty or has a character that is not printable ASCII, or a `=`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidEnvName> {
        let text = text.into();
        if text.is_empty() || !text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=') {
            return Err(InvalidEnvName(text));
        }
        Ok(Self(text))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EnvName {
    type Error = InvalidEnvName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<EnvName> for String {
    fn from(name: EnvName) -> Self {
        name.0
    }
}

/// Why a specification cannot be run, whatever the host is like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// There is no program.
    #[error("there is no program to run: the argument list is empty")]
    NoProgram,
    /// A string holds a NUL byte, which ends strings in the kernel.
    #[error("{what} holds a NUL byte, which no program can be given")]
    Nul {
        /// What it stands in.
        what: String,
    },
    /// The image has no name.
    #[error("the image has no name: name one, or leave it out to run on the host")]
    NoImage,
    /// A mount's path is not absolute.
    #[error("{} is no absolute path: a mount needs one on the host and one in the container", .0.display())]
    RelativeMount(PathBuf),
    /// Something that is a pod's, and the task is not one.
    #[error("{0} is for a pod's task, and this one is not of a pod")]
    NotOfPod(&'static str),
    /// The pod or container has no name that a directory can have.
    #[error("the pod's directory cannot be named: {0}")]
    PodName(#[from] crate::InvalidDirName),
    /// An own directory, for an image.
    #[error("a task in an image has the image's directories: it can have none of its own on the host")]
    OwnDirectoryInImage,
    /// A relative target without a directory that it counts from.
    #[error(
        "the mount at {} has a relative path, which counts from the container's own directory, and it has none: write an \
         absolute path", .0.display()
    )]
    NoDirectoryForMount(PathBuf),
    /// A target that may lead anywhere.
    #[error("a mount at {:?} is none: write a path without . and ..", .0.display())]
    MountTarget(PathBuf),
    /// A file for the last words that is nowhere.
    #[error(
        "there can be no termination message at {:?}: write an absolute path without . and .., or a relative one if the \
         container has a directory of its own", .0.display()
    )]
    TerminationMessagePath(PathBuf),
    /// An alias that would be more than a line of `/etc/hosts`.
    #[error("the names of the host {0:?} are no line of /etc/hosts: write addresses and names without blanks")]
    HostAlias(String),
    /// Two mounts at one place.
    #[error("there are two mounts at {}", .0.display())]
    MountTwice(PathBuf),
    /// A string is longer than the kernel passes.
    #[error(
        "{what} is {bytes} bytes long; Linux passes at most {MAX_EXEC_STRING_BYTES} in one string: use the script of a \
         CmdJob, or a file"
    )]
    TooLong {
        /// What is too long.
        what: String,
        /// How long it is.
        bytes: usize,
    },
}

impl TaskSpec {
    /// On the host, with nothing but its program: all else is as where nothing is said.
    #[must_use]
    pub fn new(origin: Origin, program: Program, leftovers: Leftovers) -> Self {
        Self {
            origin,
            program,
            place: Place::Host,
            env: BTreeMap::new(),
            mounts: Vec::new(),
            host_aliases: Vec::new(),
            own_directory: false,
            termination_message: None,
            working_dir: None,
            leftovers,
            stop_signal: None,
            stdio: Stdio::default(),
            limits: Limits::default(),
            security: Security::default(),
        }
    }

    /// All that stops this specification from being run on any host; empty when nothing does.
    #[must_use]
    pub fn problems(&self) -> Vec<InvalidSpec> {
        let mut found = Vec::new();
        let mut check = |what: &dyn Fn() -> String, text: &str, extra: usize| {
            if text.contains('\0') {
                found.push(InvalidSpec::Nul { what: what() });
            }
            if text.len() + extra > MAX_EXEC_STRING_BYTES {
                found.push(InvalidSpec::TooLong { what: what(), bytes: text.len() + extra });
            }
        };
        for (name, value) in &self.env {
            check(&|| format!("the environment variable {name}"), value, name.as_str().len() + 1);
        }
        if let Some(dir) = &self.working_dir {
            check(&|| "the working directory".to_owned(), &dir.to_string_lossy(), 0);
        }
        let mut mounts: Vec<&Mount> = Vec::new();
        if let Place::Image(image) = &self.place {
            check(&|| "the image".to_owned(), &image.reference, 0);
            mounts.extend(&image.mounts);
            for path in mounts.iter().flat_map(|m| [&m.source, &m.target]) {
                check(&|| "a mount".to_owned(), &path.to_string_lossy(), 0);
            }
        }
        match &self.program {
            Program::Exec { argv } => {
                for (i, arg) in argv.iter().enumerate() {
                    check(&|| format!("argument {i}"), arg, 0);
                }
                if argv.first().is_none_or(String::is_empty) {
                    found.push(InvalidSpec::NoProgram);
                }
            }
            Program::Script { runner: ScriptRunner::Shell { path }, .. } => {
                check(&|| "the script's shell".to_owned(), path, 0);
                if path.is_empty() {
                    found.push(InvalidSpec::NoProgram);
                }
            }
            Program::Script { runner: ScriptRunner::Shebang, .. } => {}
        }
        if matches!(&self.place, Place::Image(image) if image.reference.is_empty()) {
            found.push(InvalidSpec::NoImage);
        }
        self.of_pod(&mut found);
        let relative = mounts.into_iter().flat_map(|m| [&m.source, &m.target]).filter(|path| !path.is_absolute());
        found.extend(relative.cloned().map(InvalidSpec::RelativeMount));
        found
    }
}

impl TaskSpec {
    /// Whether it has anything of its pod's directory.
    #[must_use]
    pub fn uses_pod_directory(&self) -> bool {
        let of_pod = |mount: &VolumeMount| match mount.source {
            VolumeSource::Volume { .. } => true,
            VolumeSource::Host { .. } => !mount.target.is_absolute(),
        };
        let has_own = self.own_directory || self.termination_message.is_some() || !self.host_aliases.is_empty();
        has_own || self.mounts.iter().any(of_pod)
    }

    /// What stands against what it is to have of its pod.
    fn of_pod(&self, found: &mut Vec<InvalidSpec>) {
        let in_image = matches!(self.place, Place::Image(_));
        if self.own_directory && in_image {
            found.push(InvalidSpec::OwnDirectoryInImage);
        }
        let what = if self.own_directory {
            "a directory of its own"
        } else if self.termination_message.is_some() {
            "a termination message"
        } else if !self.host_aliases.is_empty() {
            "a file of host names"
        } else {
            "a volume"
        };
        match &self.origin {
            Origin::Pod(run) if self.uses_pod_directory() => {
                found.extend(
                    [&run.uid, &run.container].into_iter().filter_map(|n| DirName::new(n).err()).map(Into::into),
                );
            }
            Origin::Fifo { .. } if self.uses_pod_directory() => found.push(InvalidSpec::NotOfPod(what)),
            Origin::Pod(_) | Origin::Fifo { .. } => {}
        }
        if let Some(TerminationMessage { path, .. }) = &self.termination_message {
            let has_nul = path.as_os_str().as_encoded_bytes().contains(&0);
            if has_nul || !is_place(path) || !(path.is_absolute() || self.own_directory || in_image) {
                found.push(InvalidSpec::TerminationMessagePath(path.clone()));
            }
        }
        let aliases = self.host_aliases.iter().filter(|alias| !alias.is_line());
        found.extend(aliases.map(|alias| InvalidSpec::HostAlias(alias.ip.clone())));
        let mut targets: Vec<&Path> = Vec::new();
        for VolumeMount { source, sub_path: _, target, read_only: _ } in &self.mounts {
            if target.as_os_str().as_encoded_bytes().contains(&0) {
                found.push(InvalidSpec::Nul { what: "a mount".to_owned() });
            }
            if let VolumeSource::Host { path, .. } = source
                && (!path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0))
            {
                found.push(InvalidSpec::RelativeMount(path.clone()));
            }
            match (target.is_absolute(), in_image) {
                (true, _) => {}
                (false, true) => found.push(InvalidSpec::RelativeMount(target.clone())),
                (false, false) if !self.own_directory => found.push(InvalidSpec::NoDirectoryForMount(target.clone())),
                (false, false) => {}
            }
            if !is_place(target) {
                found.push(InvalidSpec::MountTarget(target.clone()));
            }
            if targets.contains(&target.as_path()) {
                found.push(InvalidSpec::MountTwice(target.clone()));
            }
            targets.push(target);
        }
    }
}

/// Whether a path names a place, wherever it begins: it has no `.` and `..`.
fn is_place(path: &Path) -> bool {
    let mut parts = path.components().filter(|part| *part != Component::RootDir);
    parts.clone().next().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(program: Program) -> TaskSpec {
        TaskSpec::new(Origin::Fifo { writer: None }, program, Leftovers::Kill)
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut s = spec(Program::Exec { argv: vec!["a\0".into(), "x".repeat(131_072)] });
        s.env.insert(EnvName::new("V").unwrap(), "v".repeat(131_070));
        assert_eq!(s.problems().len(), 3);
    }

    #[test]
    fn what_is_a_pods_is_for_pods() {
        let mount = |target: &str| VolumeMount {
            source: VolumeSource::Volume { name: DirName::new("v").unwrap() },
            sub_path: None,
            target: target.into(),
            read_only: false,
        };
        let mut s = spec(Program::Exec { argv: vec!["a".into()] });
        s.mounts = vec![mount("/a")];
        assert_eq!(s.problems(), [InvalidSpec::NotOfPod("a volume")]);
        s.origin = Origin::Pod(ContainerRun {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u".into(),
            service_account: "s".into(),
            container: "c".into(),
            restart: 0,
            node: None,
        });
        assert_eq!(s.problems(), []);
        s.mounts = vec![mount("a"), mount("/a"), mount("/a/"), mount("/")];
        let wrong = ["a", "/a/", "/"].map(PathBuf::from);
        let expected = [
            InvalidSpec::NoDirectoryForMount(wrong[0].clone()),
            InvalidSpec::MountTwice(wrong[1].clone()),
            InvalidSpec::MountTarget(wrong[2].clone()),
        ];
        assert_eq!(s.problems(), expected);
        s.mounts = vec![mount("a/../b"), mount("")];
        s.own_directory = true;
        assert_eq!(s.problems().len(), 2);
        s.mounts.clear();
        let message = |path: &str| Some(TerminationMessage { path: path.into(), fallback_to_logs: false });
        for (path, own, right) in [
            ("/dev/termination-log", false, true),
            ("log", true, true),
            ("log", false, false),
            ("a/../log", true, false),
            ("/", true, false),
            ("", true, false),
            ("/a\0", true, false),
        ] {
            (s.own_directory, s.termination_message) = (own, message(path));
            assert_eq!(s.problems().is_empty(), right, "{path:?}");
        }
        (s.own_directory, s.termination_message) = (true, None);
        s.origin = Origin::Fifo { writer: None };
        assert_eq!(s.problems(), [InvalidSpec::NotOfPod("a directory of its own")]);
    }

    #[test]
    fn a_script_may_be_longer_than_an_argument() {
        let s =
            spec(Program::Script { text: "x".repeat(300_000), runner: ScriptRunner::Shell { path: "/bin/sh".into() } });
        assert_eq!(s.problems(), vec![]);
    }

    #[test]
    fn variable_names_follow_the_relaxed_rule() {
        assert!(EnvName::new("my.odd-name 1").is_ok());
        for bad in ["", "a=b", "tab\t", "ü"] {
            assert!(EnvName::new(bad).is_err(), "{bad:?}");
        }
    }
}
