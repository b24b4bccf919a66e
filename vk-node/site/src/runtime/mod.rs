//! How a task with an image is started: by the client of the site's container runtime.
//!
//! ```text
//!   Runtime (the site's file) ─┐
//!   what is on PATH ───────────┼─▶ Client ──▶ docker and podman (`oci`), apptainer and singularity, shifter,
//!   TaskSpec (clamped) ────────┘              charliecloud, custom ──▶ RuntimeLaunch { argv, env, remove, exec }
//! ```
//!
//! What holds for all: arguments and variables travel as arrays. A variable of the task is passed through the client's
//! own environment where the runtime takes it from there, so that nobody reads it in a list of processes; one that would
//! change the client itself (`PATH`, `LD_PRELOAD`, `DOCKER_HOST`) goes another way. The command replaces the image's
//! entry point. What a runtime cannot do is refused in words.

mod apptainer;
mod charliecloud;
mod custom;
mod env;
mod job;
mod oci;
mod script;
mod shifter;
mod template;

use std::collections::BTreeMap;

use vk_task::{EnvName, Image, RuntimeLaunch};

pub use custom::CustomRuntime;
pub(crate) use custom::{CustomExec, Each};
pub(crate) use job::Job;
pub(crate) use script::interpreter;
pub(crate) use template::Template;

/// What runs images.
#[derive(Clone, Debug, PartialEq)]
pub enum Runtime {
    /// The first that is found: see [`SEARCH_ORDER`].
    Auto {
        /// Variables for each container, where its task does not set them.
        env: BTreeMap<EnvName, String>,
    },
    /// Nothing: images are refused.
    None,
    /// One that this program knows.
    Named(NamedRuntime),
    /// One whose command line the site has written down.
    Custom(Box<CustomRuntime>),
}

impl Default for Runtime {
    fn default() -> Self {
        Self::Auto { env: BTreeMap::new() }
    }
}

/// A runtime that this program knows, and how the site wants it called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRuntime {
    /// Which one.
    pub kind: Kind,
    /// Its client: a name to look up in `PATH`, or an absolute path.
    pub program: String,
    /// Arguments before the subcommand, for each call.
    pub global_args: Vec<String>,
    /// Arguments of the subcommand that runs a container, the last ones before the image.
    pub run_args: Vec<String>,
    /// Variables for each container, where its task does not set them.
    pub env: BTreeMap<EnvName, String>,
}

/// The runtimes that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Docker, 20.10 or later.
    Docker,
    /// Podman, 4 or later.
    Podman,
    /// Apptainer.
    Apptainer,
    /// Singularity, which Apptainer grew out of.
    Singularity,
    /// NERSC's Shifter.
    Shifter,
    /// Charliecloud's `ch-run`.
    Charliecloud,
}

/// Where no runtime is named: what a computing centre has set up for its users comes before what came with the system.
pub const SEARCH_ORDER: [Kind; 6] =
    [Kind::Shifter, Kind::Apptainer, Kind::Singularity, Kind::Charliecloud, Kind::Podman, Kind::Docker];

/// A runtime that was found on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which one.
    pub kind: Kind,
    /// The absolute path of its client.
    pub program: String,
}

impl Kind {
    /// The name of its client.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Charliecloud => "ch-run",
            Self::Docker | Self::Podman | Self::Apptainer | Self::Singularity | Self::Shifter => self.name(),
        }
    }

    /// Its own name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Apptainer => "apptainer",
            Self::Singularity => "singularity",
            Self::Shifter => "shifter",
            Self::Charliecloud => "charliecloud",
        }
    }
}

impl Runtime {
    /// The variables that each container is given.
    #[must_use]
    pub fn env(&self) -> &BTreeMap<EnvName, String> {
        static NONE: BTreeMap<EnvName, String> = BTreeMap::new();
        match self {
            Self::Auto { env } => env,
            Self::None => &NONE,
            Self::Named(named) => &named.env,
            Self::Custom(custom) => &custom.env,
        }
    }

    /// The name of what runs images, where anything does. `found` is the first of [`SEARCH_ORDER`] on this host.
    #[must_use]
    pub fn name(&self, found: Option<&Found>) -> Option<String> {
        match self {
            Self::Auto { .. } => found.map(|f| f.kind.name().to_owned()),
            Self::None => None,
            Self::Named(named) => Some(named.kind.name().to_owned()),
            Self::Custom(custom) => Some(custom.name.clone()),
        }
    }

    /// Whether the first of [`SEARCH_ORDER`] must be looked for.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        matches!(self, Self::Auto { .. })
    }

    /// Whether it mounts also where an image has nothing, whatever the image is like.
    pub(crate) fn makes_mount_points(&self, found: Option<&Found>) -> bool {
        let kind = match self {
            Self::Auto { .. } => found.map(|found| found.kind),
            Self::Named(named) => Some(named.kind),
            Self::None | Self::Custom(_) => None,
        };
        matches!(kind, Some(Kind::Docker | Kind::Podman))
    }

    /// The command line for `job`, or all that is against it.
    pub(crate) fn launch(
        &self,
        image: &Image,
        found: Option<&Found>,
        mut job: Job<'_>,
    ) -> Result<RuntimeLaunch, Vec<String>> {
        job.check_image(image);
        let named = match self {
            Self::None => {
                return Err(vec!["images are not run here: leave the image out to run on the host".to_owned()]);
            }
            Self::Custom(custom) => {
                job.add_env(&custom.env);
                let launch = custom.launch(image, &mut job);
                return job.finish(launch);
            }
            Self::Named(named) => named.clone(),
            Self::Auto { env } => match found {
                Some(Found { kind, program }) => NamedRuntime {
                    kind: *kind,
                    program: program.clone(),
                    global_args: Vec::new(),
                    run_args: Vec::new(),
                    env: env.clone(),
                },
                None => {
                    let names = SEARCH_ORDER.map(Kind::program).join(", ");
                    return Err(vec![format!(
                        "there is no container runtime on this host ({names} are not on the pipe's PATH): install one, \
                         name one in the site's file, or leave the image out to run on the host"
                    )]);
                }
            },
        };
        job.add_env(&named.env);
        let launch = match named.kind {
            Kind::Docker | Kind::Podman => oci::launch(&named, image, &mut job),
            Kind::Apptainer | Kind::Singularity => apptainer::launch(&named, image, &mut job),
            Kind::Shifter => shifter::launch(&named, image, &mut job),
            Kind::Charliecloud => charliecloud::launch(&named, image, &mut job),
        };
        job.finish(launch)
    }
}

#[cfg(test)]
mod tests;
