//! Evicts pods from nodes, by the Eviction API: a PodDisruptionBudget may keep them. Which of them is decided in
//! [`vk_operator_core::fleet::drain`].

use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::core::Status;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::Instant;
use tracing::info;
use vk_operator_core::fleet::Drained;
use vk_operator_core::fleet::drain::{Held, Left, Verdict, verdict};

use crate::api::{CallError, call};

/// The pause between two rounds, as that of kubectl drain, and the longest one while nothing changes.
const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(40);
/// How many pods are asked for at a time.
const PAGE: u32 = 500;
/// How many pods are evicted side by side.
const SIDE_BY_SIDE: usize = 16;

/// Evicts, round for round.
pub struct Drainer {
    client: Client,
    next: Option<Instant>,
    pause: Duration,
}

impl Drainer {
    /// Before the first round. The client must not ask again by itself where a PodDisruptionBudget says no (429).
    pub fn new(client: Client) -> Self {
        Self { client, next: None, pause: FIRST }
    }

    /// Whether it is time for another round.
    pub fn is_due(&self) -> bool {
        self.next.is_some_and(|next| next <= Instant::now())
    }

    /// When that will be; none: nothing is left.
    pub fn again(&self) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(Instant::now()))
    }

    /// Asks for the eviction of all that is to go from these nodes. What is left.
    pub async fn round(&mut self, nodes: impl Iterator<Item = &String>, before: &Drained) -> Drained {
        let mut left = Vec::new();
        for node in nodes {
            match self.pods_of(node).await {
                Ok(pods) => {
                    let all = stream::iter(pods).map(|pod| self.one(pod)).buffer_unordered(SIDE_BY_SIDE);
                    left.extend(all.collect::<Vec<_>>().await.into_iter().flatten());
                }
                Err(error) => {
                    let why = format!("the pods of {node} cannot be listed: {error}");
                    left.push(Left { held: Held::Refused(why), pod: "pods".to_owned() });
                }
            }
        }
        left.sort();
        let drained = Drained { left };
        self.pause = if drained == *before { self.pause.saturating_mul(2).min(LONGEST) } else { FIRST };
        self.next = (!drained.left.is_empty()).then(|| Instant::now() + self.pause);
        drained
    }

    async fn pods_of(&self, node: &str) -> Result<Vec<Pod>, CallError> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let mut page = ListParams::default().fields(&format!("spec.nodeName={node}")).limit(PAGE);
        let mut all = Vec::new();
        loop {
            let list = call("list the pods of a node", pods.list(&page)).await?;
            all.extend(list.items);
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                return Ok(all);
            }
        }
    }

    /// Evicts one, if it is to go. What is left of it.
    async fn one(&self, pod: Pod) -> Option<Left> {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let held = match verdict(&pod) {
            Verdict::Ignore => return None,
            Verdict::Wait => Held::Ending,
            Verdict::Unmanaged => Held::Unmanaged,
            Verdict::Evict => match self.evict(&namespace, &name, pod.metadata.uid.as_deref()).await {
                Ok(()) => {
                    info!(pod = name, namespace, "evicted");
                    Held::Ending
                }
                Err(error) if error.is_not_found() || error.is_conflict() => Held::Ending,
                Err(error) => held_by(&error),
            },
        };
        Some(Left { held, pod: format!("{namespace}/{name}") })
    }

    /// That pod and no other of its name. (kube's own `evict` writes `delete_options`, which the API server does not know.)
    async fn evict(&self, namespace: &str, name: &str, uid: Option<&str>) -> Result<(), CallError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let eviction = json!({
            "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        });
        let params = PostParams::default();
        let asked = pods.create_subresource::<_, Status>("eviction", name, &params, &eviction);
        call("evict a pod", asked).await.map(drop)
    }
}

/// Who keeps a pod, by what the API server answers: what a PodDisruptionBudget forbids is 429, with the cause in its details.
fn held_by(error: &CallError) -> Held {
    let Some(status) = error.status() else { return Held::Refused(error.to_string()) };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    match causes.into_iter().find(|cause| cause.reason == "DisruptionBudget") {
        Some(cause) => Held::Budget(cause.message.clone()),
        None => Held::Refused(status.message.clone()),
    }
}
