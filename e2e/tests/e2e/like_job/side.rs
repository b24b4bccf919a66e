//! The two sides that are compared.

use kube::core::ApiResource;
use vk_cmd_crds::labels;

/// Who runs the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The Job controller of kube-controller-manager, and the scheduler.
    Native,
    /// vk-operator.
    CmdJob,
}

impl Side {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Native, Self::CmdJob];

    /// The kind of its jobs.
    pub(super) fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Native => ("batch", "v1", "Job", "jobs"),
            Self::CmdJob => (labels::GROUP, labels::VERSION, labels::KIND, "cmdjobs"),
        };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{group}/{version}"),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }

    /// The label of its pods that names the job.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Native => "batch.kubernetes.io/job-name",
            Self::CmdJob => labels::JOB,
        }
    }

    /// A word for file names.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::CmdJob => "cmdjob",
        }
    }
}
