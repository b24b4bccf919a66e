//! Deliberate mistakes, each of which breaks a law: so it is seen that the laws can be broken.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use vk_cmd_crds::{CmdFleet, CmdJob, labels};
use vk_operator_core::dependencies::State;
use vk_operator_core::pilots::Step;
use vk_operator_core::place::{NodeSeen, NodeState};
use vk_operator_core::validate;

/// A mistake, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    None,
    /// The pipe loses records that nobody was told of.
    PipeLosesRecords,
    /// The operator takes a pod that is being deleted for one that has ended.
    DeletedIsEnded,
    /// The node takes a task that it has asked to end for one that has ended.
    AskedIsEnded,
    /// The operator counts successes twice.
    CountsTwice,
    /// The operator reads a parallelism that is one too high.
    OneTooMany,
    /// The operator sees no rules and no end of nodes.
    NodesTakeAll,
    /// The operator takes every job for complete that another waits for.
    TrustsOthers,
    /// Who gets room is not named.
    NobodyIsNamed,
    /// No look asks for another one.
    NoTimers,
    /// Failed looks are forgotten, so that the pauses after them do not grow.
    PausesDoNotGrow,
    /// The status tells the time, and each look asks for another one after so many minutes; none: it does not.
    TellsTheTime(Option<u64>),
    /// The status tells which operator has written it.
    TellsWhoWrote,
    /// The operator takes for granted that its caches are not behind.
    AlwaysSure,
    /// Pods whose job is gone are not looked for.
    NoStrays,
    /// Nor are processes whose pod is gone.
    NoOrphans,
    /// A job that may go is not let go.
    NeverLetsGo,
    /// It is not seen that one is to go that is not valid; or cannot be read.
    KeepsInvalid,
    KeepsUnreadable,
    /// Pods are made as usual in every namespace.
    IgnoresStandards,
    /// The operator takes pods of one namespace for such that use more than they do.
    ShopWeighsMore,
    /// It reads limits of a fleet that are too high.
    MorePilots,
    /// It submits pilots by what its cache knows, without asking.
    TrustsItsCache,
    /// Pilots are cancelled when they are released, whatever runs there.
    CancelsAtOnce,
    /// Every cordon is taken for one of the fleet.
    TakesCordonsForOwn,
    /// Nodes that nobody needs are not released.
    NeverReleases,
    /// No pilot is submitted.
    NeverSubmits,
    /// A pilot's script does not look for what it may have submitted.
    ForgetsWhatItSubmitted,
}

impl Mutation {
    pub(crate) fn of_job(self, job: &Arc<CmdJob>, is_readable: bool) -> Cow<'_, CmdJob> {
        let mut other = Cow::Borrowed(&**job);
        match self {
            Self::OneTooMany => {
                let spec = &mut other.to_mut().spec;
                spec.parallelism = spec.parallelism.map(|n| n + 1);
            }
            Self::KeepsInvalid if is_readable && validate(job).is_err() => {
                other.to_mut().metadata.deletion_timestamp = None;
            }
            Self::KeepsUnreadable if !is_readable => other.to_mut().metadata.deletion_timestamp = None,
            _ => {}
        }
        other
    }

    pub(crate) fn of_pod(self, pod: &Pod) -> Cow<'_, Pod> {
        if self == Self::ShopWeighsMore && pod.metadata.namespace.as_deref() == Some("shop") {
            let mut heavy = pod.clone();
            let requests = serde_json::from_value(json!({"requests": {"cpu": "8"}})).ok();
            let containers = heavy.spec.iter_mut().flat_map(|spec| &mut spec.containers);
            containers.for_each(|container| container.resources.clone_from(&requests));
            return Cow::Owned(heavy);
        }
        if self != Self::DeletedIsEnded || pod.metadata.deletion_timestamp.is_none() {
            return Cow::Borrowed(pod);
        }
        let mut ended = pod.clone();
        if let Some(status) = &mut ended.status {
            status.phase = Some("Failed".to_owned());
        }
        Cow::Owned(ended)
    }

    /// A pod that the operator is about to make.
    pub(crate) fn of_new_pod(self, pod: &Pod) -> Cow<'_, Pod> {
        if self != Self::IgnoresStandards {
            return Cow::Borrowed(pod);
        }
        let mut usual = pod.clone();
        if let Some(spec) = &mut usual.spec {
            spec.security_context = None;
            spec.containers.iter_mut().for_each(|container| container.security_context = None);
        }
        Cow::Owned(usual)
    }

    pub(crate) fn of_node(self, node: &NodeSeen) -> NodeSeen {
        let mut node = node.clone();
        if self == Self::NodesTakeAll {
            node.namespaces = vk_site::Rule::default();
            node.ends = None;
            node.labels.insert(labels::FLEET.to_owned(), "f".to_owned());
            node.state = NodeState::Ready;
        }
        node
    }

    pub(crate) fn of_dependency(self, state: State) -> State {
        match self {
            Self::TrustsOthers => State { ended: Some(true), ..state },
            _ => state,
        }
    }

    pub(crate) fn of_status(self, patch: &Value, incarnation: u32, now: Timestamp) -> Value {
        let mut patch = patch.clone();
        let said = match self {
            Self::TellsTheTime(_) => Some(format!("it is {now}")),
            Self::TellsWhoWrote => Some(format!("written by {incarnation}")),
            _ => None,
        };
        if let Some(said) = said {
            patch["status"]["message"] = json!(said);
        }
        if self == Self::CountsTwice
            && let Some(n) = patch["status"]["succeeded"].as_i64()
        {
            patch["status"]["succeeded"] = json!(n * 2);
        }
        patch
    }

    pub(crate) fn of_fleet(self, fleet: &CmdFleet) -> CmdFleet {
        let mut fleet = fleet.clone();
        if self == Self::MorePilots {
            fleet.spec.max_nodes = fleet.spec.max_nodes.map(|most| most + 2);
            fleet.spec.replicas = fleet.spec.replicas.map(|most| most + 2);
        }
        fleet
    }

    pub(crate) fn of_steps(self, steps: Vec<Step>) -> Vec<Step> {
        let drops = |step: &Step| match step {
            Step::Release { .. } => self == Self::NeverReleases,
            Step::Submit(_) => self == Self::NeverSubmits,
            Step::Cancel { .. } | Step::Forget { .. } => false,
        };
        steps.into_iter().filter(|step| !drops(step)).collect()
    }

    pub(crate) fn pause(self, again: Option<Duration>) -> Option<Duration> {
        match self {
            Self::NoTimers => None,
            Self::TellsTheTime(Some(minutes)) => again.or(Some(Duration::from_mins(minutes))),
            _ => again,
        }
    }

    /// Whether a patch of a CmdJob is not made.
    pub(crate) fn drops(self, patch: &Value) -> bool {
        self == Self::NeverLetsGo && patch["metadata"]["finalizers"].as_array().is_some_and(Vec::is_empty)
    }
}
