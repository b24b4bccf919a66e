//! What keeps a node from working on a machine: `vk-node doctor`.
//!
//! ```text
//!   Facts (gathered by vk-node, each in its time) ──▶ CHECKS ──▶ Finding { id, state, reason, fix }
//! ```
//!
//! A check looks at facts only, and is skipped where there are none. Its id stays what it is: people and scripts go by it. They are
//! listed in docs/reference/vk-node.md, which is made of this.

mod facts;
mod host;
mod identity;
mod network;
mod running;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use serde::Serialize;
use vk_words::counted;

pub use self::facts::{
    Answered, CertificateFacts, CgroupFacts, DirectoryFacts, Facts, FileFacts, Login, NodeObject, PortFacts,
    ServerFacts, Systemd, Whoami,
};

/// What a check says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is as it should be: how it is.
    Fine(String),
    /// The node works, and something will not be as people expect.
    Warning(String),
    /// The node does not work.
    Failed(String),
    /// There is nothing to look at: why.
    Skipped(String),
}

use Verdict::{Failed, Fine, Skipped, Warning};

/// One thing that is looked at.
struct Check {
    /// By which people know it.
    id: &'static str,
    /// What is to be so.
    about: &'static str,
    /// What to do where it is not.
    fix: &'static str,
    /// Whether it is.
    look: fn(&Facts) -> Verdict,
}

/// All checks, in the order in which they are told: what others follow from comes first.
fn checks() -> impl Iterator<Item = &'static Check> {
    [settings::CHECKS, host::CHECKS, identity::CHECKS, network::CHECKS, running::CHECKS].into_iter().flatten()
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is as it should be.
    Ok,
    /// The node works, and something will not be as people expect.
    Warning,
    /// The node does not work.
    Failed,
    /// There was nothing to look at.
    Skipped,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check.
    pub id: &'static str,
    /// What is to be so.
    pub about: &'static str,
    /// How it went.
    pub state: State,
    /// How it is, or why it is not so.
    pub reason: String,
    /// What to do, where it is not so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'static str>,
}

/// Looks at everything.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let find = |check: &'static Check| {
        let (state, reason) = match (check.look)(facts) {
            Fine(how) => (State::Ok, how),
            Warning(why) => (State::Warning, why),
            Failed(why) => (State::Failed, why),
            Skipped(why) => (State::Skipped, why),
        };
        let fix = matches!(state, State::Warning | State::Failed).then_some(check.fix);
        Finding { id: check.id, about: check.about, state, reason, fix }
    };
    checks().map(find).collect()
}

/// Whether one of them keeps the node from working.
#[must_use]
pub fn is_failed(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.state == State::Failed)
}

/// For people: what is wrong first, and all else where that is wanted.
#[must_use]
pub fn text(findings: &[Finding], all: bool) -> String {
    let mut text = String::new();
    let of = |state: State| findings.iter().filter(move |finding| finding.state == state);
    for (state, word) in [(State::Failed, "FAILED"), (State::Warning, "warning")] {
        for Finding { id, reason, fix, .. } in of(state) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{word:7}  {id}: {reason}");
            let _ = writeln!(text, "         {}", fix.unwrap_or_default());
        }
    }
    for (state, word) in [(State::Ok, "ok"), (State::Skipped, "skipped")] {
        for Finding { id, reason, .. } in of(state).filter(|_| all) {
            let _ = writeln!(text, "{word:7}  {id}: {reason}");
        }
    }
    let count = |state: State| of(state).count();
    let _ = writeln!(
        text,
        "{}: {} failed, {}, {} ok, {} skipped",
        counted(findings.len(), "check", "checks"),
        count(State::Failed),
        counted(count(State::Warning), "warning", "warnings"),
        count(State::Ok),
        count(State::Skipped)
    );
    text
}

/// The list in the documentation.
#[must_use]
pub fn table() -> String {
    let mut text = String::from("| check | what is to be so | where it is not |\n|---|---|---|\n");
    for Check { id, about, fix, .. } in checks() {
        let _ = writeln!(text, "| `{id}` | {about} | {fix} |");
    }
    text
}
