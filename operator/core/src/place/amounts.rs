//! Amounts of resources: what a node has, what a pod asks for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use vk_cmd_crds::quantity::{binary_text, thousandths, units};

use crate::validate::ValidJob;

/// The name of the resource of which each pod takes one.
const PODS: &str = "pods";
/// The one that is counted in thousandths.
const CPU: &str = "cpu";

/// Amounts by the name of the resource: of cpu in thousandths, of all else in units of one. What is not there is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amounts(BTreeMap<Box<str>, u64>);

impl Amounts {
    /// Reads quantities. What is no quantity is left out: the API server takes none of that.
    pub fn read<'a>(quantities: impl IntoIterator<Item = (&'a String, &'a Quantity)>) -> Self {
        let amount = |(name, quantity): (&'a String, &'a Quantity)| {
            let amount = if name == CPU { thousandths(quantity) } else { units(quantity) };
            amount.ok().filter(|amount| *amount > 0).map(|amount| (name.as_str().into(), amount))
        };
        Self(quantities.into_iter().filter_map(amount).collect())
    }

    /// What an attempt of a job takes. Requests that are not there are the limits, as everywhere in Kubernetes.
    pub fn of_job(job: &ValidJob<'_>) -> Self {
        let (limits, requests) = job.resources.map_or((None, None), |r| (r.limits.as_ref(), r.requests.as_ref()));
        asked(limits, requests).with_pod()
    }

    /// What a pod takes, as the scheduler counts: its containers together with its sidecars, or what one of its init containers
    /// takes beside the sidecars that were started before it, whichever is more.
    pub fn of_pod(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default().with_pod() };
        let of = |container: &Container| {
            let resources = container.resources.as_ref();
            asked(resources.and_then(|r| r.limits.as_ref()), resources.and_then(|r| r.requests.as_ref()))
        };
        let (mut sidecars, mut most) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let mut alone = of(container);
            if container.restart_policy.as_deref() == Some("Always") {
                sidecars.add(&alone);
            } else {
                alone.add(&sidecars);
                most.raise(&alone);
            }
        }
        let mut all = sidecars;
        spec.containers.iter().for_each(|container| all.add(&of(container)));
        all.raise(&most);
        all.add(&Self::read(spec.overhead.iter().flatten()));
        all.with_pod()
    }

    fn with_pod(mut self) -> Self {
        self.0.insert(PODS.into(), 1);
        self
    }

    /// How much there is of one.
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }

    /// More.
    pub fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Less.
    pub fn take(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let left = self.get(name).saturating_sub(*amount);
            if left == 0 {
                self.0.remove(name);
            } else {
                self.0.insert(name.clone(), left);
            }
        }
    }

    /// At least as much of each.
    fn raise(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }

    /// The largest part that this is of `whole`, over all resources that both have, in millionths.
    pub fn part_of(&self, whole: &Self) -> u64 {
        let part = |(name, amount): (&str, u64)| {
            let whole = u128::from(whole.get(name));
            let part = u128::from(amount).saturating_mul(1_000_000).checked_div(whole)?;
            Some(u64::try_from(part).unwrap_or(u64::MAX))
        };
        self.iter().filter_map(part).max().unwrap_or_default()
    }
}

/// Amounts by a name, of nodes or of namespaces. Who has none is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(HashMap<String, Amounts>);

static NOTHING: Amounts = Amounts(BTreeMap::new());

impl Sums {
    /// Those of one name.
    pub fn of(&self, name: &str) -> &Amounts {
        self.0.get(name).unwrap_or(&NOTHING)
    }

    /// More for this name.
    pub fn add(&mut self, name: &str, amounts: &Amounts) {
        match self.0.get_mut(name) {
            Some(sum) => sum.add(amounts),
            None => drop(self.0.insert(name.to_owned(), amounts.clone())),
        }
    }

    /// Less for this name.
    pub fn take(&mut self, name: &str, amounts: &Amounts) {
        if let Some(sum) = self.0.get_mut(name) {
            sum.take(amounts);
            if *sum == NOTHING {
                self.0.remove(name);
            }
        }
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn asked(limits: Option<&BTreeMap<String, Quantity>>, requests: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let mut all = Amounts::read(limits.into_iter().flatten());
    for (name, quantity) in requests.into_iter().flatten() {
        all.0.remove(name.as_str());
        all.add(&Amounts::read([(name, quantity)]));
    }
    all
}

/// One amount for people: "4 nvidia.com/gpu", "500m cpu", "4Gi memory".
pub(super) struct Worded<'a>(pub(super) &'a str, pub(super) u64);

impl fmt::Display for Worded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, amount) = *self;
        match name {
            CPU if amount % 1000 == 0 => write!(f, "{} cpu", amount / 1000),
            CPU => write!(f, "{amount}m cpu"),
            "memory" | "ephemeral-storage" => write!(f, "{} {name}", binary_text(amount)),
            PODS if amount == 1 => write!(f, "a pod"),
            other => write!(f, "{amount} {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Amounts {
        Amounts::of_pod(&serde_yaml_ng::from_str(&format!("spec: {{{spec}}}")).unwrap())
    }

    #[test]
    fn a_pod_takes_what_the_scheduler_counts() {
        let amounts = |text: &[(&str, u64)]| Amounts(text.iter().map(|(name, n)| ((*name).into(), *n)).collect());
        for (spec, expected) in [
            ("containers: [{name: a}]", vec![("pods", 1)]),
            (
                "containers: [{name: a, resources: {limits: {cpu: 2, memory: 1Ki}, requests: {cpu: 500m}}}, \
                 {name: b, resources: {requests: {cpu: 1, x/y: 3}}}]",
                vec![("cpu", 1500), ("memory", 1024), ("x/y", 3), ("pods", 1)],
            ),
            (
                "containers: [{name: a, resources: {requests: {cpu: 1}}}], overhead: {memory: 7}, initContainers: [{name: s, \
                 restartPolicy: Always, resources: {requests: {cpu: 1}}}, {name: i, resources: {requests: {cpu: 3}}}]",
                vec![("cpu", 4000), ("memory", 7), ("pods", 1)],
            ),
            ("containers: [{name: a, resources: {limits: {cpu: 1}, requests: {cpu: 0}}}]", vec![("pods", 1)]),
        ] {
            assert_eq!(pod(spec), amounts(&expected), "{spec}");
        }
    }

    #[test]
    fn amounts_are_said_as_people_write_them() {
        for (name, amount, text) in [
            ("cpu", 4000, "4 cpu"),
            ("cpu", 500, "500m cpu"),
            ("memory", 4 << 30, "4Gi memory"),
            ("memory", 1000, "1000 memory"),
            ("nvidia.com/gpu", 4, "4 nvidia.com/gpu"),
            ("pods", 1, "a pod"),
        ] {
            assert_eq!(Worded(name, amount).to_string(), text);
        }
    }

    #[test]
    fn the_part_is_that_of_the_scarcest() {
        let whole = pod("containers: [{name: a, resources: {requests: {cpu: 10, memory: 100}}}]");
        let some = pod("containers: [{name: a, resources: {requests: {cpu: 2, memory: 50, other: 9}}}]");
        let mut less = whole.clone();
        less.take(&some);
        assert_eq!((less.get("cpu"), less.get("memory"), less.get("pods")), (8000, 50, 0));
        assert_eq!(less.part_of(&whole), 800_000);
        assert_eq!(Amounts::default().part_of(&whole), 0);
    }
}
