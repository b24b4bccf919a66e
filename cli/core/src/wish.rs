//! What somebody wants of a job, from one source (the headers of a script, the flags of a command line) or from several, the later
//! ones counting for more.

use std::collections::BTreeMap;

use vk_cmd_crds::{After, labels};

use crate::values::{Array, Variable};

/// What a job shall be, as far as it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its name, exactly.
    pub name: Option<String>,
    /// What its name begins with; something is added that no other job has.
    pub base: Option<String>,
    /// Where it shall run.
    pub place: Place,
    /// On each node of the place.
    pub every_node: Option<bool>,
    /// A container image.
    pub image: Option<String>,
    /// What runs the script.
    pub shell: Option<String>,
    /// The directory to run in.
    pub directory: Option<String>,
    /// Variables.
    pub env: Vec<Variable>,
    /// Processors, as a quantity.
    pub cpus: Option<String>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Graphics processors.
    pub gpus: Option<u32>,
    /// Other resources, by name, as quantities.
    pub resources: BTreeMap<String, String>,
    /// The longest that an attempt may take, in seconds; `Some(None)`: no limit.
    pub walltime: Option<Option<i64>>,
    /// The tasks of an array.
    pub array: Option<Array>,
    /// What it waits for.
    pub after: Option<Vec<After>>,
    /// `spec.priority`.
    pub priority: Option<i32>,
    /// Whether it is held at first.
    pub hold: Option<bool>,
    /// `spec.backoffLimit`.
    pub retries: Option<i32>,
    /// Whether an attempt that ends because its node ends is followed by another.
    pub requeue: Option<bool>,
    /// `spec.activeDeadlineSeconds`.
    pub deadline: Option<i64>,
    /// `spec.ttlSecondsAfterFinished`.
    pub ttl: Option<i64>,
    /// `spec.terminationGracePeriodSeconds`.
    pub grace: Option<i64>,
    /// The signal before the end of its node.
    pub warning: Option<String>,
    /// What it is, for people.
    pub comment: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Whether whoever submits it waits for its end.
    pub wait: bool,
}

/// Memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// So many bytes.
    Whole(u64),
    /// So many bytes for each processor.
    PerCpu(u64),
}

/// Where a job shall run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A node.
    pub node: Option<String>,
    /// A fleet.
    pub fleet: Option<String>,
    /// Labels of nodes.
    pub labels: BTreeMap<String, String>,
}

impl Place {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// This over an earlier one: a node that is named now is another place altogether; a fleet takes the place of a node or a
    /// fleet; labels are added.
    fn over(self, earlier: Self) -> Self {
        if self.node.is_some() {
            return self;
        }
        let mut labels = earlier.labels;
        labels.extend(self.labels);
        let node = if self.fleet.is_some() { None } else { earlier.node };
        Self { node, fleet: self.fleet.or(earlier.fleet), labels }
    }

    /// The labels that a node must have.
    #[must_use]
    pub fn all_labels(&self) -> BTreeMap<String, String> {
        let mut all = self.labels.clone();
        all.extend(self.fleet.iter().map(|fleet| (labels::FLEET.to_owned(), fleet.clone())));
        all
    }
}

impl Wish {
    /// This over an earlier one: what is said here counts, and for the rest what was said there.
    #[must_use]
    pub fn over(self, earlier: Self) -> Self {
        let joined = |mut earlier: BTreeMap<String, String>, later| {
            earlier.extend(later);
            earlier
        };
        let mut env = earlier.env;
        env.retain(|variable| self.env.iter().all(|later| later.name != variable.name));
        env.extend(self.env);
        // A name that is given exactly needs no beginning, and a beginning that is given later is another name.
        let name = if self.base.is_some() { self.name } else { self.name.or(earlier.name) };
        Self {
            name,
            base: self.base.or(earlier.base),
            place: self.place.over(earlier.place),
            every_node: self.every_node.or(earlier.every_node),
            image: self.image.or(earlier.image),
            shell: self.shell.or(earlier.shell),
            directory: self.directory.or(earlier.directory),
            env,
            cpus: self.cpus.or(earlier.cpus),
            memory: self.memory.or(earlier.memory),
            gpus: self.gpus.or(earlier.gpus),
            resources: joined(earlier.resources, self.resources),
            walltime: self.walltime.or(earlier.walltime),
            array: self.array.or(earlier.array),
            after: self.after.or(earlier.after),
            priority: self.priority.or(earlier.priority),
            hold: self.hold.or(earlier.hold),
            retries: self.retries.or(earlier.retries),
            requeue: self.requeue.or(earlier.requeue),
            deadline: self.deadline.or(earlier.deadline),
            ttl: self.ttl.or(earlier.ttl),
            grace: self.grace.or(earlier.grace),
            warning: self.warning.or(earlier.warning),
            comment: self.comment.or(earlier.comment),
            labels: joined(earlier.labels, self.labels),
            annotations: joined(earlier.annotations, self.annotations),
            wait: self.wait || earlier.wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(node: &str, fleet: &str, labels: &[(&str, &str)]) -> Place {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Place { node: text(node), fleet: text(fleet), labels }
    }

    #[test]
    fn a_place_that_is_named_later_is_another_place() {
        for (later, earlier, expected) in [
            (place("", "", &[]), place("vk-a", "", &[]), place("vk-a", "", &[])),
            (place("vk-b", "", &[]), place("", "f", &[("k", "v")]), place("vk-b", "", &[])),
            (place("", "g", &[]), place("vk-a", "", &[]), place("", "g", &[])),
            (place("", "g", &[]), place("", "f", &[("k", "v")]), place("", "g", &[("k", "v")])),
            (place("", "", &[("k", "w")]), place("", "f", &[("k", "v")]), place("", "f", &[("k", "w")])),
        ] {
            assert_eq!(later.over(earlier), expected);
        }
    }

    #[test]
    fn the_later_counts_and_the_rest_stays() {
        let variable = |name: &str, value: &str| Variable { name: name.to_owned(), value: Some(value.to_owned()) };
        let earlier = Wish {
            name: Some("old".to_owned()),
            priority: Some(1),
            retries: Some(2),
            env: vec![variable("A", "1"), variable("B", "2")],
            wait: true,
            ..Wish::default()
        };
        let later =
            Wish { base: Some("new".to_owned()), priority: Some(7), env: vec![variable("A", "9")], ..Wish::default() };
        let both = later.over(earlier);
        assert_eq!((both.name, both.base.as_deref()), (None, Some("new")));
        assert_eq!((both.priority, both.retries, both.wait), (Some(7), Some(2), true));
        assert_eq!(both.env, [variable("B", "2"), variable("A", "9")]);
    }
}
