//! What becomes of the Node object of a node that ends: see docs/explanation/walltime.md.
//!
//! ```text
//!                Ending, or within its margin            says that it left, and is not ready
//!   (serves) ──────────────────────────────▶ cordoned ────────────────────────────────────────▶ removed
//!       ▲                                       │  │                                                ▲
//!       └───────────────────────────────────────┘  └── not heard from for ten minutes, and ────────┘
//!         the end has moved away: uncordoned, if        its end as long ago
//!         it was cordoned for it
//! ```
//!
//! What was cordoned by others stays so: see [`crate::cordon`].

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use serde_json::Value;
use vk_cmd_crds::labels;

use crate::cordon::{By, Change, Cordon};
use crate::place::{margin_of, says_ending};

/// How long a node is not heard from, and its end has passed, before its object is removed, where nobody says otherwise: as long as
/// Kubernetes' lost pods are waited for. What its pods have become is then told as of any node that is gone.
pub const DEAD_AFTER: SignedDuration = SignedDuration::from_mins(10);
/// The reason of the condition `Ready` of a node that has signed off.
const SIGNED_OFF: &str = "NodeShutdown";

/// What is to be done about a Node object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Cordon it for its end.
    Cordon(Change),
    /// Its end has moved away: take back that it was cordoned for it.
    Uncordon(Change),
    /// Remove it.
    Remove(Gone),
}

/// Why a Node object is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It says so itself.
    Left,
    /// It is silent, and its time is long over.
    Dead,
}

/// What to do now, and when to look again if nothing is heard before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub deed: Option<Deed>,
    /// When.
    pub again: Option<Timestamp>,
}

/// Decides about a vk-node. `dead_after`: [`DEAD_AFTER`], or what somebody says instead.
pub fn decide(node: &Node, dead_after: SignedDuration, now: Timestamp) -> Decision {
    let annotation = |name: &str| node.metadata.annotations.as_ref()?.get(name);
    let ends: Option<Timestamp> = annotation(labels::ENDS_AT).and_then(|text| text.parse().ok());
    let quiet = quiet_since(node);
    if annotation(labels::LEFT).is_some() && quiet.is_some() {
        return Decision { deed: Some(Deed::Remove(Gone::Left)), again: None };
    }
    let dead_at = ends.zip(quiet).and_then(|(ends, quiet)| ends.max(quiet).checked_add(dead_after).ok());
    if dead_at.is_some_and(|at| at <= now) {
        return Decision { deed: Some(Deed::Remove(Gone::Dead)), again: None };
    }
    let ending_from = ends.and_then(|ends| ends.checked_sub(margin_of(node)).ok());
    let is_ending = says_ending(node) || ending_from.is_some_and(|at| at <= now);
    let change = Cordon::of(node).want(By::Ending, is_ending);
    let deed = change.map(if is_ending { Deed::Cordon } else { Deed::Uncordon });
    let again = [ending_from, dead_at].into_iter().flatten().filter(|at| *at > now).min();
    Decision { deed, again }
}

/// Since when nothing is heard of a node: it has signed off, or Kubernetes has not seen its lease renewed.
fn quiet_since(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is_quiet = |ready: &&NodeCondition| match ready.status.as_str() {
        "True" => false,
        "False" => ready.reason.as_deref() == Some(SIGNED_OFF),
        _ => true,
    };
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").filter(is_quiet)?;
    Some(ready.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0))
}

impl Gone {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Left => "it has left, with nothing left running",
            Self::Dead => "it is silent, and its time is long over",
        }
    }
}

