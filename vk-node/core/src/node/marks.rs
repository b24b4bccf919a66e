//! Labels and annotations by which others find a node, and by which the operator knows what it may send there.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use vk_cmd_crds::labels;
use vk_task::SiteInfo;

use super::{Lasts, NodeProfile, labels_of};

/// What a node is marked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    labels: BTreeMap<String, String>,
    /// Labels that there are to be none of: they were the node's own once.
    former: BTreeSet<String>,
    /// None: there is to be none.
    annotations: BTreeMap<&'static str, Option<String>>,
}

/// How long a node lives, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    /// How long it is there, if that is known.
    pub lasts: Option<Lasts>,
    /// When it ends, if that is known.
    pub ends: Option<Timestamp>,
    /// So many seconds before that it is Ending.
    pub margin: u64,
}

/// The merge patch by which the Node of this UID says that it left then.
#[must_use]
pub fn left(uid: Option<&str>, at: Timestamp) -> Value {
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at).to_string();
    let mut patch = json!({"metadata": {"annotations": {labels::LEFT: at}}});
    // The UID makes the write fail rather than reach a Node that has taken over the name.
    if let (Some(uid), Some(metadata)) = (uid, patch.get_mut("metadata").and_then(Value::as_object_mut)) {
        metadata.insert("uid".to_owned(), json!(uid));
    }
    patch
}

impl Marks {
    /// Of a node that lives so long and whose site says this.
    #[must_use]
    pub fn of(profile: &NodeProfile, lives: &Lives, site: &SiteInfo) -> Self {
        let whole = |time: Timestamp| Timestamp::from_second(time.as_second()).unwrap_or(time).to_string();
        Self {
            labels: labels_of(profile, lives.lasts),
            former: BTreeSet::new(),
            annotations: BTreeMap::from([
                (labels::ENDS_AT, lives.ends.map(whole)),
                (labels::WALLTIME_MARGIN, lives.ends.map(|_| lives.margin.to_string())),
                // One that is there has not left.
                (labels::LEFT, None),
                (labels::NAMESPACES, site.namespaces.clone()),
            ]),
        }
    }

    /// The same without labels that the node had before its configuration was read again.
    #[must_use]
    pub fn without(self, former: BTreeSet<String>) -> Self {
        Self { former, ..self }
    }

    /// The merge patch by which a node with these marks has ours, too; none, if it has. Those of others are left.
    #[must_use]
    pub fn patch(&self, labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Option<Value> {
        let is_missing = |(key, value): &(&String, &String)| labels.get(*key) != Some(*value);
        let mut wanted: Map<String, Value> = match self.labels.iter().any(|label| is_missing(&label)) {
            true => self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect(),
            false => Map::new(),
        };
        let left_over = self.former.iter().filter(|key| labels.contains_key(*key) && !self.labels.contains_key(*key));
        wanted.extend(left_over.map(|key| (key.clone(), Value::Null)));
        let wrong = self.annotations.iter().filter(|(key, value)| annotations.get(**key) != value.as_ref());
        let annotations: Map<String, Value> = wrong.map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let parts = [("labels", wanted), ("annotations", annotations)];
        let parts: Map<String, Value> = parts
            .into_iter()
            .filter(|(_, part)| !part.is_empty())
            .map(|(name, part)| (name.to_owned(), part.into()))
            .collect();
        (!parts.is_empty()).then(|| json!({"metadata": parts}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_is_no_more_ours_is_taken_away_once() {
        let marks = Marks {
            labels: BTreeMap::new(),
            former: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            annotations: BTreeMap::new(),
        };
        let there = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("of-others".to_owned(), "2".to_owned())]);
        assert_eq!(marks.patch(&there, &BTreeMap::new()), Some(json!({"metadata": {"labels": {"a": null}}})));
        assert_eq!(marks.patch(&BTreeMap::new(), &BTreeMap::new()), None);
    }
}
