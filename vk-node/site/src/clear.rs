//! The verdict about a task: a pure function of the site's file, what is asked, and facts of the host.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use vk_task::{
    Image, Launch, Mount, MountNamespaces, Origin, Place, Program, ScriptRunner, TaskId, TaskSpec, TerminationMessage,
};

use crate::Site;
use crate::policy::{Access, Policy, StreamKind};
use crate::runtime::{Found, Job, interpreter};

/// What a verdict needs to know of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The first of [`SEARCH_ORDER`](crate::SEARCH_ORDER) on this host; needed where the site names no runtime.
    pub found: Option<Found>,
    /// Where the file of this task's script will be.
    pub script: PathBuf,
    /// Where the sources of its mounts really are, symbolic links followed.
    pub real_paths: BTreeMap<PathBuf, PathBuf>,
    /// What the task is given as volumes, with the paths on this host.
    pub volumes: Vec<GivenMount>,
    /// Where the file for the task's last words will be, where it is asked for any.
    pub termination_log: Option<PathBuf>,
    /// Whether tasks can have mounts of their own here, as far as the kernel has a say in it.
    pub mount_namespaces: MountNamespaces,
}

/// A volume that a task is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenMount {
    /// What is shown where. A target that is not absolute is a link's.
    pub mount: Mount,
    /// Whether it is the host's; what is the pod's own needs nobody's leave.
    pub of_host: bool,
}

/// A task that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// What is run: with less where the site gives less.
    pub spec: TaskSpec,
    /// How.
    pub launch: Launch,
    /// What is not as it was asked for, for people.
    pub told: Vec<String>,
}

/// Every reason why something is not allowed; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this site does not run it: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Denied(pub Vec<Refusal>);

impl Denied {
    /// Each reason, in words.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn unless_empty(refusals: Vec<Refusal>) -> Result<(), Self> {
        if refusals.is_empty() { Ok(()) } else { Err(Self(refusals)) }
    }
}

/// A reason why something is not allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// By [`Policy::namespaces`].
    #[error("pods of the namespace {0} are not allowed")]
    Namespace(String),
    /// By [`Policy::users`].
    #[error("the ServiceAccount {0} is not allowed")]
    User(String),
    /// By [`Policy::fifo`].
    #[error("lines written to the FIFO are not run")]
    Fifo,
    /// By [`Policy::programs`].
    #[error("the program {0:?} is not allowed on the host")]
    Program(String),
    /// A path that may lead anywhere, where programs are restricted.
    #[error("the program's path {0:?} has a . or .. in it: programs are restricted here, so write it out")]
    ProgramPath(String),
    /// A name that is looked up where the task says, where programs are restricted.
    #[error(
        "the program {0:?} would be looked up in a PATH of the task's own: programs are restricted here, so write its path or leave PATH out"
    )]
    ProgramLookup(String),
    /// By [`Policy::scripts`].
    #[error("scripts are not run on the host: run a program instead")]
    Script,
    /// A script without an interpreter, where programs are restricted.
    #[error("the script names no interpreter in a #! line, and programs are restricted here")]
    NoInterpreter,
    /// By [`Policy::images`].
    #[error("the image {0} is not allowed")]
    Image(String),
    /// By [`Policy::host_paths`].
    #[error("the host path {0} may not be mounted")]
    HostPath(String),
    /// By [`Policy::host_paths`], for what the path really is.
    #[error("the host path {path} is really {real}, which may not be mounted")]
    RealPath {
        /// As it is asked for.
        path: String,
        /// What it leads to.
        real: String,
    },
    /// By [`HostPath::access`](crate::HostPath::access).
    #[error("the host path {0} may be mounted read-only, and is not asked to be: set readOnly")]
    HostPathWritable(String),
    /// By [`Policy::mount_namespaces`], or the kernel.
    #[error(
        "a mount at {target} would need a mount namespace, and tasks have none here: {why}; write a path that is relative \
         to the container's own directory"
    )]
    MountNamespace {
        /// Where it was to be.
        target: String,
        /// Why there are none.
        why: String,
    },
    /// The same, for a root that is read-only.
    #[error("readOnlyRootFilesystem would need a mount namespace, and tasks have none here: {why}; leave it out")]
    ReadOnlyRoot {
        /// Why there are none.
        why: String,
    },
    /// What the site's runtime cannot do.
    #[error("{0}")]
    Runtime(String),
    /// By [`Policy::exec`], [`Policy::attach`] or [`Policy::port_forward`].
    #[error("{} is not allowed", .0.word())]
    Stream(StreamKind),
    /// By [`Policy::port_forward`].
    #[error("port {0} is not the pod's: another process of this host listens there")]
    NotOwnPort(u16),
    /// By a [`Door::namespaces`](crate::Door::namespaces).
    #[error("{} is not allowed for pods of the namespace {namespace}", kind.word())]
    StreamNamespace {
        /// Which way in.
        kind: StreamKind,
        /// The pod's namespace.
        namespace: String,
    },
}

