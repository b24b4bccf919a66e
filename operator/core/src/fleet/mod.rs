//! Fleets: which nodes belong to which, what that means for placing, and how it is with each.
//!
//! ```text
//!   CmdFleets ──▶ Fleets ──┬─▶ terms of each node ──▶ [`crate::place`]: namespaces, margin
//!                          ├─▶ who is cordoned     ──▶ [`crate::cordon`]
//!                          ├─▶ who is evicted      ──▶ [`drain`]
//!                          └─▶ how it is           ──▶ [`mod@status`]
//! ```
//!
//! A node belongs to one fleet at most: to that of its label `vk-cmd.io/fleet`, if there is such a CmdFleet that selects it; else to the
//! first one by name that does. A label of which there is no CmdFleet is a fleet of its own, about which nothing is said.

mod amounts;
mod conditions;
pub mod drain;
mod problems;
pub mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use vk_cmd_crds::{CmdFleet, Scheduling, labels};
use vk_site::{Pattern, Patterns, Rule};

use crate::place::NodeSeen;

pub(crate) use self::amounts::quantities;
pub use self::drain::Drained;
pub use self::status::{Look, Looked, cordons, is_urgent, look, nodes_of};

/// What a fleet says of its nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The fleet's name.
    pub fleet: String,
    /// Of which namespaces its nodes take CmdJobs.
    pub namespaces: Rule,
    /// How long before its end a node takes nothing, and until when what is placed there must have ended.
    pub margin: SignedDuration,
    /// Whether its nodes take pods.
    pub scheduling: Scheduling,
}

/// A fleet, as far as its nodes are concerned.
#[derive(Clone, Debug, PartialEq)]
struct Fleet {
    labels: BTreeMap<String, String>,
    terms: Arc<Terms>,
}

/// The fleets, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleets(BTreeMap<String, Fleet>);

impl Fleets {
    /// Reads them.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a CmdFleet>) -> Self {
        let fleet = |fleet: &'a CmdFleet| {
            let name = fleet.metadata.name.clone()?;
            let terms = Terms {
                fleet: name.clone(),
                namespaces: rule(fleet).unwrap_or_else(|_| nobody()),
                margin: SignedDuration::from_secs(fleet.spec.walltime_margin_seconds.max(0)),
                scheduling: fleet.spec.scheduling,
            };
            Some((name, Fleet { labels: fleet.node_labels(), terms: Arc::new(terms) }))
        };
        Self(all.into_iter().filter_map(fleet).collect())
    }

    /// Whether there is a CmdFleet of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The terms of the fleet that a node with these labels belongs to.
    pub fn terms_of(&self, found: &BTreeMap<String, String>) -> Option<&Arc<Terms>> {
        let own = found.get(labels::FLEET).and_then(|name| self.0.get(name)).filter(|fleet| fleet.selects(found));
        own.or_else(|| self.0.values().find(|fleet| fleet.selects(found))).map(|fleet| &fleet.terms)
    }

    /// The other fleets that select a node with these labels, though it belongs to `fleet`.
    fn others<'a>(&'a self, fleet: &'a str, found: &'a BTreeMap<String, String>) -> impl Iterator<Item = &'a str> {
        let others = self.0.iter().filter(move |(name, other)| *name != fleet && other.selects(found));
        others.map(|(name, _)| name.as_str())
    }

    /// Writes into a node what follows for it: its terms, and the label by which a CmdJob's `target.fleet` finds it. What it has of
    /// earlier fleets goes.
    pub fn settle(&self, node: &mut NodeSeen) {
        let own = node.about.fleet_label.take().unwrap_or_else(|| node.labels.get(labels::FLEET).cloned());
        set(&mut node.labels, own.clone());
        node.terms = self.terms_of(&node.labels).cloned();
        let belongs = node.terms.as_ref().map(|terms| terms.fleet.clone());
        let meant = belongs.or_else(|| own.clone().filter(|label| !self.has(label)));
        if meant != own {
            set(&mut node.labels, meant);
            node.about.fleet_label = Some(own);
        }
    }
}

fn set(found: &mut BTreeMap<String, String>, fleet: Option<String>) {
    match fleet {
        Some(fleet) => drop(found.insert(labels::FLEET.to_owned(), fleet)),
        None => drop(found.remove(labels::FLEET)),
    }
}

impl Fleet {
    fn selects(&self, found: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| found.get(key) == Some(value))
    }
}

impl Terms {
    /// Until when a node that ends at `ends` takes what ends by then.
    pub fn until(&self, ends: Timestamp) -> Timestamp {
        ends.checked_sub(self.margin).unwrap_or(Timestamp::MIN)
    }
}

/// The namespaces of a fleet, or all that is wrong with its patterns.
fn rule(fleet: &CmdFleet) -> Result<Rule, Vec<String>> {
    let Some(namespaces) = &fleet.spec.namespaces else { return Ok(Rule::default()) };
    let mut problems = Vec::new();
    let mut patterns = |field: &str, texts: &Option<Vec<String>>| {
        let read = |text: &String| Pattern::new(text).map_err(|why| format!("spec.namespaces.{field}: {why}"));
        let (good, bad): (Vec<_>, Vec<_>) = texts.iter().flatten().map(read).partition(Result::is_ok);
        problems.extend(bad.into_iter().filter_map(Result::err));
        Patterns(good.into_iter().filter_map(Result::ok).collect())
    };
    let deny = patterns("deny", &namespaces.deny);
    let allow = namespaces.allow.is_some().then(|| patterns("allow", &namespaces.allow));
    if problems.is_empty() { Ok(Rule { allow, deny }) } else { Err(problems) }
}

/// Of a fleet whose patterns cannot be read: nobody is let in who might have been meant to stay out.
fn nobody() -> Rule {
    Rule { allow: Some(Patterns::default()), deny: Patterns::default() }
}
