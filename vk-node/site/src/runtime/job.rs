//! What a runtime is to run, and what came up against it.

use std::collections::BTreeMap;
use std::path::Path;

use vk_task::{
    ContainerRun, EnvName, Image, MAX_EXEC_STRING_BYTES, Mount, Program, RUN_VARIABLE, RuntimeLaunch, Security,
    TASK_VARIABLE, TaskId, TaskSpec,
};

use crate::clear::{Facts, GivenMount};

use super::env::Sides;
use super::script::{self, Shown};

/// What a runtime is to run.
pub(crate) struct Job<'a> {
    pub(crate) id: &'a TaskId,
    /// With the limits clamped and the variables dropped.
    pub(crate) spec: &'a TaskSpec,
    /// Where the script's file is on the host.
    pub(crate) script: &'a Path,
    /// What of the host it is given, and what of its pod.
    volumes: &'a [GivenMount],
    /// The task's variables, those that say whose it is, and the site's where there is none of them.
    env: BTreeMap<EnvName, String>,
    /// What the task gets that is not quite what it asked for.
    told: &'a mut Vec<String>,
    /// What cannot be had.
    against: Vec<String>,
}

impl<'a> Job<'a> {
    pub(crate) fn new(id: &'a TaskId, spec: &'a TaskSpec, facts: &'a Facts, told: &'a mut Vec<String>) -> Self {
        let mut env = spec.env.clone();
        let pod = spec.origin.run().map(ContainerRun::variables).into_iter().flatten();
        for (name, value) in pod.filter_map(|(name, value)| Some((EnvName::new(name).ok()?, value))) {
            env.entry(name).or_insert_with(|| value.to_owned());
        }
        // The shim gives these to the client, and nothing takes their place.
        env.retain(|name, _| ![TASK_VARIABLE, RUN_VARIABLE].contains(&name.as_str()));
        let Facts { script, volumes, .. } = facts;
        Self { id, spec, script, volumes, env, told, against: Vec::new() }
    }

    /// Adds the site's own variables.
    pub(super) fn add_env(&mut self, site: &BTreeMap<EnvName, String>) {
        for (name, value) in site {
            self.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }

    pub(super) fn tell(&mut self, what: impl Into<String>) {
        self.told.push(what.into());
    }

    pub(super) fn refuse(&mut self, why: impl Into<String>) {
        self.against.push(why.into());
    }

    /// Whether a mount shows what is the pod's own, and nothing that was there before it.
    pub(super) fn is_pods_own(&self, mount: &Mount) -> bool {
        self.volumes.iter().any(|given| !given.of_host && given.mount == *mount)
    }

    /// The container's name, where the runtime has such.
    pub(super) fn container_name(&self) -> String {
        format!("vk-{}", self.id)
    }

    /// A reference that a client could take for something else than an image.
    pub(super) fn check_image(&mut self, image: &Image) {
        let reference = &image.reference;
        if reference.starts_with('-') || reference.chars().any(|c| c.is_whitespace() || c.is_control()) {
            self.refuse(format!("{reference:?} names no image: it begins with a dash, or holds a space"));
        }
    }

    /// The working directory in the container, if one is asked for.
    pub(super) fn working_dir(&mut self) -> Option<String> {
        let dir = self.spec.working_dir.as_ref()?;
        if !dir.is_absolute() {
            let dir = dir.display();
            self.refuse(format!("the working directory {dir} is relative, and an image has no home to count from: write an absolute path"));
        }
        Some(dir.to_string_lossy().into_owned())
    }

    /// Refuses what cannot be taken from a container of this runtime.
    /// But for `readOnlyRootFilesystem` where `shows_images_read_only`.
    pub(super) fn refuse_security(&mut self, runtime: &str, shows_images_read_only: bool) {
        let asked = &self.spec.security;
        let is_read_only = shows_images_read_only && asked.read_only_root;
        if *asked != (Security { read_only_root: is_read_only, ..Security::default() }) {
            self.refuse(format!(
                "{runtime} has no flag for allowPrivilegeEscalation, capabilities{}: leave them out of the security context; \
                 the pod of a CmdJob has them where its namespace enforces the Pod Security Standard restricted, so choose another \
                 namespace",
                if shows_images_read_only { "" } else { " and readOnlyRootFilesystem" }
            ));
        }
    }

    /// The paths of a mount as text, if the runtime's way of writing mounts has room for them.
    pub(super) fn mount_paths(&mut self, mount: &Mount, forbidden: &[char]) -> Option<(String, String)> {
        let text = |path: &Path| path.to_str().filter(|text| !text.contains(forbidden)).map(str::to_owned);
        let texts = text(&mount.source).zip(text(&mount.target));
        if texts.is_none() {
            let signs: String = forbidden.iter().filter(|c| !c.is_control()).collect();
            self.refuse(format!(
                "the mount of {} at {} cannot be written for this runtime, in which {signs} part one thing from the other",
                mount.source.display(),
                mount.target.display()
            ));
        }
        texts
    }

    /// The variables, parted by `changes_client` into those that go through the client's environment and those that
    /// must not.
    pub(super) fn variables(&self, changes_client: impl Fn(&str) -> bool) -> Sides {
        Sides::of(&self.env, changes_client)
    }

    pub(super) fn env(&self) -> &BTreeMap<EnvName, String> {
        &self.env
    }

    /// The command in the container, and the mount of the script's file if it needs one. `can_mount` says why the
    /// runtime cannot show a single file, if it cannot.
    pub(super) fn command(&mut self, can_mount: Result<(), &str>) -> (Vec<String>, Option<Mount>) {
        match &self.spec.program {
            Program::Exec { argv } => (argv.clone(), None),
            Program::Script { text, runner } => match script::shown(text, runner) {
                Ok(Shown::Argument(argv)) => (argv, None),
                Ok(Shown::File { argv, target }) => match can_mount {
                    Ok(()) => {
                        let mount = Mount { source: self.script.to_owned(), target: target.into(), read_only: true };
                        (argv, Some(mount))
                    }
                    Err(why) => {
                        self.refuse(format!(
                            "the script cannot be given to its interpreter as one argument, and {why}: put it in a file \
                             that the image sees, and run that"
                        ));
                        (argv, None)
                    }
                },
                Err(why) => {
                    self.refuse(why);
                    (Vec::new(), None)
                }
            },
        }
    }

    /// The launch, if nothing is against it.
    pub(super) fn finish(mut self, launch: RuntimeLaunch) -> Result<RuntimeLaunch, Vec<String>> {
        // A variable in an argument has a flag before it.
        if launch.argv.iter().any(|arg| arg.len() > MAX_EXEC_STRING_BYTES) {
            self.refuse(format!(
                "an argument for {} would be longer than {MAX_EXEC_STRING_BYTES} bytes, which is all that Linux passes: \
                 put what is long in a file",
                launch.runtime
            ));
        }
        if self.against.is_empty() { Ok(launch) } else { Err(self.against) }
    }
}
