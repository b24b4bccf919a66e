//! The pilots of all fleets, as the watch of CmdJobs tells of them: an index, so that a look at a fleet costs what it has, and not a
//! walk over all CmdJobs.

use std::collections::{BTreeMap, HashMap};

use vk_cmd_crds::CmdJob;

use super::PilotSeen;

/// A namespace and a name in it.
type Key = (String, String);

/// The index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// By the UID of the fleet.
    by_fleet: HashMap<String, BTreeMap<Key, PilotSeen>>,
    /// Whose each is, by the UID of the fleet.
    fleets: HashMap<Key, String>,
}

impl Known {
    /// A CmdJob as it is now. Whether that is news of a pilot.
    pub fn put(&mut self, job: &CmdJob) -> bool {
        let (Some(namespace), Some(name)) = (&job.metadata.namespace, &job.metadata.name) else { return false };
        let Some((fleet, seen)) = PilotSeen::read(job) else { return self.remove(namespace, name) };
        let key = (namespace.clone(), name.clone());
        let is_moved = self.fleets.get(&key).is_some_and(|before| before != fleet);
        if is_moved {
            self.remove(namespace, name);
        }
        let of_fleet = self.by_fleet.entry(fleet.to_owned()).or_default();
        if of_fleet.get(&key) == Some(&seen) {
            return false;
        }
        of_fleet.insert(key.clone(), seen);
        self.fleets.insert(key, fleet.to_owned());
        true
    }

    /// A CmdJob that is gone, or that cannot be read. Whether it was a pilot.
    pub fn remove(&mut self, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        let Some(fleet) = self.fleets.remove(&key) else { return false };
        if let Some(of_fleet) = self.by_fleet.get_mut(&fleet) {
            of_fleet.remove(&key);
            if of_fleet.is_empty() {
                self.by_fleet.remove(&fleet);
            }
        }
        true
    }

    /// The pilots of the fleet of this UID in a namespace.
    pub fn of(&self, fleet: &str, namespace: &str) -> Vec<PilotSeen> {
        let of_fleet = self.by_fleet.get(fleet).into_iter().flatten();
        of_fleet.filter(|((there, _), _)| there == namespace).map(|(_, pilot)| pilot.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn job(name: &str, fleet: Option<u8>, state: Option<&str>) -> CmdJob {
        let owners = fleet.map(|n| json!([{"apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "name": "f", "uid": format!("fleet-{n}")}]));
        serde_json::from_value(json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob",
            "metadata": {"namespace": "pilots", "name": name, "uid": name, "ownerReferences": owners},
            "spec": {"target": {"node": "vk-gw"}, "script": "x"}, "status": state.map(|state| json!({"state": state})),
        }))
        .unwrap()
    }

    proptest! {
        /// Whatever comes and goes: of each fleet it has what a walk over all CmdJobs finds, and tells of news only.
        #[test]
        fn an_index_has_what_a_walk_finds(acts in prop::collection::vec((0..4_u8, 0..3_u8, 0..4_u8), 0..40)) {
            let (mut known, mut all) = (Known::default(), BTreeMap::<String, CmdJob>::new());
            for (n, fleet, what) in acts {
                let name = format!("f-{n}");
                let before = known.clone();
                let is_news = if what == 0 {
                    all.remove(&name);
                    known.remove("pilots", &name)
                } else {
                    let job = job(&name, (fleet > 0).then_some(fleet), [None, Some("Running"), Some("Complete")][usize::from(what) - 1]);
                    all.insert(name, job.clone());
                    known.put(&job)
                };
                prop_assert_eq!(is_news, before != known);
                for uid in ["fleet-1", "fleet-2"] {
                    let walked: Vec<PilotSeen> = all.values().filter_map(|job| PilotSeen::of(job, "f", uid)).collect();
                    prop_assert_eq!(known.of(uid, "pilots"), walked);
                    prop_assert!(known.of(uid, "elsewhere").is_empty());
                }
            }
        }
    }
}
