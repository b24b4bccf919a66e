//! Cordoning a node for several reasons at once, and uncordoning only what was cordoned here.
//!
//! ```text
//!                     first reason                       next reason
//!   schedulable ─────────────────────▶ cordoned by {a} ◀────────────▶ cordoned by {a, b}
//!        ▲                                   │        a reason ends
//!        └───────────────────────────────────┘
//!                the last reason ends
//!
//!   cordoned by a person (unschedulable, without our annotation) ── stays so until that person uncordons it
//! ```
//!
//! The reasons stand in the node's annotation [`labels::CORDONED_BY`]. Each part of the operator speaks for its own reason and
//! leaves the others alone, so that two of them do not fight over one node. A node that a person uncordons while a reason stands is
//! cordoned again.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};
use vk_cmd_crds::labels;

/// Why the operator cordons a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// `spec.scheduling` of its fleet is Cordoned or Draining.
    Fleet,
    /// It ends within the margin of its fleet.
    Margin,
    /// It says itself that it ends: its condition `vk-cmd.io/Ending`.
    Ending,
    /// Its pilot is to end when nothing runs there any more.
    Released,
}

impl By {
    /// The word in the annotation.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Margin => "margin",
            Self::Ending => "ending",
            Self::Released => "released",
        }
    }
}

/// Whether a node is cordoned, and why by us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cordon {
    /// It takes no new pods (`spec.unschedulable`).
    pub unschedulable: bool,
    /// Our reasons, also those of versions to come; none: it is not we who have cordoned it.
    by: Option<BTreeSet<String>>,
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether it is to take no new pods.
    pub unschedulable: bool,
    /// Our reasons from then on.
    by: BTreeSet<String>,
}

impl Cordon {
    /// Of a node.
    pub fn of(node: &Node) -> Self {
        let text = node.metadata.annotations.as_ref().and_then(|all| all.get(labels::CORDONED_BY));
        let words =
            |text: &String| text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        Self { unschedulable, by: text.map(words).filter(|by: &BTreeSet<String>| !by.is_empty()) }
    }

    /// Whether it is cordoned for this reason among others.
    pub fn is_by(&self, reason: By) -> bool {
        self.by.as_ref().is_some_and(|by| by.contains(reason.word()))
    }

    /// Whether it is we who have cordoned it.
    pub fn is_ours(&self) -> bool {
        self.by.is_some()
    }

    /// What is to be written so that this reason stands, or does not; none where it is so already, or where a person has cordoned the
    /// node.
    pub fn want(&self, reason: By, wanted: bool) -> Option<Change> {
        let mut by = self.by.clone().unwrap_or_default();
        if wanted {
            let is_others = self.unschedulable && self.by.is_none();
            by.insert(reason.word().to_owned());
            let is_so = self.unschedulable && self.by.as_ref() == Some(&by);
            return (!is_others && !is_so).then_some(Change { unschedulable: true, by });
        }
        if !by.remove(reason.word()) {
            return None;
        }
        // Whoever speaks for another reason cordons it again, should a person have uncordoned it.
        Some(Change { unschedulable: self.unschedulable && !by.is_empty(), by })
    }

    /// As it is after a change.
    #[must_use]
    pub fn after(&self, change: Option<&Change>) -> Self {
        let Some(Change { unschedulable, by }) = change else { return self.clone() };
        Self { unschedulable: *unschedulable, by: (!by.is_empty()).then(|| by.clone()) }
    }
}

impl Change {
    /// A JSON merge patch of the node at this resource version: the API server refuses it if the node has changed since.
    pub fn patch(&self, resource_version: Option<&str>) -> Value {
        let words: Vec<&str> = self.by.iter().map(String::as_str).collect();
        let by = (!words.is_empty()).then(|| words.join(","));
        json!({
            "metadata": {"resourceVersion": resource_version, "annotations": {labels::CORDONED_BY: by}},
            "spec": {"unschedulable": self.unschedulable.then_some(true)},
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use proptest::prelude::*;

    use super::*;

    fn node(unschedulable: bool, by: Option<&str>) -> Node {
        Node {
            metadata: ObjectMeta {
                annotations: by.map(|by| [(labels::CORDONED_BY.to_owned(), by.to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec { unschedulable: unschedulable.then_some(true), ..NodeSpec::default() }),
            ..Node::default()
        }
    }

    #[test]
    fn reasons_come_and_go_beside_each_other() {
        let say = |unschedulable, by, reason, wanted| {
            let change = Cordon::of(&node(unschedulable, by)).want(reason, wanted)?;
            let patch = change.patch(None);
            let by = patch["metadata"]["annotations"][labels::CORDONED_BY].as_str().unwrap_or("-").to_owned();
            Some((patch["spec"]["unschedulable"] == json!(true), by))
        };
        let is = |unschedulable: bool, by: &str| Some((unschedulable, by.to_owned()));
        assert_eq!(say(false, None, By::Fleet, true), is(true, "fleet"));
        assert_eq!(say(true, Some("fleet"), By::Fleet, true), None);
        assert_eq!(say(true, Some("fleet"), By::Ending, true), is(true, "ending,fleet"));
        assert_eq!(say(true, Some("ending,fleet"), By::Fleet, false), is(true, "ending"));
        assert_eq!(say(true, Some("ending"), By::Ending, false), is(false, "-"));
        assert_eq!(say(true, Some("ending"), By::Fleet, false), None);
        assert_eq!(say(false, None, By::Fleet, false), None);
        // A person has cordoned it.
        assert_eq!(say(true, None, By::Fleet, true), None);
        assert_eq!(say(true, None, By::Fleet, false), None);
        // A person has uncordoned it.
        assert_eq!(say(false, Some("fleet"), By::Fleet, true), is(true, "fleet"));
        assert_eq!(say(false, Some("fleet"), By::Fleet, false), is(false, "-"));
        // A word of another version.
        assert_eq!(say(true, Some("fleet, later"), By::Fleet, false), is(true, "later"));
    }

    proptest! {
        /// Whatever happens in which order: what a person has cordoned stays so until a person uncordons it; and when no reason
        /// stands, nothing of ours is left.
        #[test]
        fn nobody_fights(acts in prop::collection::vec((0..5_usize, any::<bool>()), 0..30)) {
            let all = [By::Fleet, By::Margin, By::Ending, By::Released];
            let (mut cordon, mut wanted, mut by_person) = (Cordon::default(), [false; 4], false);
            for (who, what) in acts {
                if who == 4 {
                    // kubectl cordon does nothing to a node that is cordoned; and one that a person has uncordoned a moment ago
                    // is ours still.
                    by_person = what && (by_person || cordon == Cordon::default());
                    cordon.unschedulable = what;
                    continue;
                }
                wanted[who] = what;
                cordon = cordon.after(cordon.want(all[who], what).as_ref());
                prop_assert_eq!(cordon.want(all[who], what), None, "it is done once");
                prop_assert!(!what || cordon.unschedulable);
                prop_assert!(!by_person || cordon.unschedulable);
            }
            for (reason, wanted) in all.into_iter().zip(wanted) {
                cordon = cordon.after(cordon.want(reason, wanted).as_ref());
            }
            prop_assert_eq!(cordon.unschedulable, by_person || wanted.contains(&true));
            for reason in all {
                cordon = cordon.after(cordon.want(reason, false).as_ref());
            }
            prop_assert_eq!(cordon.unschedulable, by_person);
        }
    }
}