/// Decides about a task.
///
/// # Errors
/// With every reason why it is not run.
pub fn clear(site: &Site, id: &TaskId, spec: &TaskSpec, facts: &Facts) -> Result<Cleared, Denied> {
    let mut refusals = site.policy.who(&spec.origin);
    if matches!(spec.origin, Origin::Fifo { .. }) && !site.policy.fifo {
        refusals.push(Refusal::Fifo);
    }
    let mut told = Vec::new();
    let mut spec = spec.clone();
    spec.env.retain(|name, _| {
        let dropped = site.policy.drop_env.first_match(name.as_str()).is_some();
        if dropped {
            told.push(format!("the variable {name} is not passed: the site's file drops it"));
        }
        !dropped
    });
    spec.limits = site.limits.clamp(&spec.limits, &mut told);
    for given in facts.volumes.iter().filter(|given| given.of_host) {
        host_path(&site.policy, &given.mount, facts, &mut refusals);
    }
    let launch = match &spec.place {
        Place::Host => {
            mount_namespace(&site.policy, &spec, facts, &mut refusals);
            program(&site.policy, &spec, &mut refusals);
            Launch::Direct
        }
        Place::Image(image) => {
            images(&site.policy, image, facts, &mut refusals);
            let mut facts = facts.clone();
            facts.volumes.extend(last_words(site, &spec, image, &facts));
            let mut image = image.clone();
            image.mounts.extend(facts.volumes.iter().map(|given| given.mount.clone()));
            let job = Job::new(id, &spec, &facts, &mut told);
            match site.runtime.launch(&image, facts.found.as_ref(), job) {
                Ok(launch) => Launch::Runtime(launch),
                Err(against) => {
                    refusals.extend(against.into_iter().map(Refusal::Runtime));
                    Launch::Direct
                }
            }
        }
    };
    Denied::unless_empty(refusals)?;
    Ok(Cleared { spec, launch, told })
}

fn program(policy: &Policy, spec: &TaskSpec, refusals: &mut Vec<Refusal>) {
    match &spec.program {
        Program::Exec { argv } => named(policy, spec, argv.first().map_or("", String::as_str), refusals),
        Program::Script { text, runner } => {
            if !policy.scripts {
                refusals.push(Refusal::Script);
            }
            match runner {
                ScriptRunner::Shell { path } => named(policy, spec, path, refusals),
                ScriptRunner::Shebang => match interpreter(text).unwrap_or_default().first() {
                    Some(interpreter) => named(policy, spec, interpreter, refusals),
                    None if policy.programs.is_open() => {}
                    None => refusals.push(Refusal::NoInterpreter),
                },
            }
        }
    }
}

fn named(policy: &Policy, spec: &TaskSpec, program: &str, refusals: &mut Vec<Refusal>) {
    if policy.programs.is_open() {
        return;
    }
    if !policy.programs.permits(program) {
        refusals.push(Refusal::Program(program.to_owned()));
    } else if has_dots(program) {
        refusals.push(Refusal::ProgramPath(program.to_owned()));
    } else if !program.contains('/') && spec.env.keys().any(|name| name.as_str() == "PATH") {
        refusals.push(Refusal::ProgramLookup(program.to_owned()));
    }
}

