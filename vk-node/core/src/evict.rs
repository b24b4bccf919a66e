//! Whether a pod uses more room on disk than it may, and is to be evicted for it: the kubelet's rules for local storage
//! (`localStorageEviction`), in its words. It looks from time to time, and so does this node: what is written between two
//! looks is not held back.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use vk_task::{Origin, Stats, TaskView};

use vk_cmd_crds::quantity::{sum_text, units};

/// The resource.
pub(crate) const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// The `reason` of a pod that was evicted: the kubelet's word.
pub const EVICTED: &str = "Evicted";
/// A pod of this priority or more is never evicted: the kubelet's `SystemCriticalPriority`.
const CRITICAL: i32 = 2_000_000_000;

/// How much room a pod may use on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageLimits {
    /// `sizeLimit` of its `emptyDir` volumes, by their names, in the pod's order.
    volumes: Vec<(String, Limit)>,
    /// Of all together; there is one as soon as a container has one.
    pod: Option<Limit>,
    /// `limits` of its main containers, by their names.
    containers: BTreeMap<String, Limit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    /// As the pod writes it.
    text: String,
}

/// What a pod uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageUse {
    /// Its volumes, by their names, in bytes.
    volumes: BTreeMap<String, u64>,
    /// Its containers, by their names: their directories and logs, in bytes.
    containers: BTreeMap<String, u64>,
    /// All together, but for what is in memory.
    pod: u64,
}

/// That a pod is to be evicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// What it is for, as the kubelet's metrics name it.
    pub signal: &'static str,
    /// The `message` of the pod, in the kubelet's words.
    pub message: String,
}

impl Limit {
    /// What cannot be read is refused elsewhere.
    fn of(quantity: &Quantity) -> Option<Self> {
        Some(Self { bytes: units(quantity).ok()?, text: quantity.0.clone() })
    }
}

impl StorageLimits {
    /// Of a pod of this specification.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Self {
        if spec.priority.is_some_and(|priority| priority >= CRITICAL) {
            return Self::default();
        }
        let sized = spec.volumes.iter().flatten().filter_map(|volume| {
            let limit = Limit::of(volume.empty_dir.as_ref()?.size_limit.as_ref()?)?;
            Some((volume.name.clone(), limit)).filter(|(_, limit)| limit.bytes > 0)
        });
        let limited = |container: &Container| Limit::of(limit_of(container)?).filter(|limit| limit.bytes > 0);
        let containers = spec.containers.iter().filter_map(|c| Some((c.name.clone(), limited(c)?)));
        Self { volumes: sized.collect(), pod: of_all(spec), containers: containers.collect() }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.pod.is_none() && self.containers.is_empty()
    }

    /// Whether a pod that uses so much is to be evicted, and for what: its volumes count first, then all of it, then its
    /// containers.
    #[must_use]
    pub fn exceeded(&self, used: &StorageUse) -> Option<Eviction> {
        let uses = |all: &BTreeMap<String, u64>, name: &str| all.get(name).copied().unwrap_or_default();
        let volume = self.volumes.iter().find(|(name, limit)| uses(&used.volumes, name) > limit.bytes);
        let eviction = |signal, message| Some(Eviction { signal, message });
        if let Some((name, Limit { text, .. })) = volume {
            let message = format!("Usage of EmptyDir volume {name:?} exceeds the limit {text:?}. ");
            return eviction("emptydirfs.limit", message);
        }
        if let Some(Limit { text, .. }) = self.pod.as_ref().filter(|limit| used.pod > limit.bytes) {
            let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {text}. ");
            return eviction("ephemeralpodfs.limit", message);
        }
        let container = self.containers.iter().find(|(name, limit)| uses(&used.containers, name) > limit.bytes);
        let (name, Limit { text, .. }) = container?;
        let message = format!("Container {name} exceeded its local ephemeral storage limit {text:?}. ");
        eviction("ephemeralcontainerfs.limit", message)
    }
}

fn limit_of(container: &Container) -> Option<&Quantity> {
    container.resources.as_ref()?.limits.as_ref()?.get(EPHEMERAL_STORAGE)
}

/// The kubelet's `PodLimits`: the sum over main containers and sidecars, or what an init container may have beside the
/// sidecars before it, whichever is more.
fn of_all(spec: &PodSpec) -> Option<Limit> {
    let mut all: Vec<&Quantity> = spec.containers.iter().filter_map(limit_of).collect();
    let (mut sidecars, mut largest): (Vec<&Quantity>, Option<Limit>) = (Vec::new(), None);
    for container in spec.init_containers.iter().flatten() {
        let Some(limit) = limit_of(container) else { continue };
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.push(limit);
            all.push(limit);
        }
        let together = match container.restart_policy.as_deref() {
            Some("Always") => sidecars.clone(),
            _ => sidecars.iter().copied().chain([limit]).collect(),
        };
        largest = larger(largest, sum(&together));
    }
    larger(sum(&all), largest)
}

