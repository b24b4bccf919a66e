//! What disturbs a node and must not disturb its pods: restarts of vk-node, an API server that is away, a watch that has
//! expired, a clock that jumps. In all of it pods of every kind run, a watch records each of their statuses, and each of
//! their processes leaves a line when it starts.

mod clock;
mod expired;
mod kinds;
mod outage;
mod restarts;
mod servers;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::json;
use tokio::task::JoinHandle;
use vk_cmd_e2e::history::{self, Expected};
use vk_cmd_e2e::site::Site;
use vk_cmd_e2e::wait::{self, Probe};

use self::kinds::{Given, Kind, Starts};
use crate::ground::{GLANCE, LONG, Room};
use crate::plain_pods::phase;

/// How many pods are created at a time.
const AT_ONCE: usize = 16;

/// Pods of every kind on one node.
struct Crowd {
    given: Given,
    pods: Vec<(String, Kind)>,
    api: Api<Pod>,
    recorder: Recorder,
}

impl Crowd {
    /// Creates `share` of the usual number of pods of each kind, one at least, and waits until each of them is where it stays.
    async fn gather(room: &Room, site: &Site, share: f64) -> Self {
        let given = Given::new(room, site).await;
        let recorder = Recorder::start(room.pods());
        let mut this = Self { given, pods: Vec::new(), api: room.pods(), recorder };
        for (kind, count) in kinds::ALL {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is a small number")]
            let count = (f64::from(count) * share).ceil() as u32;
            this.pods.extend((0..count).map(|n| (format!("{}-{n}", kind.name()), kind)));
        }
        let made = this.pods.iter().map(|(name, kind)| {
            let pod: Pod = serde_json::from_value(kind.pod(name, &this.given)).unwrap();
            let api = &this.api;
            async move { api.create(&PostParams::default(), &pod).await.unwrap() }
        });
        stream::iter(made).buffer_unordered(AT_ONCE).for_each(|_| async {}).await;
        this.each(Kind::Ephemeral, async |name| this.debug(name).await).await;
        this.settled().await;
        // From now on what was asked once must not be asked again.
        for (name, _) in this.of(Kind::Started) {
            std::fs::remove_file(this.given.file(name, "up")).unwrap();
        }
        for kind in [Kind::Ending, Kind::EndingByHook] {
            this.each(kind, async |name| {
                this.given.lines_until(name, "main", |lines| lines.len() == 1).await;
                this.api.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
                this.given.lines_until(name, "end", |lines| !lines.is_empty()).await;
            })
            .await;
        }
        this
    }

    fn of(&self, kind: Kind) -> impl Iterator<Item = &(String, Kind)> {
        self.pods.iter().filter(move |(_, its)| *its == kind)
    }

    async fn each(&self, kind: Kind, act: impl AsyncFn(&str)) {
        for (name, _) in self.of(kind) {
            act(name).await;
        }
    }

    /// The name of the first of a kind.
    fn first(&self, kind: Kind) -> String {
        self.of(kind).next().unwrap().0.clone()
    }

