//! What can be wrong with a CmdJob.

use std::fmt;

use vk_cmd_crds::NameError;

use super::UID_DIGITS;
use crate::indexes::NoIndexes;

/// Everything that is wrong with a CmdJob; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// One thing that is wrong with a CmdJob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The object did not come from an API server.
    #[error("metadata.{0} is missing: this object is not from an API server")]
    Metadata(&'static str),
    /// The UID is not a UUID.
    #[error("metadata.uid {0:?} has fewer than {UID_DIGITS} hexadecimal digits")]
    Uid(String),
    /// No target.
    #[error(
        "spec.target is empty: name the node to run on, e.g. target: {{node: vk-perlmutter-01}}, or a fleet, or a nodeSelector"
    )]
    NoTarget,
    /// More than one target.
    #[error("spec.target has more than one of node, fleet and nodeSelector: leave all but one out")]
    Targets,
    /// Two fields that do not go together, or one that lacks another.
    #[error("{0}")]
    Fields(&'static str),
    /// A text that is no set of indexes.
    #[error("spec.successPolicy.rules[{rule}].succeededIndexes: {why}")]
    Indexes {
        /// The number of the rule.
        rule: usize,
        /// What is wrong with it.
        why: NoIndexes,
    },
    /// More indexes shall succeed than there are.
    #[error("spec.successPolicy.rules[{rule}].succeededCount is {count}: there are {most} indexes that it is about")]
    SucceededCount {
        /// The number of the rule.
        rule: usize,
        /// How many shall succeed.
        count: u32,
        /// How many can.
        most: u32,
    },
    /// A target that is not a vk-node.
    #[error("spec.target.node: {0}")]
    Node(NameError),
    /// Neither script nor command.
    #[error("spec has nothing to run: set script or command")]
    NothingToRun,
    /// Both script and command.
    #[error("spec has both script and command: set one of them")]
    ScriptAndCommand,
    /// Args without a command.
    #[error("spec.args belong to spec.command: set it, or write the arguments into the script")]
    ArgsWithoutCommand,
    /// A shell for a command.
    #[error("spec.shell belongs to spec.script: a command is run without a shell")]
    ShellWithCommand,
    /// A text that must not be empty is.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A path that is not absolute.
    #[error("{field} {path:?} is not an absolute path: it must begin with /")]
    NotAbsolute {
        /// The field.
        field: &'static str,
        /// Its value.
        path: String,
    },
    /// A NUL character, which no argument of execve can hold.
    #[error("{0} contains a NUL character, which no program can be given: take it out")]
    Nul(String),
    /// The name of an environment variable.
    #[error("spec.env: {0:?} is no name of an environment variable: use printable ASCII characters other than '='")]
    EnvName(String),
    /// A volume of no kind that a vk-node has, or of more than one.
    #[error(
        "spec.volumes: the volume {0:?} must be exactly one of configMap, secret, downwardAPI, projected, emptyDir and hostPath"
    )]
    VolumeKinds(String),
    /// A mount of a volume that is not there.
    #[error("spec.volumeMounts names the volume {0:?}, which is not among spec.volumes")]
    NoVolume(String),
    /// A number below its least value.
    #[error("{field} is {value}: the least value is {least}")]
    TooSmall {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
        /// The least value allowed.
        least: i64,
    },
}
