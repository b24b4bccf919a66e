//! What of the API server is in no namespace: nodes and fleets.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, from_value, json, to_value};
use vk_cmd_crds::{CmdFleet, labels};
use vk_operator_core::effects::Refusal;
use vk_operator_core::place::{NodeSeen, Nodes};

use crate::api::{Api, Change, Stop};
use crate::objects::agrees;

impl Api {
    /// The nodes, as operators read them.
    pub(crate) fn nodes_seen(&self) -> Nodes {
        self.nodes.iter().map(|(name, node)| (name.clone(), NodeSeen::of(node))).collect()
    }

    /// A node as it is now; none: its object is deleted.
    pub(crate) fn set_node(&mut self, name: &str, node: Option<Node>) {
        let Some(mut node) = node else {
            if self.nodes.remove(name).is_some() {
                self.log.push(Change::Node(name.to_owned(), None));
            }
            return;
        };
        let before = self.nodes.get(name);
        let uid = || format!("0de0{:04}-5e6f-4000-8000-000000000000", self.log.len());
        node.metadata.uid = before.map_or_else(|| Some(uid()), |before| before.metadata.uid.clone());
        node.metadata.resource_version = before.and_then(|before| before.metadata.resource_version.clone());
        if before.is_some_and(|before| **before == node) {
            return;
        }
        node.metadata.resource_version = Some(format!("{}", self.log.len() + 1));
        let node = Arc::new(node);
        self.nodes.insert(name.to_owned(), Arc::clone(&node));
        self.log.push(Change::Node(name.to_owned(), Some(node)));
    }

    /// Changes a node, if it is there.
    pub(crate) fn change_node(&mut self, name: &str, change: impl FnOnce(&mut Node)) {
        let Some(mut node) = self.nodes.get(name).map(|node| Node::clone(node)) else { return };
        change(&mut node);
        self.set_node(name, Some(node));
    }

    /// A merge patch of a node, by an operator.
    pub(crate) fn patch_node(&mut self, name: &str, patch: &Value) -> Result<(), Stop> {
        let node = self.nodes.get(name).ok_or(Stop::No(Refusal::NotFound))?;
        agrees(&node.metadata, patch)?;
        let mut whole = to_value(&**node).unwrap();
        json_patch::merge(&mut whole, patch);
        self.writes += 1;
        self.set_node(name, Some(from_value(whole).unwrap()));
        Ok(())
    }

    /// An operator removes a Node that it has seen in this version.
    pub(crate) fn remove_node(&mut self, seen: &Node) -> Result<(), Stop> {
        let name = seen.metadata.name.as_deref().unwrap();
        let node = self.nodes.get(name).ok_or(Stop::No(Refusal::NotFound))?;
        let (uid, version) = (&seen.metadata.uid, &seen.metadata.resource_version);
        agrees(&node.metadata, &json!({"metadata": {"uid": uid, "resourceVersion": version}}))?;
        self.writes += 1;
        self.set_node(name, None);
        Ok(())
    }

    /// Somebody makes or changes a fleet.
    pub(crate) fn put_fleet(&mut self, mut fleet: CmdFleet) {
        let name = fleet.metadata.name.clone().unwrap();
        let before = self.fleets.get(&name);
        if before.is_some_and(|before| before.spec == fleet.spec && before.status == fleet.status) {
            return;
        }
        let generation = before
            .map_or(1, |before| before.metadata.generation.unwrap_or_default() + i64::from(before.spec != fleet.spec));
        fleet.metadata.generation = Some(generation);
        fleet.metadata.resource_version = Some(self.next());
        let fleet = Arc::new(fleet);
        self.fleets.insert(name, Arc::clone(&fleet));
        self.log.push(Change::Fleet(fleet));
    }

    /// A merge patch of a fleet's status.
    pub(crate) fn patch_fleet(&mut self, name: &str, patch: &Value) -> Result<(), Stop> {
        let fleet = self.fleets.get(name).ok_or(Stop::No(Refusal::NotFound))?;
        agrees(&fleet.metadata, patch)?;
        let mut whole = to_value(fleet.status.clone().unwrap_or_default()).unwrap();
        json_patch::merge(&mut whole, &patch["status"]);
        let fleet = CmdFleet { status: Some(from_value(whole).unwrap()), ..CmdFleet::clone(fleet) };
        self.put_fleet(fleet);
        Ok(())
    }
}

/// A Node object.
pub(crate) fn node_object(name: &str, labels: Value, annotations: Value) -> Node {
    from_value(json!({
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {},
        "status": {
            "allocatable": {"pods": "110", "cpu": "2"}, "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
    .unwrap()
}

/// Has a condition of a node say this since now, if it has said something else.
pub(crate) fn says(node: &mut Node, kind: &str, status: &str, reason: Option<&str>, now: jiff::Timestamp) {
    let all = node.status.get_or_insert_default().conditions.get_or_insert_default();
    let before = all.iter().find(|condition| condition.type_ == kind).filter(|before| before.status == status);
    let condition = NodeCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        last_transition_time: before.map_or(Some(Time(now)), |before| before.last_transition_time.clone()),
        ..NodeCondition::default()
    };
    all.retain(|other| other.type_ != kind);
    all.push(condition);
}

pub(crate) fn annotate(node: &mut Node, name: &str, value: Option<String>) {
    let all = node.metadata.annotations.get_or_insert_default();
    match value {
        Some(value) => drop(all.insert(name.to_owned(), value)),
        None => drop(all.remove(name)),
    }
}

pub(crate) fn is_unschedulable(node: &Node) -> bool {
    node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default()
}

/// The pilot that a node says that it runs in.
pub(crate) fn pilot_of(node: &Node) -> Option<&String> {
    node.metadata.labels.as_ref()?.get(labels::PILOT)
}