    /// Waits until a pod is gone.
    async fn until_gone(&self, name: &str) {
        let what = format!("{name} to be gone");
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let pod = self.api.get_opt(name).await?;
            Ok(pod.map_or(Probe::Ready(()), |pod| Probe::not_yet(format!("{:?}", pod.status))))
        });
        reached.await.unwrap();
    }

    /// Adds an ephemeral container.
    async fn debug(&self, name: &str) {
        let container = kinds::container("debug", name, &self.given, "exec sleep 1000");
        let patch = json!({"spec": {"ephemeralContainers": [container]}});
        self.api.patch_ephemeral_containers(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }

    /// Waits until each pod is where it stays.
    async fn settled(&self) {
        let reached = wait::until("the pods to come to where they stay", LONG, GLANCE, async || {
            let pods = self.recorder.latest();
            let late = self.pods.iter().find(|(name, kind)| {
                !pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(name) && kind.is_settled(pod))
            });
            Ok(match late {
                None => Probe::Ready(()),
                Some((name, _)) => {
                    let pod = pods.iter().find(|pod| pod.metadata.name.as_ref() == Some(name));
                    Probe::not_yet(format!("{name}: {:?}", pod.map(|pod| &pod.status)))
                }
            })
        });
        reached.await.unwrap();
    }

    /// One more pod, which runs.
    async fn add(&self, room: &Room, name: &str, kind: Kind) -> Pod {
        let pod: Pod = serde_json::from_value(kind.pod(name, &self.given)).unwrap();
        self.api.create(&PostParams::default(), &pod).await.unwrap();
        room.pod(name, "to run", |pod| phase(pod) == "Running").await
    }

    /// A pod that is made now comes up: the node does its work.
    async fn node_works(&self, room: &Room, mark: &str) {
        self.add(room, mark, Kind::Plain).await;
    }

    /// What is in the ConfigMap `map` comes to the pods that have a volume of it.
    async fn map_reaches_pods(&self, room: &Room, one: &str) {
        let name = self.first(Kind::Volumes);
        let reached = wait::until("the ConfigMap to reach the pod", LONG, GLANCE, async || {
            let seen = room.says(&["exec", &name, "--", "cat", "map/one"]).await;
            Ok(if seen == one { Probe::Ready(()) } else { Probe::not_yet(seen) })
        });
        reached.await.unwrap();
    }

    /// Nothing was started that had been, nothing was ended, nothing that was told went backwards.
    async fn is_as_it_was(&self, expected: &Expected) {
        self.is_as_it_was_but(&[], expected).await;
    }

    /// The same, where pods of some kinds have gone on.
    async fn is_as_it_was_but(&self, others: &[Kind], expected: &Expected) {
        let mut wrong = Vec::new();
        for (name, kind) in self.pods.iter().filter(|(_, kind)| !others.contains(kind)) {
            let pod = self.api.get(name).await.unwrap();
            for container in kind.containers() {
                if let Err(why) = self.starts(name, container.name, container.starts, &pod).await {
                    wrong.push(format!("{name}/{}: {why}", container.name));
                }
            }
            if !kind.is_settled(&pod) {
                wrong.push(format!("{name} is not where it was: {:?}", pod.status));
            }
        }
        for (name, _) in self.of(Kind::Hooks) {
            let done = self.given.lines(name, "post");
            if done.len() != 1 {
                wrong.push(format!("{name}: postStart was done {} times", done.len()));
            }
        }
        for (name, _) in self.of(Kind::Ending) {
            let told = self.given.lines(name, "end");
            if told.len() != 1 {
                wrong.push(format!("{name}: TERM came {} times", told.len()));
            }
        }
        wrong.extend(history::regressions(&self.recorder.all(), expected));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Whether a container was started as often as it should have been, and runs if it should.
    async fn starts(&self, pod: &str, container: &str, wanted: Starts, seen: &Pod) -> Result<(), String> {
        let lines = self.given.lines(pod, container);
        let restarts = kinds::restarts(seen, container);
        match wanted {
            Starts::Never if lines.is_empty() => Ok(()),
            Starts::Once { .. } if lines.len() != 1 || restarts != 0 => {
                Err(format!("it was started {} times, and restartCount is {restarts}", lines.len()))
            }
            Starts::Once { runs } => {
                let pid = lines[0].split(' ').next().unwrap();
                if Path::new("/proc").join(pid).exists() == runs {
                    Ok(())
                } else {
                    Err(format!("its process {pid} is {}", if runs { "gone" } else { "there" }))
                }
            }
            Starts::BackOff => {
                let at: Vec<f64> = lines.iter().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
                // The kubelet's figures; a run itself takes no time.
                let waits = [0.0, 10.0, 20.0, 40.0, 80.0];
                let early = at.windows(2).zip(waits).find(|(pair, wait)| pair[1] - pair[0] < wait - 0.1);
                match early {
                    Some((pair, wait)) => Err(format!("it was run again after {} s, not {wait}", pair[1] - pair[0])),
                    // A run that has just begun may not be told of.
                    None if [restarts + 1, restarts + 2].contains(&lines.len()) => Ok(()),
                    None => Err(format!("it was started {} times, and restartCount is {restarts}", lines.len())),
                }
            }
            Starts::Never => Err(format!("it was started {} times", lines.len())),
        }
    }
}

/// Records each status of the pods of a namespace, in the order in which the API server has them.
struct Recorder {
    seen: Arc<Mutex<Vec<Pod>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    fn start(api: Api<Pod>) -> Self {
        let seen = Arc::<Mutex<Vec<Pod>>>::default();
        let put = seen.clone();
        let task = tokio::spawn(async move {
            // An API server that is away for a moment is part of some tests.
            let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                if let Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) = event {
                    put.lock().unwrap().push(pod);
                }
            }
        });
        Self { seen, task }
    }

    fn all(&self) -> Vec<Pod> {
        self.seen.lock().unwrap().clone()
    }

    /// The last of each pod.
    fn latest(&self) -> Vec<Pod> {
        let seen = self.seen.lock().unwrap();
        let mut names = BTreeSet::new();
        seen.iter().rev().filter(|pod| names.insert(pod.metadata.name.clone())).cloned().collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How the first container of a pod has ended.
fn end_of(pod: &Pod) -> ContainerStateTerminated {
    let containers = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
    containers[0].state.clone().unwrap().terminated.unwrap()
}

/// The file of lines that a container leaves.
fn witness(directory: &Path, pod: &str, what: &str) -> PathBuf {
    directory.join(format!("{pod}.{what}"))
}
