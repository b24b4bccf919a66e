//! Where scenarios are played: a namespace and a node, watched, and the things that happen to a job.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::core::DynamicObject;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::AbortHandle;
use vk_cmd_e2e::site::Site;
use vk_cmd_e2e::wait::{self, Probe};

use super::scenario::{Cascade, Rest, Scenario, Step};
use super::side::Side;
use super::sight::{Sight, index, messages};
use crate::ground::{Room, room};

/// How often each of some hundred jobs is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// The longest that one thing may take to happen. The controller manager of a cluster as it comes makes 20 requests a second,
/// for all Jobs together.
const LIMIT: Duration = Duration::from_secs(180);

/// A namespace with a node.
pub(super) struct Stage {
    room: Room,
    site: Site,
    jobs: [Store<DynamicObject>; 2],
    pods: Store<Pod>,
    watches: Vec<AbortHandle>,
}

/// A job on the stage.
struct Player<'a> {
    stage: &'a Stage,
    scenario: &'a Scenario,
    side: Side,
    api: Api<DynamicObject>,
    directory: PathBuf,
    gates: BTreeMap<String, File>,
}

impl Stage {
    /// A namespace of this name with the node `vk-NAME`.
    pub(super) async fn new(name: &str) -> Self {
        let room = room(name).await;
        let site = room.site(&format!("vk-{name}")).await;
        let mut watches = Vec::new();
        let jobs = Side::ALL.map(|side| {
            let resource = side.resource();
            let api = Api::namespaced_with(room.client.clone(), name, &resource);
            watch(api, reflector::store::Writer::new(resource), &mut watches)
        });
        let pods = watch(room.pods(), reflector::store::Writer::default(), &mut watches);
        Self { room, site, jobs, pods, watches }
    }

    /// Plays a scenario on one side to its end.
    pub(super) async fn play(&self, scenario: &Scenario, side: Side) -> Result<Sight> {
        let directory = self.site.home().join("like-job").join(&scenario.name).join(side.word());
        std::fs::create_dir_all(directory.join("gates"))?;
        let mut gates = BTreeMap::new();
        for name in &scenario.gates {
            let gate = File::create(directory.join("gates").join(name))?;
            gate.lock()?;
            gates.insert(name.clone(), gate);
        }
        let api = Api::namespaced_with(self.room.client.clone(), &self.room.namespace, &side.resource());
        let object = scenario.object(side, self.site.node_name(), directory.to_str().context("an odd path")?);
        api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        let mut player = Player { stage: self, scenario, side, api, directory, gates };
        for (n, step) in scenario.steps.iter().enumerate() {
            player.take(step).await.with_context(|| format!("at step {n}"))?;
        }
        player.rest().await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.watches.iter().for_each(AbortHandle::abort);
    }
}

/// Keeps what a watch tells of.
fn watch<K>(api: Api<K>, writer: reflector::store::Writer<K>, watches: &mut Vec<AbortHandle>) -> Store<K>
where
    K: kube::Resource<DynamicType: Clone + Eq + std::hash::Hash + Send + Sync + Unpin>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let store = writer.as_reader();
    let stream = reflector::reflector(writer, watcher(api, watcher::Config::default()).default_backoff());
    watches.push(tokio::spawn(stream.for_each(|_| async {})).abort_handle());
    store
}

