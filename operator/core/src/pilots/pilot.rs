//! One pilot, as its CmdJob tells of it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::launcher::PilotState;
use vk_cmd_crds::{CmdJob, State, labels};

use super::name;
use crate::status::finished_at;

/// One pilot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PilotSeen {
    /// Its name, which is that of its CmdJob.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// The UID of its CmdJob.
    pub uid: String,
    /// Where it is.
    pub life: Life,
    /// Of the launcher that it was made by.
    pub digest: String,
    /// What it says.
    pub message: Option<String>,
}

/// Whether a CmdJob of this metadata is a pilot of this fleet.
pub(super) fn is_of(meta: &ObjectMeta, fleet: &str, fleet_uid: &str) -> bool {
    let is_owned = meta.owner_references.iter().flatten().any(|owner| owner.uid == fleet_uid);
    is_owned && meta.name.as_deref().is_some_and(|name| name::number(name, fleet).is_some())
}

/// Where a pilot is, as far as its CmdJob says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The gateway has not taken it up.
    Waiting,
    /// Its script runs: it submits, waits in the batch system's queue, or its allocation is there.
    Submitted,
    /// It is being cancelled.
    Leaving,
    /// It has ended as it should.
    Ended,
    /// It has failed, then.
    Failed(Timestamp),
}

impl PilotSeen {
    /// Reads a CmdJob that a fleet owns: the fleet's UID, and the pilot. None, if it is no pilot.
    pub fn read(job: &CmdJob) -> Option<(&str, Self)> {
        let mut owners = job.metadata.owner_references.iter().flatten();
        let fleet = owners.find(|owner| owner.kind == labels::FLEET_KIND)?;
        Some((&fleet.uid, Self::of(job, &fleet.name, &fleet.uid)?))
    }

    /// Reads a CmdJob; none, if it is no pilot of this fleet.
    pub fn of(job: &CmdJob, fleet: &str, fleet_uid: &str) -> Option<Self> {
        let meta = &job.metadata;
        let name = meta.name.as_deref().filter(|_| is_of(meta, fleet, fleet_uid))?;
        let label = |key: &str| meta.labels.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default();
        let status = job.status.as_ref();
        let made = || meta.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let life = match status.and_then(|status| status.state) {
            _ if meta.deletion_timestamp.is_some() => Life::Leaving,
            Some(State::Complete) => Life::Ended,
            Some(State::Failed | State::Invalid) => Life::Failed(status.and_then(finished_at).unwrap_or_else(made)),
            Some(State::Running | State::Terminating) => Life::Submitted,
            Some(State::Waiting | State::Pending | State::Suspended) | None => Life::Waiting,
        };
        let last = status.and_then(|status| status.attempts.iter().max_by_key(|attempt| attempt.attempt));
        let own_words = last.and_then(|attempt| attempt.message.clone());
        let message = match life {
            Life::Failed(_) | Life::Ended => own_words.or_else(|| status.and_then(|status| status.message.clone())),
            Life::Waiting => status.and_then(|status| status.message.clone()),
            Life::Submitted | Life::Leaving => None,
        };
        Some(Self {
            name: name.to_owned(),
            number: name::number(name, fleet)?,
            uid: meta.uid.clone()?,
            life,
            digest: label(labels::LAUNCHER),
            message,
        })
    }

    /// Whether there may be an allocation that belongs to it.
    pub fn is_live(&self) -> bool {
        matches!(self.life, Life::Waiting | Life::Submitted)
    }

    /// The same in the words of the status, with so many nodes seen.
    pub fn state(&self, nodes: usize) -> PilotState {
        match self.life {
            Life::Submitted if nodes > 0 => PilotState::Running,
            Life::Waiting => PilotState::Waiting,
            Life::Submitted => PilotState::Pending,
            Life::Leaving => PilotState::Cancelling,
            Life::Ended => PilotState::Ended,
            Life::Failed(_) => PilotState::Failed,
        }
    }
}
