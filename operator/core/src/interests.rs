//! To which CmdJobs it matters when another CmdJob or a node changes: an index, so that a change costs what it concerns and not
//! a walk over all that there is.
//!
//! ```text
//!   a job changes ──► those that wait for one of its name     (only if what they wait for has changed)
//!   a node changes ─► those that may go there, by its name, its fleet or its labels
//! ```
//!
//! Only jobs that are not finished are in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use vk_cmd_crds::CmdJob;

use crate::dependencies::State;
use crate::place::{ByTarget, Meant};
use crate::pods::Owner;
use crate::{status, work};

/// A namespace and a name in it.
type Key = (String, String);

/// The index.
#[derive(Debug, Default)]
pub struct Interests {
    jobs: HashMap<Key, Interest>,
    awaited: HashMap<Key, Awaited>,
    targets: ByTarget<Arc<Owner>>,
}

/// What matters to one job.
#[derive(Debug)]
struct Interest {
    owner: Arc<Owner>,
    after: BTreeSet<String>,
    targets: Vec<Meant>,
}

/// A job that others wait for, whether there is such a one or not.
#[derive(Debug, Default)]
struct Awaited {
    by: BTreeSet<Arc<Owner>>,
    /// As those that wait for it were last told of; none: they were not.
    told: Option<State>,
}

