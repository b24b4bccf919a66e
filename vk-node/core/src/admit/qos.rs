//! A pod's class of quality of service, by the rules of the API server (`ComputePodQOS`), which writes it into the status of
//! each pod that is created.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use vk_cmd_crds::quantity::thousandths;

/// The class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QosClass {
    /// No container says what it needs.
    BestEffort,
    /// Some say something.
    Burstable,
    /// All say how much processor and memory they may use, and need as much.
    Guaranteed,
}

/// What is counted, in thousandths.
type Amounts = BTreeMap<&'static str, u128>;

impl QosClass {
    /// As the API has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "BestEffort",
            Self::Burstable => "Burstable",
            Self::Guaranteed => "Guaranteed",
        }
    }

    /// Of a pod of this specification.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Self {
        let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
        let mut all_are_limited = true;
        let mut count = |resources: Option<&ResourceRequirements>| {
            let of = |list: Option<&BTreeMap<String, Quantity>>| list.map(counted).unwrap_or_default();
            let limited = of(resources.and_then(|r| r.limits.as_ref()));
            all_are_limited &= limited.len() == 2;
            add(&mut requests, of(resources.and_then(|r| r.requests.as_ref())));
            add(&mut limits, limited);
        };
        match &spec.resources {
            // Those of the whole pod, where it has any, are all that counts. Without limits of its own it has none that
            // could be wrong.
            Some(whole) => {
                count(Some(whole));
                all_are_limited |= whole.limits.as_ref().is_none_or(BTreeMap::is_empty);
            }
            None => containers(spec).for_each(|container| count(container.resources.as_ref())),
        }
        if requests.is_empty() && limits.is_empty() {
            Self::BestEffort
        } else if all_are_limited && requests == limits {
            Self::Guaranteed
        } else {
            Self::Burstable
        }
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// Processor and memory, where there is more than nothing of them.
fn counted(list: &BTreeMap<String, Quantity>) -> Amounts {
    ["cpu", "memory"]
        .into_iter()
        .filter_map(|name| Some((name, u128::from(thousandths(list.get(name)?).ok().filter(|amount| *amount > 0)?))))
        .collect()
}

fn add(sum: &mut Amounts, more: Amounts) {
    for (name, amount) in more {
        *sum.entry(name).or_default() += amount;
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn classes_are_those_of_the_api_server() {
        let both = json!({"cpu": "500m", "memory": "1Gi"});
        let container = |resources: Value| json!({"name": "c", "resources": resources});
        for (containers, pods, class) in [
            (json!([container(json!({}))]), Value::Null, "BestEffort"),
            (json!([container(json!({"requests": {"cpu": "0"}}))]), Value::Null, "BestEffort"),
            (json!([container(json!({"requests": {"nvidia.com/gpu": "1"}}))]), Value::Null, "BestEffort"),
            (json!([container(json!({"requests": {"cpu": "10m"}}))]), Value::Null, "Burstable"),
            (json!([container(json!({"limits": both, "requests": both}))]), Value::Null, "Guaranteed"),
            (
                json!([container(json!({"limits": both, "requests": {"cpu": "0.5", "memory": "1024Mi"}}))]),
                Value::Null,
                "Guaranteed",
            ),
            (json!([container(json!({"limits": both}))]), Value::Null, "Burstable"),
            (
                json!([container(json!({"limits": both, "requests": both})), container(json!({}))]),
                Value::Null,
                "Burstable",
            ),
            (json!([container(json!({}))]), json!({"limits": both, "requests": both}), "Guaranteed"),
            (json!([container(json!({"limits": both, "requests": both}))]), json!({"requests": both}), "Burstable"),
        ] {
            let spec: PodSpec = from_value(json!({"containers": containers, "resources": pods})).unwrap();
            assert_eq!(QosClass::of(&spec).as_str(), class, "{containers} {pods}");
        }
    }

    #[test]
    fn init_containers_count() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let spec = json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "c", "resources": {"limits": both, "requests": both}}],
        });
        assert_eq!(QosClass::of(&from_value(spec).unwrap()), QosClass::Burstable);
    }
}
