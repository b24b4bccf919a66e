//! Amounts of resources: what a node has, what a pod asks for. One count for all: the operator places by it, and the node
//! refuses by it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity::{thousandths, units};

/// The name of the resource of which each pod takes one.
pub const PODS: &str = "pods";
/// The one that is counted in thousandths.
pub const CPU: &str = "cpu";

/// Amounts by the name of the resource: of cpu in thousandths, of all else in units of one. What is not there is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amounts(BTreeMap<Box<str>, u64>);

impl Amounts {
    /// None of anything.
    pub const NOTHING: Self = Self(BTreeMap::new());

    /// Reads quantities. What is no quantity is left out: the API server takes none of that.
    pub fn read<'a>(quantities: impl IntoIterator<Item = (&'a String, &'a Quantity)>) -> Self {
        let amount = |(name, quantity): (&'a String, &'a Quantity)| {
            let amount = if name == CPU { thousandths(quantity) } else { units(quantity) };
            amount.ok().filter(|amount| *amount > 0).map(|amount| (name.as_str().into(), amount))
        };
        Self(quantities.into_iter().filter_map(amount).collect())
    }

    /// What a pod of one container takes that asks for this. Requests that are not there are the limits, as everywhere in
    /// Kubernetes.
    pub fn of_single(
        limits: Option<&BTreeMap<String, Quantity>>,
        requests: Option<&BTreeMap<String, Quantity>>,
    ) -> Self {
        asked(limits, requests).with_pod()
    }

    /// What a pod takes, as the scheduler counts (`PodRequests`): its containers together with its sidecars, or what one of its
    /// init containers takes beside the sidecars that were started before it, whichever is more; what is requested for the pod
    /// as a whole stands over that. A container that runs with more than it is to have from its next run on takes what it has.
    pub fn of_pod(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default().with_pod() };
        let of = |container: &Container| of_container(container, pod.status.as_ref());
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
        let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        for (name, quantity) in whole.into_iter().flatten().filter(|(name, _)| is_of_pods(name)) {
            all.0.remove(name.as_str());
            all.add(&Self::read([(name, quantity)]));
        }
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

fn asked(limits: Option<&BTreeMap<String, Quantity>>, requests: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    let mut all = Amounts::read(limits.into_iter().flatten());
    for (name, quantity) in requests.into_iter().flatten() {
        all.0.remove(name.as_str());
        all.add(&Amounts::read([(name, quantity)]));
    }
    all
}

fn of_resources(resources: Option<&ResourceRequirements>) -> Amounts {
    asked(resources.and_then(|r| r.limits.as_ref()), resources.and_then(|r| r.requests.as_ref()))
}

/// Of one container: what it is to have, or what it has, whichever is more (`determineEffectiveRequests`).
fn of_container(container: &Container, status: Option<&PodStatus>) -> Amounts {
    let mut amounts = of_resources(container.resources.as_ref());
    let lists = status.map(|status| [&status.container_statuses, &status.init_container_statuses]);
    let is_it = |told: &&ContainerStatus| told.name == container.name;
    let told = lists.into_iter().flatten().flatten().flatten().find(is_it);
    if let Some(told) = told.filter(|told| told.state.as_ref().is_some_and(|state| state.running.is_some())) {
        amounts.raise(&of_resources(told.resources.as_ref()));
    }
    amounts
}

/// Whether a resource can be requested for a pod as a whole (`IsSupportedPodLevelResource`).
fn is_of_pods(name: &str) -> bool {
    matches!(name, CPU | "memory") || name.starts_with("hugepages-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(text: &str) -> Amounts {
        Amounts::of_pod(&serde_yaml_ng::from_str(&format!("{{{text}}}")).unwrap())
    }

    #[test]
    fn a_pod_takes_what_the_scheduler_counts() {
        let amounts = |text: &[(&str, u64)]| Amounts(text.iter().map(|(name, n)| ((*name).into(), *n)).collect());
        for (text, expected) in [
            ("spec: {containers: [{name: a}]}", vec![("pods", 1)]),
            (
                "spec: {containers: [{name: a, resources: {limits: {cpu: 2, memory: 1Ki}, requests: {cpu: 500m}}}, \
                 {name: b, resources: {requests: {cpu: 1, x/y: 3}}}]}",
                vec![("cpu", 1500), ("memory", 1024), ("x/y", 3), ("pods", 1)],
            ),
            (
                "spec: {containers: [{name: a, resources: {requests: {cpu: 1}}}], overhead: {memory: 7}, initContainers: [\
                 {name: s, restartPolicy: Always, resources: {requests: {cpu: 1}}}, \
                 {name: i, resources: {requests: {cpu: 3}}}]}",
                vec![("cpu", 4000), ("memory", 7), ("pods", 1)],
            ),
            ("spec: {containers: [{name: a, resources: {limits: {cpu: 1}, requests: {cpu: 0}}}]}", vec![("pods", 1)]),
            (
                "spec: {resources: {requests: {cpu: 2, x/y: 9}}, overhead: {cpu: 100m}, \
                 containers: [{name: a, resources: {requests: {cpu: 3, memory: 5}}}]}",
                vec![("cpu", 2100), ("memory", 5), ("pods", 1)],
            ),
        ] {
            assert_eq!(pod(text), amounts(&expected), "{text}");
        }
    }

    #[test]
    fn a_container_that_is_made_smaller_takes_what_it_has_until_it_runs_anew() {
        let resized = |state: &str| {
            pod(&format!(
                "spec: {{containers: [{{name: a, resources: {{requests: {{cpu: 1, memory: 9}}}}}}]}}, \
                 status: {{containerStatuses: [{{name: a, image: i, imageID: i, ready: true, restartCount: 0, \
                 state: {state}, resources: {{requests: {{cpu: 2, memory: 3}}}}}}]}}"
            ))
        };
        let running = resized("{running: {}}");
        assert_eq!((running.get("cpu"), running.get("memory")), (2000, 9));
        assert_eq!(resized("{terminated: {exitCode: 0}}").get("cpu"), 1000);
    }

    #[test]
    fn the_part_is_that_of_the_scarcest() {
        let whole = pod("spec: {containers: [{name: a, resources: {requests: {cpu: 10, memory: 100}}}]}");
        let some = pod("spec: {containers: [{name: a, resources: {requests: {cpu: 2, memory: 50, other: 9}}}]}");
        let mut less = whole.clone();
        less.take(&some);
        assert_eq!((less.get("cpu"), less.get("memory"), less.get("pods")), (8000, 50, 0));
        assert_eq!(less.part_of(&whole), 800_000);
        assert_eq!(Amounts::default().part_of(&whole), 0);
    }
}
