//! Things by the nodes that they mean: which of them mean a node is looked up, and not asked of each.

use std::collections::{BTreeMap, BTreeSet};

use vk_cmd_crds::labels;

use super::Meant;

/// Things by what they mean.
#[derive(Debug)]
pub(crate) struct ByTarget<T>(BTreeMap<Meant, BTreeSet<T>>);

impl<T> Default for ByTarget<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord> ByTarget<T> {
    /// Another one.
    pub(crate) fn insert(&mut self, target: &Meant, thing: T) {
        match self.0.get_mut(target) {
            Some(things) => drop(things.insert(thing)),
            None => drop(self.0.insert(target.clone(), BTreeSet::from([thing]))),
        }
    }

    /// It is no more.
    pub(crate) fn remove(&mut self, target: &Meant, thing: &T) {
        if let Some(things) = self.0.get_mut(target) {
            things.remove(thing);
            if things.is_empty() {
                self.0.remove(target);
            }
        }
    }

    /// Those that mean a node of this name and these labels.
    pub(crate) fn of_node(&self, name: &str, found: &BTreeMap<String, String>) -> impl Iterator<Item = &T> {
        let fleet = found.get(labels::FLEET).cloned().map(Meant::Fleet);
        let exact =
            [Some(Meant::Node(name.to_owned())), Some(Meant::Each(name.to_owned())), fleet].into_iter().flatten();
        let exact = exact.filter_map(|target| self.0.get(&target));
        // The last of them in order. There are few: jobs of one kind share one.
        let by_labels = self.0.range(Meant::Labels(BTreeMap::new())..).filter(|(target, _)| target.means(name, found));
        exact.chain(by_labels.map(|(_, things)| things)).flatten()
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