fn larger(one: Option<Limit>, other: Option<Limit>) -> Option<Limit> {
    match (one, other) {
        (Some(one), Some(other)) if other.bytes > one.bytes => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

fn sum(all: &[&Quantity]) -> Option<Limit> {
    let first = all.first()?;
    let bytes = all.iter().map(|one| units(one).ok()).try_fold(0_u64, |sum, n| sum.checked_add(n?))?;
    Some(Limit { bytes, text: sum_text(first, bytes) })
}

impl StorageUse {
    /// What the pod with this UID and these tasks uses, as the pipe has measured it.
    #[must_use]
    pub fn of(uid: &str, tasks: &[TaskView], stats: &Stats) -> Self {
        let mut used = Self::default();
        if let Some(pod) = stats.pods.iter().find(|pod| pod.uid.as_str() == uid) {
            used.pod = pod.bytes;
            used.volumes = pod.volumes.iter().map(|v| (v.name.as_str().to_owned(), v.bytes)).collect();
            used.containers = pod.containers.iter().map(|c| (c.name.as_str().to_owned(), c.bytes)).collect();
        }
        for task in tasks {
            if let Origin::Pod(run) = &task.origin
                && let Some(usage) = stats.tasks.iter().find(|usage| usage.id == task.id)
            {
                used.pod = used.pod.saturating_add(usage.log_bytes);
                let own = used.containers.entry(run.container.clone()).or_default();
                *own = own.saturating_add(usage.log_bytes);
            }
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;

    fn limits(spec: Value) -> StorageLimits {
        StorageLimits::of(&from_value(spec).unwrap())
    }

    fn container(name: &str, limit: &str) -> Value {
        json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}})
    }

    fn used(volumes: &[(&str, u64)], containers: &[(&str, u64)], pod: u64) -> StorageUse {
        let map = |all: &[(&str, u64)]| all.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        StorageUse { volumes: map(volumes), containers: map(containers), pod }
    }

    #[test]
    fn what_is_exceeded_is_told_in_the_kubelets_words() {
        let limits = limits(json!({
            "containers": [container("a", "1Ki"), container("b", "1Ki"), {"name": "c"}],
            "volumes": [
                {"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "w", "emptyDir": {}},
                {"name": "n", "emptyDir": {"sizeLimit": "0"}},
            ],
        }));
        let said = |used| limits.exceeded(&used).map(|eviction| eviction.message);
        assert_eq!(said(used(&[("v", 1 << 20), ("w", 1 << 40), ("n", 1)], &[("a", 1024), ("c", 9999)], 2048)), None);
        assert_eq!(
            said(used(&[("v", (1 << 20) + 1)], &[("a", 9999)], 9999)).unwrap(),
            "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "
        );
        assert_eq!(
            said(used(&[], &[("a", 9999)], 9999)).unwrap(),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2Ki. "
        );
        assert_eq!(
            said(used(&[], &[("b", 1025)], 1025)).unwrap(),
            "Container b exceeded its local ephemeral storage limit \"1Ki\". "
        );
    }

    #[test]
    fn the_limit_of_a_pod_is_what_may_be_used_at_once() {
        let sidecar = |name: &str, limit: &str| {
            let mut sidecar = container(name, limit);
            sidecar["restartPolicy"] = json!("Always");
            sidecar
        };
        for (init, expected) in [
            (json!([]), "3M"),
            (json!([container("i", "2M")]), "3M"),
            (json!([container("i", "4M")]), "4M"),
            (json!([sidecar("s", "1M"), container("i", "2500k")]), "4M"),
            (json!([sidecar("s", "1M"), container("i", "4M")]), "5M"),
            (json!([container("i", "3500k"), sidecar("s", "100k")]), "3500k"),
        ] {
            let spec = json!({"containers": [container("a", "1M"), container("b", "2M")], "initContainers": init});
            assert_eq!(limits(spec).pod.unwrap().text, expected, "{init}");
        }
    }

    #[test]
    fn without_a_limit_and_for_a_critical_pod_there_is_none() {
        assert!(limits(json!({"containers": [{"name": "a"}]})).is_empty());
        let critical = json!({"containers": [container("a", "1k")], "priority": 2_000_001_000});
        assert!(limits(critical).is_empty());
    }
}
