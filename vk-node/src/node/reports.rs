//! What the nodes of this process tell of themselves to whoever asks on this machine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus};
use vk_node_core::report::{ConditionReport, MemberReport};

/// The reports of all nodes. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Reports(Arc<Mutex<BTreeMap<String, MemberReport>>>);

/// That of one.
pub(super) struct OwnReport {
    all: Reports,
    name: String,
}

impl Reports {
    /// That of a node, which is there from now on.
    pub(super) fn of(&self, name: &str, holds_seconds: u64) -> OwnReport {
        let own = OwnReport { all: self.clone(), name: name.to_owned() };
        own.change(|report| report.holds_seconds = holds_seconds);
        own
    }

    /// All of them.
    pub(super) fn all(&self) -> BTreeMap<String, MemberReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl OwnReport {
    fn change(&self, change: impl FnOnce(&mut MemberReport)) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(self.name.clone()).or_default());
    }

    /// The API server has taken a heartbeat of a node that is reached there and ends then.
    pub(super) fn heard(&self, reached_at: Option<String>, ends_at: Option<Timestamp>) {
        self.change(|report| {
            *report = MemberReport {
                reached_at,
                heard_at: Some(Timestamp::now()),
                trouble: None,
                ends_at,
                holds_seconds: report.holds_seconds,
                conditions: std::mem::take(&mut report.conditions),
            };
        });
    }

    /// The API server has this status.
    pub(super) fn told(&self, status: &NodeStatus) {
        let conditions = status.conditions.iter().flatten().map(condition).collect();
        self.change(|report| report.conditions = conditions);
    }

    /// Something keeps the node from the API server.
    pub(super) fn trouble(&self, why: String) {
        self.change(|report| report.trouble = Some(why));
    }
}

fn condition(condition: &NodeCondition) -> ConditionReport {
    ConditionReport {
        kind: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone().unwrap_or_default(),
        message: condition.message.clone().unwrap_or_default(),
    }
}
