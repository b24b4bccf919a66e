//! What a node tells of itself to whoever asks it on its own machine: `vk-node status`, by the socket `node.sock` in the pipe's
//! directory. It needs no API server.
//!
//! | request to `node.sock` | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`NodeReport`] |
//! | `GET /v1/config` | | a list of [`Shown`](crate::config::Shown): what is in force |
//! | `PUT /v1/drain` | [`Drain`] | [`NodeReport`]: it takes nothing new from now on |
//! | `DELETE /v1/drain` | | [`NodeReport`]: it takes what comes again |
//! | `POST /v1/stop` | [`Stop`] | 204, and it ends |

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The socket, in the pipe's directory.
pub const SOCKET: &str = "node.sock";
/// Where it is kept that the node is drained, in the pipe's directory: a restart changes nothing of that.
pub const DRAINED: &str = "node-drained.json";

/// The paths of its API.
pub mod paths {
    /// What the node tells of itself.
    pub const STATUS: &str = "/v1/status";
    /// What is in force.
    pub const CONFIG: &str = "/v1/config";
    /// Whether it takes nothing new.
    pub const DRAIN: &str = "/v1/drain";
    /// Its end.
    pub const STOP: &str = "/v1/stop";
}

/// A request that the node take nothing new. What runs goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// Why, for people.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// A request that the node end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stop {
    /// Whether what runs goes on without it, until the next start; else it is ended, as when a batch system sends TERM.
    pub keep_jobs: bool,
}

/// What a process of `vk-node run` tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReport {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Since when it is there.
    pub started_at: Timestamp,
    /// Whether the pipe answers.
    pub pipe_answers: bool,
    /// What is logged.
    pub log: String,
    /// That it takes nothing new, if somebody has asked for that here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// Its nodes, by their names.
    pub nodes: BTreeMap<String, MemberReport>,
}

/// What is known of one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberReport {
    /// Where the API server reaches it; none as long as it is not registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_at: Option<String>,
    /// When the API server last took its heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
    /// Why it did not take the last one, if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How long a heartbeat holds, in seconds.
    #[serde(default)]
    pub holds_seconds: u64,
    /// When it ends, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
    /// Its conditions, as the API server has them.
    #[serde(default)]
    pub conditions: Vec<ConditionReport>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionReport {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// How a node is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves, as far as it knows.
    Ready,
    /// It is registered, and says itself that it does not.
    NotReady,
    /// It was registered, and the API server has not taken its heartbeat for as long as one holds.
    CutOff,
    /// It has not been registered since it was started.
    Starting,
}

impl Health {
    /// For people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::NotReady => "NotReady",
            Self::CutOff => "CutOff",
            Self::Starting => "Starting",
        }
    }
}

impl MemberReport {
    /// How it is now.
    #[must_use]
    pub fn health(&self, now: Timestamp) -> Health {
        let Some(heard) = self.heard_at else { return Health::Starting };
        let holds = SignedDuration::from_secs(i64::try_from(self.holds_seconds).unwrap_or(i64::MAX));
        if self.trouble.is_some() && now.duration_since(heard) > holds {
            return Health::CutOff;
        }
        match self.condition("Ready") {
            Some(ready) if ready.status == "True" => Health::Ready,
            Some(_) | None => Health::NotReady,
        }
    }

    fn condition(&self, kind: &str) -> Option<&ConditionReport> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

impl NodeReport {
    /// Whether all of its nodes serve.
    #[must_use]
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.nodes.values().all(|node| node.health(now) == Health::Ready)
    }

    /// For people.
    #[must_use]
    pub fn text(&self, now: Timestamp) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "vk-node {}, process {}, runs since {} ({})",
            self.version,
            self.pid,
            whole(self.started_at),
            ago(now, self.started_at)
        );
        if let Some(drain) = &self.drain {
            let _ = writeln!(text, "it is drained since {}: {}", whole(drain.since), drain.reason);
        }
        if !self.pipe_answers {
            text.push_str("its pipe does not answer\n");
        }
        for (name, node) in &self.nodes {
            let _ = writeln!(text, "\n{name}  {}", node.health(now).word());
            node.write(&mut text, now);
        }
        text
    }
}

