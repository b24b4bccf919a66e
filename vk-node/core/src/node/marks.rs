//! Labels and annotations by which others find a node, and by which the operator knows what it may send there.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use vk_cmd_crds::labels;
use vk_task::SiteInfo;

use super::{NodeProfile, labels_of};

/// What a node is marked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks {
    labels: BTreeMap<String, String>,
    /// None: there is to be none.
    annotations: BTreeMap<&'static str, Option<String>>,
}

impl Marks {
    /// Of a node, so long after its start, that ends then and whose site says this.
    #[must_use]
    pub fn of(profile: &NodeProfile, age: Duration, ends: Option<Timestamp>, site: &SiteInfo) -> Self {
        Self {
            labels: labels_of(profile, age),
            annotations: BTreeMap::from([
                (labels::ENDS_AT, ends.map(|time| time.to_string())),
                (labels::NAMESPACES, site.namespaces.clone()),
            ]),
        }
    }

    /// The merge patch by which a node with these marks has ours, too; none, if it has. Those of others are left.
    #[must_use]
    pub fn patch(&self, labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Option<Value> {
        let is_missing = |(key, value): &(&String, &String)| labels.get(*key) != Some(*value);
        let labels: Map<String, Value> = match self.labels.iter().any(|label| is_missing(&label)) {
            true => self.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect(),
            false => Map::new(),
        };
        let wrong = self.annotations.iter().filter(|(key, value)| annotations.get(**key) != value.as_ref());
        let annotations: Map<String, Value> = wrong.map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let parts = [("labels", labels), ("annotations", annotations)];
        let parts: Map<String, Value> = parts
            .into_iter()
            .filter(|(_, part)| !part.is_empty())
            .map(|(name, part)| (name.to_owned(), part.into()))
            .collect();
        (!parts.is_empty()).then(|| json!({"metadata": parts}))
    }
}