impl Player<'_> {
    /// What the watches show of it.
    fn look(&self) -> Sight {
        let [native, cmdjob] = &self.stage.jobs;
        let jobs = if self.side == Side::Native { native } else { cmdjob };
        let job = jobs.find(|job| job.name_any() == self.scenario.name);
        Sight::of(job.as_deref(), &self.pods(), &self.directory)
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        let is_its = |pod: &Arc<Pod>| pod.labels().get(self.side.label()).is_some_and(|job| *job == self.scenario.name);
        self.stage.pods.state().into_iter().filter(is_its).collect()
    }

    async fn until(&self, what: &str, wanted: impl Fn(&Sight) -> bool) -> Result<()> {
        let looks = async || {
            let seen = self.look();
            Ok(if wanted(&seen) { Probe::Ready(()) } else { Probe::not_yet(format!("{seen:?}")) })
        };
        wait::until(what, LIMIT, GLANCE, looks).await
    }

    /// The pod that runs, of this index if one is named.
    async fn running(&self, wanted: Option<u32>) -> Result<String> {
        let wanted = wanted.map(|index| index.to_string());
        let is_it = |pod: &Arc<Pod>| {
            crate::plain_pods::phase(pod) == "Running" && (wanted.is_none() || index(pod) == wanted.as_deref())
        };
        let looks = async || {
            Ok(match self.pods().iter().find(|pod| is_it(pod)) {
                Some(pod) => Probe::Ready(pod.name_any()),
                None => Probe::not_yet("no pod runs"),
            })
        };
        wait::until("a pod to run", LIMIT, GLANCE, looks).await
    }

    async fn take(&mut self, step: &Step) -> Result<()> {
        let pods = self.stage.room.pods();
        match step {
            Step::Until(wanted) => self.until("what the next step needs", wanted).await?,
            Step::Open(gate) => drop(self.gates.remove(*gate).with_context(|| format!("no gate {gate}"))?),
            Step::Change(spec) => {
                let patch = Patch::Merge(json!({"spec": spec}));
                self.api.patch(&self.scenario.name, &PatchParams::default(), &patch).await?;
            }
            Step::DeletePod(index) => {
                pods.delete(&self.running(*index).await?, &DeleteParams::default()).await?;
            }
            Step::DeletePodAtOnce => {
                pods.delete(&self.running(None).await?, &DeleteParams::default().grace_period(0)).await?;
            }
            Step::Evict => {
                pods.evict(&self.running(None).await?, &EvictParams::default()).await?;
            }
            Step::Mark(condition) => {
                let patch = json!({"status": {"conditions": [{"type": condition, "status": "True"}]}});
                let name = self.running(None).await?;
                pods.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
            }
            Step::Delete(cascade) => {
                let policy = match cascade {
                    Cascade::Background => PropagationPolicy::Background,
                    Cascade::Foreground => PropagationPolicy::Foreground,
                    Cascade::Orphan => PropagationPolicy::Orphan,
                };
                let params = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
                self.api.delete(&self.scenario.name, &params).await?;
            }
            Step::Pass(seconds) => tokio::time::sleep(Duration::from_secs(*seconds)).await,
        }
        Ok(())
    }

    /// Waits until it has come to rest, and looks once more, past all caches.
    async fn rest(&self) -> Result<Sight> {
        let rest = self.scenario.rest;
        if rest == Rest::Left {
            // Who has had to do with a later job from its beginning to its end has seen this one.
            let later = Scenario::of_later(self.scenario);
            let later = Box::pin(self.stage.play(&later, self.side)).await.context("of the later job")?;
            if !later.is("Complete") {
                bail!("the later job has failed: {later:?}");
            }
        }
        if matches!(rest, Rest::Gone | Rest::Orphaned) {
            // A watch that has not heard of its beginning yet cannot tell of its end.
            wait::until("the object to go", LIMIT, GLANCE, async || {
                let found = self.api.get_opt(&self.scenario.name).await?;
                Ok(if found.is_none() { Probe::Ready(()) } else { Probe::not_yet(format!("{found:?}")) })
            })
            .await?;
        }
        self.until(&format!("it to be {rest:?}"), |seen| seen.rests(rest)).await?;
        let job = self.api.get_opt(&self.scenario.name).await?;
        let selector = ListParams::default().labels(&format!("{}={}", self.side.label(), self.scenario.name));
        let pods: Vec<Arc<Pod>> =
            self.stage.room.pods().list(&selector).await?.items.into_iter().map(Arc::new).collect();
        let seen = Sight::of(job.as_ref(), &pods, &self.directory);
        if !seen.rests(rest) {
            bail!("it has come to rest and then moved again: {seen:?}");
        }
        for message in job.iter().flat_map(messages) {
            println!("{} {}: {message}", self.scenario.name, self.side.word());
        }
        Ok(seen)
    }
}