impl MemberReport {
    fn write(&self, text: &mut String, now: Timestamp) {
        match (&self.reached_at, self.heard_at) {
            (at, Some(heard)) => {
                let _ = writeln!(text, "  the API server    has heard from it {} ago", age(now, heard));
                if let Some(at) = at {
                    let _ = writeln!(text, "  is reached at     {at}");
                }
            }
            (_, None) => text.push_str("  the API server    has not been told of it yet\n"),
        }
        if let Some(trouble) = &self.trouble {
            let _ = writeln!(text, "  trouble           {trouble}");
        }
        if let Some(ends) = self.ends_at {
            let _ = writeln!(text, "  ends at           {} (in {})", whole(ends), age(ends, now));
        }
        // Of the others it is good news that they are not so.
        for condition in &self.conditions {
            let is_worth_a_line = match condition.kind.as_str() {
                "Ready" => condition.status != "True",
                kind if kind.ends_with("Pressure") => condition.status != "False",
                kind if kind.ends_with("/Ending") => condition.status == "True",
                kind if kind.ends_with("/PipeReady") || kind.ends_with("/Reachable") => condition.status != "True",
                _ => true,
            };
            if is_worth_a_line {
                let _ = writeln!(text, "  {:17} {}: {}", condition.kind, condition.reason, condition.message);
            }
        }
    }
}

fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn ago(now: Timestamp, then: Timestamp) -> String {
    format!("{} ago", age(now, then))
}

/// How long ago something was, as kubectl writes it: the two largest units, or one where that is enough.
#[must_use]
pub fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..10_800 => format!("{minutes}m"),
        10_800..172_800 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn ready(status: &str) -> ConditionReport {
        ConditionReport { kind: "Ready".into(), status: status.into(), reason: "R".into(), message: "m".into() }
    }

    #[test]
    fn how_a_node_is_follows_from_what_it_was_told_and_when() {
        let now = at("2026-01-01T01:00:00Z");
        let mut node = MemberReport { holds_seconds: 40, ..MemberReport::default() };
        assert_eq!(node.health(now), Health::Starting);
        node.heard_at = Some(at("2026-01-01T00:59:50Z"));
        node.conditions = vec![ready("True")];
        assert_eq!(node.health(now), Health::Ready);
        node.trouble = Some("no route".into());
        assert_eq!(node.health(now), Health::Ready, "the heartbeat before still holds");
        node.heard_at = Some(at("2026-01-01T00:59:00Z"));
        assert_eq!(node.health(now), Health::CutOff);
        node.trouble = None;
        node.conditions = vec![ready("False")];
        assert_eq!(node.health(now), Health::NotReady);
    }

    #[test]
    fn a_report_reads_well_and_comes_through_json() {
        let now = at("2026-01-01T01:00:00Z");
        let node = MemberReport {
            reached_at: Some("10.0.0.7:10250".into()),
            heard_at: Some(at("2026-01-01T00:59:58Z")),
            holds_seconds: 40,
            ends_at: Some(at("2026-01-01T03:00:00Z")),
            conditions: vec![ready("False")],
            ..MemberReport::default()
        };
        let report = NodeReport {
            version: "0.1.0".into(),
            pid: 7,
            started_at: at("2026-01-01T00:00:00Z"),
            pipe_answers: true,
            log: "info".into(),
            drain: Some(Drain { reason: "maintenance".into(), since: at("2026-01-01T00:30:00Z") }),
            nodes: BTreeMap::from([("vk-a".to_owned(), node)]),
        };
        let text = report.text(now);
        for words in [
            "process 7",
            "60m ago",
            "vk-a  NotReady",
            "10.0.0.7:10250",
            "heard from it 2s ago",
            "in 120m",
            "R: m",
            "maintenance",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<NodeReport>(&json).unwrap(), report);
        assert!(!report.is_ready(now));
    }

    #[test]
    fn ages_are_short() {
        let then = at("2026-01-01T00:00:00Z");
        for (seconds, text) in
            [(0, "0s"), (119, "119s"), (125, "2m5s"), (700, "11m"), (11_000, "3h3m"), (200_000, "2d7h")]
        {
            assert_eq!(age(then + SignedDuration::from_secs(seconds), then), text);
        }
        assert_eq!(age(then, then + SignedDuration::from_secs(5)), "0s", "a clock that was set back");
    }
}
