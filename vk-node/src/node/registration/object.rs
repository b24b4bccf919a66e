//! The Node object: made, mended, written.

use std::collections::BTreeMap;

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeStatus};
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::Value;
use vk_node_core::node::{self, Marks, Told, Trouble};

use super::{Registration, call, lock, view};

/// Whether the API server has the Node object of this node.
///
/// ```text
///   Absent ──it is to be made──► Unknown ──it was──► There
///      ▲                            │
///      └──────── refused ───────────┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing of it has been heard, and it was not made.
    #[default]
    Absent,
    /// It was to be made, and there is no answer that says whether it was: that node has to find out before it may go.
    Unknown,
    /// It is known to be this node's.
    There,
}

impl Registration {
    /// Makes or mends the Node object.
    pub(super) async fn make(&self, trouble: Option<&Trouble>) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let name = self.profile.name.as_str();
        let existing = match call("read the Node", nodes.get_opt(name)).await? {
            Some(node) => node,
            None => self.create(&nodes, trouble).await?,
        };
        *lock(&self.presence) = Presence::There;
        *lock(&self.lineage) = node::lineage(&existing);
        self.mark(existing.labels(), existing.annotations()).await?;
        self.publish(trouble, existing.status.as_ref()).await?;
        self.name.renew(Some(&existing)).await?;
        self.heard();
        Ok(())
    }

    async fn create(&self, nodes: &Api<Node>, trouble: Option<&Trouble>) -> anyhow::Result<Node> {
        let mut wanted = {
            let (seen, way) = (self.host.borrow(), self.way());
            let view = view(&seen, trouble, self.end.nearing(), &way);
            node::object(&self.profile(), self.end.lives().lasts, &view, Timestamp::now())
        };
        node::set_lineage(&mut wanted, &self.lineage());
        *lock(&self.presence) = Presence::Unknown;
        let made = call("create the Node", nodes.create(&PostParams::default(), &wanted)).await;
        if let Err(error) = &made
            && error.downcast_ref().is_some_and(is_refused)
        {
            *lock(&self.presence) = Presence::Absent;
        }
        made.context("check that the credentials are those of this node: system:node:<name>")
    }

    /// Whether there may be a Node object that this node has made, or has found.
    pub(in crate::node) fn may_have_node(&self) -> bool {
        self.presence() != Presence::Absent
    }

    pub(super) fn presence(&self) -> Presence {
        *lock(&self.presence)
    }

    pub(super) fn status(&self, trouble: Option<&Trouble>, before: Option<&NodeStatus>) -> NodeStatus {
        let (seen, way) = (self.host.borrow(), self.way());
        let view = view(&seen, trouble, self.end.nearing(), &way);
        node::status(&self.profile(), &view, before, Timestamp::now())
    }

    pub(super) async fn publish(&self, trouble: Option<&Trouble>, before: Option<&NodeStatus>) -> anyhow::Result<()> {
        self.write(self.status(trouble, before), before).await
    }

    pub(super) async fn write(&self, status: NodeStatus, before: Option<&NodeStatus>) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let (name, parameters) = (self.profile.name.as_str(), PatchParams::default());
        let patch = Patch::Strategic(node::patch(before, &status));
        let written = call("write the Node's status", nodes.patch_status(name, &parameters, &patch)).await?;
        let version = node::version(&written);
        self.report.told(&status);
        *lock(&self.told) = Some(Told { status, at: self.started.elapsed(), version });
        Ok(())
    }

    /// Puts our labels and annotations back where they are not as they should be. Those of others are left.
    pub(super) async fn mark(
        &self,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        let marks = {
            let seen = self.host.borrow();
            let former = self.tuned.node(self.profile.name.as_str()).former_labels;
            Marks::of(&self.profile(), &self.end.lives(), &seen.info.site).without(former)
        };
        self.write_marks(marks.patch(labels, annotations)).await
    }

    pub(super) async fn write_marks(&self, patch: Option<Value>) -> anyhow::Result<()> {
        let Some(patch) = patch else { return Ok(()) };
        let nodes: Api<Node> = Api::all(self.client.clone());
        let (name, parameters) = (self.profile.name.as_str(), PatchParams::default());
        call("label the Node", nodes.patch_metadata(name, &parameters, &Patch::Merge(patch))).await.map(drop)
    }
}

/// Whether the API server has answered that it does not do this: nothing has been made then.
fn is_refused(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && !status.is_already_exists())
}
