//! A CmdJob that can be acted on.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, VolumeMount};
use vk_cmd_crds::{After, OnUnknown, PodFailurePolicy, Resources, Volume};

use super::{Completions, Run, SuccessRule, Target};
use crate::object::Object;
use crate::trace::Trace;

/// A CmdJob that can be acted on. Borrows its texts: a script may be half a megabyte.
#[derive(Clone, Debug)]
pub struct ValidJob<'a> {
    /// Which object it is, and whether it is to go.
    pub object: Object<'a>,
    /// The first [`super::UID_DIGITS`] hexadecimal digits of the UID.
    pub short_uid: String,
    /// The trace that it belongs to.
    pub trace: Trace,
    /// When the object was made.
    pub created: Option<Timestamp>,
    /// Where to run.
    pub target: Target<'a>,
    /// What to run.
    pub run: Run<'a>,
    /// Environment variables.
    pub env: &'a [EnvVar],
    /// Where more of them come from.
    pub env_from: &'a [EnvFromSource],
    /// The directory to run in.
    pub working_dir: Option<&'a str>,
    /// The image to run it in; none runs it on the host itself.
    pub image: Option<&'a str>,
    /// What it may use, and what the node must have free for it.
    pub resources: Option<&'a Resources>,
    /// Files for it.
    pub volumes: &'a [Volume],
    /// Where it sees them.
    pub volume_mounts: &'a [VolumeMount],
    /// How many successes are asked for.
    pub completions: Completions,
    /// How many attempts may be alive at a time.
    pub parallelism: u32,
    /// Whether each success has an index of its own that the user knows.
    pub indexed: bool,
    /// How many failed attempts are followed by another one.
    pub backoff_limit: u32,
    /// The same for each index, which then fails alone.
    pub backoff_limit_per_index: Option<u32>,
    /// With more failed indexes than this the job fails at once.
    pub max_failed_indexes: Option<u32>,
    /// What is done about failed attempts, by how they failed.
    pub pod_failure_policy: Option<&'a PodFailurePolicy>,
    /// When the job has succeeded though not every index has; none: when every one has.
    pub success_policy: Vec<SuccessRule>,
    /// What an unknown end means.
    pub on_unknown: OnUnknown,
    /// The longest that one attempt may take.
    pub walltime: Option<SignedDuration>,
    /// The annotation [`vk_cmd_crds::labels::WARNING_SIGNAL`], for its pods; the node reads it.
    pub warning_signal: Option<&'a str>,
    /// The jobs that it waits for.
    pub after: &'a [After],
    /// Which of two jobs of a namespace comes first: the one of the higher number.
    pub priority: i32,
    /// How long the job may be active.
    pub deadline: Option<SignedDuration>,
    /// How long after its end it is deleted.
    pub ttl: Option<SignedDuration>,
    /// Whether nothing of it shall run.
    pub suspend: bool,
    /// The time between TERM and KILL, in seconds.
    pub grace_seconds: i64,
}

impl ValidJob<'_> {
    /// Whether the status shows which indexes have succeeded.
    pub fn shows_indexes(&self) -> bool {
        self.indexed || self.completions == Completions::EveryNode
    }
}