impl Deed {
    /// The merge patch that does it to this very version of a node; none, if it is none.
    pub fn patch(&self, node: &Node) -> Option<Value> {
        match self {
            Self::Cordon(change) | Self::Uncordon(change) => {
                Some(change.patch(node.metadata.resource_version.as_deref()))
            }
            Self::Remove(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ENDS: &str = "2026-01-02T04:00:00Z";

    fn at(text: &str) -> Timestamp {
        format!("2026-01-02T{text}Z").parse().unwrap()
    }

    /// A node that ends at four, with a margin of two minutes.
    fn node(more: &str) -> Node {
        let text = format!(
            "metadata: {{name: vk-a, uid: u, resourceVersion: '7', annotations: {{vk-cmd.io/ends-at: '{ENDS}', \
             vk-cmd.io/walltime-margin-seconds: '120'}}}}\nspec: {{}}\nstatus: {{conditions: [{{type: Ready, status: 'True'}}]}}\n"
        );
        let mut node: Value = serde_yaml_ng::from_str(&text).unwrap();
        let more: Value = serde_yaml_ng::from_str(more).unwrap();
        json_patch::merge(&mut node, &more);
        serde_json::from_value(node).unwrap()
    }

    fn deed(more: &str, now: &str) -> Option<Deed> {
        decide(&node(more), DEAD_AFTER, at(now)).deed
    }

    /// What is written of a deed: whether the node is cordoned by it, and for what.
    fn written(more: &str, now: &str) -> Option<(bool, Option<String>)> {
        let node = node(more);
        let patch = decide(&node, DEAD_AFTER, at(now)).deed?.patch(&node)?;
        let by = patch["metadata"]["annotations"][labels::CORDONED_BY].as_str().map(str::to_owned);
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        Some((patch["spec"]["unschedulable"] == true, by))
    }

    fn cordoned(by: &str) -> Option<(bool, Option<String>)> {
        Some((true, Some(by.to_owned())))
    }

    const CORDONED: &str = "{metadata: {annotations: {vk-cmd.io/cordoned-by: ending}}, spec: {unschedulable: true}}";
    const ENDING: &str =
        "{status: {conditions: [{type: vk-cmd.io/Ending, status: 'True'}, {type: Ready, status: 'True'}]}}";

    #[test]
    fn a_node_is_cordoned_its_margin_before_its_end_or_when_it_says_so() {
        assert_eq!(
            decide(&node("{}"), DEAD_AFTER, at("03:00:00")),
            Decision { deed: None, again: Some(at("03:58:00")) }
        );
        assert_eq!(written("{}", "03:57:59"), None);
        assert_eq!(written("{}", "03:58:00"), cordoned("ending"));
        assert_eq!(written(ENDING, "03:00:00"), cordoned("ending"));
        assert_eq!(deed("{metadata: {annotations: null}}", "09:00:00"), None, "its end is not known");
    }

    #[test]
    fn only_what_was_cordoned_for_its_end_is_uncordoned_when_that_has_moved_away() {
        assert_eq!(deed(CORDONED, "03:59:00"), None);
        assert_eq!(written(CORDONED, "03:00:00"), Some((false, None)));
        assert_eq!(deed("{spec: {unschedulable: true}}", "03:00:00"), None, "somebody else has cordoned it");
        assert_eq!(deed("{spec: {unschedulable: true}}", "03:59:00"), None);
        let by_fleet = |by: &str| {
            format!("{{metadata: {{annotations: {{vk-cmd.io/cordoned-by: '{by}'}}}}, spec: {{unschedulable: true}}}}")
        };
        assert_eq!(written(&by_fleet("fleet"), "03:59:00"), cordoned("ending,fleet"));
        assert_eq!(written(&by_fleet("ending,fleet"), "03:00:00"), cordoned("fleet"), "it stays so for its fleet");
    }

    #[test]
    fn a_node_that_left_is_removed_once_it_has_signed_off() {
        let left = |ready: &str| {
            format!(
                "{{metadata: {{annotations: {{vk-cmd.io/left: '2026-01-02T03:59:30Z'}}}}, status: {{conditions: [{ready}]}}}}"
            )
        };
        let gone = Some(Deed::Remove(Gone::Left));
        assert_eq!(deed(&left("{type: Ready, status: 'False', reason: NodeShutdown}"), "03:59:31"), gone);
        assert_eq!(deed(&left("{type: Ready, status: Unknown}"), "03:59:31"), gone);
        // Another node has taken the name.
        assert_eq!(deed(&left("{type: Ready, status: 'True'}"), "03:00:00"), None);
        assert_eq!(deed(&left("{type: Ready, status: 'False', reason: PipeUnreachable}"), "03:00:00"), None);
        assert_eq!(Deed::Remove(Gone::Left).patch(&node("{}")), None);
    }

    #[test]
    fn a_node_that_died_is_removed_long_after_its_end() {
        let silent = |since: &str| {
            format!(
                "{{status: {{conditions: [{{type: Ready, status: Unknown, lastTransitionTime: '2026-01-02T{since}Z'}}]}}}}"
            )
        };
        let dead = Some(Deed::Remove(Gone::Dead));
        assert_eq!(written(&silent("03:00:00"), "04:09:59"), cordoned("ending"));
        assert_eq!(decide(&node(&silent("03:00:00")), DEAD_AFTER, at("04:00:00")).again, Some(at("04:10:00")));
        assert_eq!(deed(&silent("03:00:00"), "04:10:00"), dead);
        assert_eq!(written(&silent("05:00:00"), "05:09:00"), cordoned("ending"), "it was heard from lately");
        assert_eq!(deed(&silent("05:00:00"), "05:10:00"), dead);
        let short = SignedDuration::from_secs(30);
        assert_eq!(decide(&node(&silent("03:00:00")), short, at("04:00:00")).again, Some(at("04:00:30")));
        assert_eq!(decide(&node(&silent("03:00:00")), short, at("04:00:30")).deed, dead);
        // One whose end is not known is never taken for dead, nor one that is heard from.
        let forever = silent("03:00:00").replacen('{', "{metadata: {annotations: null}, ", 1);
        assert_eq!(deed(&forever, "23:00:00"), None);
        assert_eq!(deed(CORDONED, "23:00:00"), None);
    }

    proptest! {
        /// Whatever a node says: after a deed has been done there is nothing to do, and what others have cordoned stays so.
        #[test]
        fn what_is_done_is_done(
            minute in 0_u8..120, ending in any::<bool>(), cordoned in any::<bool>(), by in 0_usize..4, ready in 0_usize..3, left in any::<bool>(),
        ) {
            let ending = if ending { "True" } else { "False" };
            let (status, by) = (["True", "False", "Unknown"][ready], [None, Some("ending"), Some("fleet"), Some("ending,fleet")][by]);
            let conditions = json!([
                {"type": "vk-cmd.io/Ending", "status": ending},
                {"type": "Ready", "status": status, "reason": "NodeShutdown", "lastTransitionTime": "2026-01-02T03:00:00Z"},
            ]);
            let more = json!({
                "metadata": {"annotations": {labels::CORDONED_BY: by, labels::LEFT: left.then_some(ENDS)}},
                "spec": {"unschedulable": cordoned}, "status": {"conditions": conditions},
            });
            let node = node(&more.to_string());
            let now = at("03:00:00") + SignedDuration::from_mins(minute.into());
            let Some(deed) = decide(&node, DEAD_AFTER, now).deed else { return Ok(()) };
            let Some(patch) = deed.patch(&node) else {
                prop_assert!(ready != 0, "it is heard from");
                return Ok(());
            };
            let mut after = serde_json::to_value(&node).unwrap();
            json_patch::merge(&mut after, &patch);
            prop_assert!(!cordoned || by.is_some() || after["spec"]["unschedulable"] == true, "a person has cordoned it");
            prop_assert_eq!(decide(&serde_json::from_value(after).unwrap(), DEAD_AFTER, now).deed, None);
        }
    }
}