impl Interests {
    /// A job as it is now. Names those that wait for it, if there is news for them.
    pub fn put(&mut self, job: &CmdJob) -> Vec<Owner> {
        let Some(owner) = owner(job) else { return Vec::new() };
        let key = (owner.namespace.clone(), owner.name.clone());
        let state = State::of(job);
        let is_finished = job.status.as_ref().and_then(status::finished_at).is_some();
        let after = state.after.iter().filter(|_| !is_finished).cloned().collect();
        let targets = if is_finished { Vec::new() } else { targets(job) };
        let is_same = self.jobs.get(&key).is_some_and(|known| {
            known.owner.uid == owner.uid && known.after == after && known.targets == targets && !is_finished
        });
        if !is_same {
            self.drop_interest(&key);
            if !is_finished {
                self.add_interest(&key, Interest { owner: Arc::new(owner), after, targets });
            }
        }
        match self.awaited.get_mut(&key) {
            Some(awaited) if awaited.told.as_ref() != Some(&state) => {
                awaited.told = Some(state);
                named(&awaited.by)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// A job that is gone, or that cannot be read. Names those that wait for it.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Vec<Owner> {
        let key = (namespace.to_owned(), name.to_owned());
        self.drop_interest(&key);
        let Some(awaited) = self.awaited.get_mut(&key) else { return Vec::new() };
        awaited.told = None;
        named(&awaited.by)
    }

    /// The jobs that may go to a node of this name and these labels.
    pub fn may_go(&self, name: &str, found: &BTreeMap<String, String>) -> Vec<Owner> {
        self.targets.of_node(name, found).inspect(|_| work::done()).map(|owner| Owner::clone(owner)).collect()
    }

    fn add_interest(&mut self, key: &Key, interest: Interest) {
        for name in &interest.after {
            let awaited = self.awaited.entry((key.0.clone(), name.clone())).or_default();
            awaited.by.insert(Arc::clone(&interest.owner));
        }
        for target in &interest.targets {
            self.targets.insert(target, Arc::clone(&interest.owner));
        }
        self.jobs.insert(key.clone(), interest);
    }

    fn drop_interest(&mut self, key: &Key) {
        let Some(Interest { owner, after, targets }) = self.jobs.remove(key) else { return };
        for name in after {
            let on = (key.0.clone(), name);
            if let Some(awaited) = self.awaited.get_mut(&on) {
                awaited.by.remove(&owner);
                if awaited.by.is_empty() {
                    self.awaited.remove(&on);
                }
            }
        }
        for target in targets {
            self.targets.remove(&target, &owner);
        }
    }
}

fn named(all: &BTreeSet<Arc<Owner>>) -> Vec<Owner> {
    all.iter().inspect(|_| work::done()).map(|owner| Owner::clone(owner)).collect()
}

fn owner(job: &CmdJob) -> Option<Owner> {
    let meta = &job.metadata;
    Some(Owner { namespace: meta.namespace.clone()?, name: meta.name.clone()?, uid: meta.uid.clone()? })
}

/// What a job means with its target. Only one of the three is valid; what is not is not for this to say.
fn targets(job: &CmdJob) -> Vec<Meant> {
    let target = &job.spec.target;
    let node = target.node.clone().map(Meant::Node);
    let fleet = target.fleet.clone().map(Meant::Fleet);
    let labels = target.node_selector.clone().map(Meant::Labels);
    [node, fleet, labels].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use vk_cmd_crds::labels;

    /// What the index is to say, by a walk over all jobs.
    #[derive(Default)]
    struct Walk(BTreeMap<String, CmdJob>);

    impl Walk {
        fn is_open(job: &CmdJob) -> bool {
            job.status.as_ref().and_then(status::finished_at).is_none()
        }

        fn after(&self, name: &str) -> BTreeSet<String> {
            let waits = |job: &&CmdJob| job.spec.after.iter().flatten().any(|after| after.name == name);
            self.named(|job| waits(&job))
        }

        fn may_go(&self, name: &str, found: &BTreeMap<String, String>) -> BTreeSet<String> {
            self.named(|job| targets(job).iter().any(|target| target.means(name, found)))
        }

        fn named(&self, is_it: impl Fn(&CmdJob) -> bool) -> BTreeSet<String> {
            let all = self.0.iter().filter(|(_, job)| Self::is_open(job) && is_it(job));
            all.map(|(name, _)| name.clone()).collect()
        }
    }

    fn job(name: &str, target: &Value, after: &[&str], ended: Option<bool>) -> CmdJob {
        let after: Vec<_> = after.iter().map(|name| json!({"name": name, "when": "Finished"})).collect();
        let kind = match ended {
            Some(true) => "Complete",
            Some(false) => "Failed",
            None => "Reconciling",
        };
        let condition = json!({"type": kind, "status": "True", "reason": "r", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"});
        serde_json::from_value(json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob",
            "metadata": {"name": name, "namespace": "n", "uid": format!("uid-{name}")},
            "spec": {"target": target, "script": "true", "after": after}, "status": {"conditions": [condition]},
        }))
        .unwrap()
    }

    fn names(owners: Vec<Owner>) -> BTreeSet<String> {
        owners.into_iter().map(|owner| owner.name).collect()
    }

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn change() -> impl Strategy<Value = (usize, bool, Value, Vec<usize>, Option<bool>)> {
        let target = prop::sample::select(vec![
            json!({"node": "vk-1"}),
            json!({"node": "vk-2"}),
            json!({"fleet": "f"}),
            json!({"fleet": "g"}),
            json!({"nodeSelector": {"x": "1"}}),
            json!({"nodeSelector": {"x": "1", "y": "2"}}),
        ]);
        let ended = prop::sample::select(vec![None, None, Some(true), Some(false)]);
        (0..4_usize, prop::bool::weighted(0.2), target, prop::collection::vec(0..4_usize, 0..3), ended)
    }

    proptest! {
        #[test]
        fn it_says_what_a_walk_over_all_would(changes in prop::collection::vec(change(), 1..40)) {
            let (mut index, mut walk) = (Interests::default(), Walk::default());
            for (which, is_gone, target, after, ended) in changes {
                let name = NAMES[which];
                let before = walk.0.get(name).map(State::of);
                let told = if is_gone {
                    walk.0.remove(name);
                    index.remove("n", name)
                } else {
                    let after: Vec<&str> = after.into_iter().map(|which| NAMES[which]).collect();
                    let job = job(name, &target, &after, ended);
                    walk.0.insert(name.to_owned(), job.clone());
                    index.put(&job)
                };
                // Who is told is one that waits; and all that wait are, where there is news for them.
                let told = names(told);
                let waiting = walk.after(name);
                if walk.0.get(name).map(State::of) == before {
                    prop_assert!(told.is_subset(&waiting));
                } else {
                    prop_assert_eq!(told, waiting);
                }
                for (node, found) in [
                    ("vk-1", json!({})), ("vk-2", json!({labels::FLEET: "f"})), ("vk-3", json!({labels::FLEET: "g", "x": "1"})),
                    ("vk-3", json!({"x": "1", "y": "2"})),
                ] {
                    let found: BTreeMap<String, String> = serde_json::from_value(found).unwrap();
                    prop_assert_eq!(names(index.may_go(node, &found)), walk.may_go(node, &found));
                }
            }
            for name in NAMES {
                index.remove("n", name);
            }
            prop_assert!(index.jobs.is_empty() && index.targets.is_empty() && index.awaited.is_empty());
        }
    }

    /// How many are looked at when a job changes, another one ends that one waits for, and a node changes.
    fn work_with(others: u32) -> u64 {
        let mut index = Interests::default();
        for n in 0..others {
            let target =
                if n % 2 == 0 { json!({"node": format!("vk-{n}")}) } else { json!({"fleet": format!("f{n}")}) };
            index.put(&job(&format!("other-{n}"), &target, &["other-0"], None));
        }
        index.put(&job("waits", &json!({"node": "vk-x"}), &["hub"], None));
        let (_, work) = work::count(|| {
            assert_eq!(names(index.put(&job("hub", &json!({"node": "vk-x"}), &[], None))).len(), 1);
            // Nothing that the one that waits would want to know.
            assert!(index.put(&job("hub", &json!({"node": "vk-x"}), &[], None)).is_empty());
            assert_eq!(names(index.put(&job("hub", &json!({"node": "vk-x"}), &[], Some(true)))).len(), 1);
            assert_eq!(names(index.may_go("vk-x", &BTreeMap::new())).len(), 1);
        });
        work
    }

    #[test]
    fn a_change_costs_what_it_concerns_however_many_jobs_there_are() {
        assert_eq!(work_with(100), work_with(10_000));
    }
}
