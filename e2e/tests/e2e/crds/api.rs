//! Asks the API server, strictly and without a trace: as kubectl does with `--dry-run=server`.

use kube::Client;
use serde_json::{Value, json};
use vk_cmd_crds::labels;

use super::native;
use crate::asking::{Asking, Said};
use crate::fixture::{chart, control_plane, namespace};

/// A kind that is asked about.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    CmdJob,
    Job,
}

impl Kind {
    fn group_version(self) -> String {
        match self {
            Self::CmdJob => format!("{}/{}", labels::GROUP, labels::VERSION),
            Self::Job => "batch/v1".to_owned(),
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::CmdJob => "cmdjobs",
            Self::Job => "jobs",
        }
    }

    /// The object of this kind for a CmdJob's spec.
    fn object(self, name: &str, spec: &Value) -> Value {
        let (kind, spec) = match self {
            Self::CmdJob => ("CmdJob", spec.clone()),
            Self::Job => ("Job", native::spec(spec)),
        };
        json!({"apiVersion": self.group_version(), "kind": kind, "metadata": {"name": name}, "spec": spec})
    }
}

/// A test's namespace.
#[derive(Clone)]
pub(super) struct Asked {
    client: Client,
    namespace: String,
}

impl Asked {
    pub(super) async fn in_namespace(name: &str) -> Self {
        chart().await;
        let plane = control_plane().await;
        namespace(plane, name).await;
        Self { client: plane.client().await.unwrap(), namespace: name.to_owned() }
    }

    /// Whether an object would be taken.
    pub(super) async fn create(&self, kind: Kind, name: &str, spec: &Value) -> Said {
        self.ask("POST", &self.url(kind, "", true), "application/json", &kind.object(name, spec)).await
    }

    /// Makes it in truth.
    pub(super) async fn make(&self, kind: Kind, name: &str, spec: &Value) -> Value {
        let url = self.url(kind, "", false);
        self.ask("POST", &url, "application/json", &kind.object(name, spec)).await.unwrap()
    }

    /// Whether a change of the spec would be taken.
    pub(super) async fn change(&self, kind: Kind, name: &str, spec: &Value) -> Said {
        let url = self.url(kind, &format!("/{name}"), true);
        self.ask("PATCH", &url, "application/merge-patch+json", &json!({"spec": spec})).await
    }

    fn url(&self, kind: Kind, name: &str, dry_run: bool) -> String {
        let dry_run = if dry_run { "&dryRun=All" } else { "" };
        let (group, plural) = (kind.group_version(), kind.plural());
        format!("/apis/{group}/namespaces/{}/{plural}{name}?fieldValidation=Strict{dry_run}", self.namespace)
    }

    async fn ask(&self, method: &str, url: &str, content: &str, body: &Value) -> Said {
        Asking { method, url, content, user: None }.send(&self.client, body).await
    }
}