/// Whether a path has a `.` or `..` in it. (`Path::components` leaves most of the former out.)
fn has_dots(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "." | ".."))
}

fn images(policy: &Policy, image: &Image, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let reference = &image.reference;
    let name = reference.strip_prefix("docker://").unwrap_or(reference);
    if !policy.images.is_open() && (!policy.images.permits(name) || has_dots(name)) {
        refusals.push(Refusal::Image(reference.clone()));
    }
    for mount in &image.mounts {
        host_path(policy, mount, facts, refusals);
    }
}

/// Whether there may be mounts at absolute paths.
fn mount_namespace(policy: &Policy, spec: &TaskSpec, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let why = match policy.mount_namespaces(&facts.mount_namespaces) {
        MountNamespaces::Available => return,
        MountNamespaces::Unavailable { why } => why,
        MountNamespaces::Unknown => "nobody knows whether this host allows them".to_owned(),
    };
    let targets = facts.volumes.iter().map(|given| given.mount.target.as_path());
    // The default path is nobody's wish: its file is found in another way.
    let last_words = spec.termination_message.as_ref().map(|message| message.path.as_path());
    let last_words = last_words.filter(|path| *path != Path::new(TerminationMessage::DEFAULT_PATH));
    if let Some(target) = targets.chain(last_words).find(|target| target.is_absolute()) {
        refusals.push(Refusal::MountNamespace { target: target.display().to_string(), why: why.clone() });
    }
    if spec.security.read_only_root {
        refusals.push(Refusal::ReadOnlyRoot { why });
    }
}

/// The file for last words, in an image. At the default path it is only where the
/// runtime makes a place for it: elsewhere an image without one would not run for the sake of what nobody asked for.
fn last_words(site: &Site, spec: &TaskSpec, image: &Image, facts: &Facts) -> Option<GivenMount> {
    let (source, message) = facts.termination_log.clone().zip(spec.termination_message.as_ref())?;
    // As the kubelet, for which a relative path counts from the image's root.
    let target = Path::new("/").join(&message.path);
    let is_default = target == Path::new(TerminationMessage::DEFAULT_PATH);
    let mut taken = image.mounts.iter().chain(facts.volumes.iter().map(|given| &given.mount));
    let is_free = taken.all(|mount| mount.target != target);
    let is_shown = is_free && (!is_default || site.runtime.makes_mount_points(facts.found.as_ref()));
    is_shown.then_some(GivenMount { mount: Mount { source, target, read_only: false }, of_host: false })
}

fn host_path(policy: &Policy, mount: &Mount, facts: &Facts, refusals: &mut Vec<Refusal>) {
    let Some(rules) = &policy.host_paths else { return };
    let path = mount.source.display().to_string();
    // What is allowed at `path`: the most that any rule gives.
    let access = |path: &Path| {
        let above = |rule: &&crate::HostPath| {
            path.ancestors().filter_map(Path::to_str).any(|ancestor| rule.path.matches(ancestor))
        };
        let given: Vec<Access> = rules.iter().filter(above).map(|rule| rule.access).collect();
        let writable = given.contains(&Access::ReadWrite);
        (!given.is_empty()).then_some(if writable { Access::ReadWrite } else { Access::ReadOnly })
    };
    let real = facts.real_paths.get(&mount.source).unwrap_or(&mount.source);
    if mount.source.components().any(|part| part == Component::ParentDir) {
        refusals.push(Refusal::HostPath(path));
        return;
    }
    match (access(&mount.source), access(real)) {
        (None, _) => refusals.push(Refusal::HostPath(path)),
        (_, None) => refusals.push(Refusal::RealPath { path, real: real.display().to_string() }),
        (Some(Access::ReadWrite), Some(Access::ReadWrite)) => {}
        (Some(_), Some(_)) if mount.read_only => {}
        (Some(_), Some(_)) => refusals.push(Refusal::HostPathWritable(path)),
    }
}

#[cfg(test)]
mod tests;
