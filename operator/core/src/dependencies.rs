//! What has become of the jobs that a job waits for (`spec.after`).

use std::collections::{BTreeMap, BTreeSet};

use vk_cmd_crds::{After, CmdJob, ConditionType};

use crate::seen::Dependency;
use crate::status;

/// A job, reduced to what matters to those that wait for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// How it ended, if it has: whether it succeeded.
    pub ended: Option<bool>,
    /// The names of the jobs that it waits for itself.
    pub after: Vec<String>,
}

impl State {
    /// Reads a job.
    pub fn of(job: &CmdJob) -> Self {
        let is = |kind| {
            let condition = job.status.as_ref().and_then(|recorded| status::find(recorded, kind));
            condition.is_some_and(|condition| condition.status == "True")
        };
        let ended = if is(ConditionType::Complete) { Some(true) } else { is(ConditionType::Failed).then_some(false) };
        Self { ended, after: job.spec.after.iter().flatten().map(|after| after.name.clone()).collect() }
    }
}

/// What has become of each of the jobs that the job `name` waits for. `known` gives a job of the same namespace by name.
pub fn all(name: &str, after: &[After], known: &dyn Fn(&str) -> Option<State>) -> BTreeMap<String, Dependency> {
    let found = after.iter().map(|after| {
        let dependency = match known(&after.name) {
            None => Dependency::Missing,
            Some(State { ended: Some(true), .. }) => Dependency::Complete,
            Some(State { ended: Some(false), .. }) => Dependency::Failed,
            Some(_) if leads_back(&after.name, name, known) => Dependency::Cycle,
            Some(_) => Dependency::Unfinished,
        };
        (after.name.clone(), dependency)
    });
    found.collect()
}

/// Whether the job `from` waits, by way of others that are not finished, for the job `to`.
fn leads_back(from: &str, to: &str, known: &dyn Fn(&str) -> Option<State>) -> bool {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(name) = next.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name.clone())
            && let Some(State { ended: None, after }) = known(&name)
        {
            next.extend(after);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_cmd_crds::When;

    #[test]
    fn circles_are_found_and_what_is_finished_breaks_them() {
        let jobs: BTreeMap<&str, (Option<bool>, &[&str])> = BTreeMap::from([
            ("a", (None, &["b"] as &[&str])),
            ("b", (None, &["c"])),
            ("c", (None, &["a"])),
            ("d", (None, &["e"])),
            ("e", (Some(true), &["d"])),
            ("self", (None, &["self"])),
            ("f", (None, &["a", "gone"])),
        ]);
        let known = |name: &str| {
            jobs.get(name)
                .map(|(ended, after)| State { ended: *ended, after: after.iter().map(|n| (*n).into()).collect() })
        };
        let of = |name: &str, on: &str| {
            let after = [After { name: on.into(), when: When::Complete }];
            all(name, &after, &known)[on]
        };
        assert_eq!(of("a", "b"), Dependency::Cycle);
        assert_eq!(of("d", "e"), Dependency::Complete);
        assert_eq!(of("self", "self"), Dependency::Cycle);
        // It waits for a circle, and is none of it.
        assert_eq!(of("f", "a"), Dependency::Unfinished);
        assert_eq!(of("f", "gone"), Dependency::Missing);
    }
}
