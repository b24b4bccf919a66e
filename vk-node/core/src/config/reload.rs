//! What of a changed configuration a node that runs takes up, and what waits for its next start.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::NodeProfile;

use super::{Difference, MemberConfig, Resources, Shown, differences};

/// The settings, by the first of their keys, that a node that runs takes up. The site's file is not among them: the pipe looks at it
/// before each decision anyway.
pub const TAKEN_UP: [&str; 9] =
    ["labels", "site", "fleet", "nodetype", "maxPods", "capacity", "systemReserved", "pressure", "log"];

/// What has changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reload {
    /// What is in force from now on.
    pub now: Vec<Difference>,
    /// What is with the next start.
    pub later: Vec<Difference>,
}

/// Sorts what has changed.
#[must_use]
pub fn reload(before: &[Shown], after: &[Shown]) -> Reload {
    let is_now = |difference: &Difference| difference.path.first().is_some_and(|key| TAKEN_UP.contains(&key.as_str()));
    let (now, later) = differences(before, after).into_iter().partition(is_now);
    Reload { now, later }
}

/// What may change of a node while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunable {
    /// Labels besides those that every vk-node has.
    pub labels: BTreeMap<String, String>,
    /// How many pods it takes.
    pub max_pods: u32,
    /// What it offers.
    pub capacity: Resources,
    /// What of that is not for pods.
    pub reserved: Resources,
    /// The labels that it had since it was started, and has no more: they are taken away from the Node object.
    pub former_labels: BTreeSet<String>,
}

impl Tunable {
    /// Of a configuration.
    #[must_use]
    pub fn of(member: &MemberConfig) -> Self {
        Self {
            labels: member.labels.clone(),
            max_pods: member.max_pods,
            capacity: member.capacity.clone(),
            reserved: member.reserved.clone(),
            former_labels: BTreeSet::new(),
        }
    }

    /// What comes of it when the configuration is read again.
    #[must_use]
    pub fn after(self, new: Self) -> Self {
        let mut former_labels = self.former_labels;
        former_labels.extend(self.labels.into_keys());
        former_labels.retain(|key| !new.labels.contains_key(key));
        Self { former_labels, ..new }
    }

    /// What a node says of itself with it.
    #[must_use]
    pub fn profile(self, profile: NodeProfile) -> NodeProfile {
        let Self { labels, max_pods, capacity, reserved, former_labels: _ } = self;
        NodeProfile { labels, max_pods, capacity, reserved, ..profile }
    }

    /// The configuration with it.
    #[must_use]
    pub fn member(self, member: MemberConfig) -> MemberConfig {
        let Self { labels, max_pods, capacity, reserved, former_labels: _ } = self;
        MemberConfig { labels, max_pods, capacity, reserved, ..member }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Layer, Origin, effective, read};

    fn shown(text: &str) -> Vec<Shown> {
        let settings = read(text, Path::new("/")).unwrap();
        effective(&[Layer { settings, origin: &|_| Origin::Default }], Some("/home/u".into()))
    }

    #[test]
    fn what_cannot_change_at_run_time_waits() {
        let before = shown("version: 1\nnodeName: vk-a\nlabels: {a: b}\nport: 1\n");
        let after = shown("version: 1\nnodeName: vk-a\nlabels: {a: c}\nport: 2\nmaxPods: 3\nlog: debug\n");
        let Reload { now, later } = reload(&before, &after);
        let names = |all: &[Difference]| all.iter().map(|d| d.path.join(".")).collect::<Vec<_>>();
        assert_eq!(
            (names(&now), names(&later)),
            (vec!["labels.a".to_owned(), "maxPods".into(), "log".into()], vec!["port".to_owned()])
        );
        assert_eq!(reload(&before, &before), Reload::default());
    }

    #[test]
    fn a_label_that_is_dropped_is_taken_away() {
        let of = |keys: &[&str]| {
            let labels = keys.iter().map(|&key| (key.to_owned(), "1".to_owned())).collect();
            Tunable { labels, ..Tunable::default() }
        };
        let after = of(&["a", "b"]).after(of(&["b"]));
        assert_eq!(after.former_labels, BTreeSet::from(["a".to_owned()]));
        let after = after.after(of(&["c"]));
        assert_eq!(after.former_labels, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(after.after(of(&["a"])).former_labels, BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    }

    /// Each is a key that there is.
    #[test]
    fn what_is_taken_up_is_documented() {
        for key in TAKEN_UP {
            assert!(super::super::read::keys().contains(&key), "{key}");
            assert!(include_str!("../../../../docs/how-to/site-admin.md").contains(&format!("`{key}`")), "{key}");
        }
    }
}
