//! Who asked the API server for what: its audit log.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use crate::scratch::{Scratch, write_private};

/// The audit log of an API server that was started with its [`flags`](Self::flags).
#[derive(Debug)]
pub struct AuditLog {
    scratch: Scratch,
}

impl AuditLog {
    /// One of requests that match this rule, a `PolicyRule` of audit.k8s.io/v1 as YAML on one line. No other request is logged,
    /// so that the log costs the rest nothing.
    pub fn new(rule: &str) -> Result<Self> {
        Self::without("[RequestReceived, ResponseStarted]", rule)
    }

    /// The same, with watches as soon as they begin, and once more when they end.
    pub fn of_beginnings(rule: &str) -> Result<Self> {
        Self::without("[RequestReceived]", rule)
    }

    fn without(stages: &str, rule: &str) -> Result<Self> {
        let this = Self { scratch: Scratch::new("vk-audit-")? };
        let policy = format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: {stages}\nrules:\n- {rule}\n- {{level: None}}\n"
        );
        write_private(&this.policy(), &policy)?;
        Ok(this)
    }

    /// The API server's flags for it.
    pub fn flags(&self) -> Vec<String> {
        vec![
            format!("--audit-policy-file={}", self.policy().display()),
            format!("--audit-log-path={}", self.log().display()),
        ]
    }

    fn policy(&self) -> PathBuf {
        self.scratch.path().join("policy.yaml")
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("audit.log")
    }

    /// What it says so far. A request is there before it is answered.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        self.entries_from(0).map(|(entries, _)| entries)
    }

    /// What it says from this place on, and the place behind that.
    pub fn entries_from(&self, place: usize) -> Result<(Vec<Entry>, usize)> {
        let text = std::fs::read_to_string(self.log()).context("cannot read the API server's audit log")?;
        // The last line may be on its way.
        let end = text.rfind('\n').map_or(0, |newline| newline + 1);
        let new = text.get(place..end).unwrap_or_default();
        let parse = |line| serde_json::from_str(line).context("a line of the audit log is not as it should be");
        Ok((new.lines().map(parse).collect::<Result<_>>()?, end))
    }
}

/// A request.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// What was asked for: create, update, patch, delete, get, list, watch …
    pub verb: String,
    /// In whose name.
    pub user: User,
    /// By which program.
    pub user_agent: Option<String>,
    /// About which object.
    pub object_ref: Option<ObjectRef>,
    response_status: Option<Response>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// When the request arrived.
    pub request_received_timestamp: Timestamp,
}

/// Who asked.
#[derive(Debug, Clone, Deserialize)]
pub struct User {
    /// The name.
    pub username: String,
}

/// What was asked about.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// The group of the API that it is in; none is the first one.
    pub api_group: Option<String>,
    /// The kind of object, as in a path.
    pub resource: String,
    /// The part of it.
    pub subresource: Option<String>,
    /// The namespace it is in.
    pub namespace: Option<String>,
    /// Its name; of an object that is made, too.
    pub name: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Response {
    code: Option<u16>,
}

impl Entry {
    /// The answer's HTTP status; 0 if there was none.
    pub fn code(&self) -> u16 {
        self.response_status.as_ref().and_then(|response| response.code).unwrap_or_default()
    }

    /// Whether who asked may not. What admission refuses has the same answer, and is something else.
    pub fn is_forbidden(&self) -> bool {
        self.annotations.get("authorization.k8s.io/decision").is_some_and(|decision| decision == "forbid")
    }

    /// Whether something was to be changed.
    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// The object's kind, if it is one of these.
    pub fn resource(&self) -> &str {
        self.object_ref.as_ref().map(|object| object.resource.as_str()).unwrap_or_default()
    }

    /// What was asked for, in words: `patch cmdjobs/status (refused: 409)`.
    pub fn act(&self) -> String {
        let object = self.object_ref.clone().unwrap_or_default();
        let subresource = object.subresource.iter().map(|name| format!("/{name}")).collect::<String>();
        let refused = if self.code() >= 400 { format!(" (refused: {})", self.code()) } else { String::new() };
        format!("{} {}{subresource}{refused}", self.verb, object.resource)
    }
}
