//! A load of jobs of all kinds, made from a seed: they come, things are done to them, and in the end each is as it must be.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use strum::VariantArray;
use vk_cmd_crds::{CmdJob, State, labels};
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use super::ends::{Seen, check, goes};
use super::kinds::{Act, Kind, PLACE, Place};
use crate::ground::{GLANCE, LONG, Room};
use crate::plain_pods::phase;

/// The longest that all of a load may take to come to rest.
pub(super) const END: Duration = Duration::from_secs(300);
/// How often all of it is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// By which variable a load is repeated.
const SEED: &str = "VK_CMD_SEED";
/// How many nodes it runs on, and how many pods each takes: less than there is to do at times, so that jobs wait for their turn.
const NODES: usize = 3;
const MAX_PODS: &str = "24";

/// The seed of this run, which is said.
pub(super) fn seed() -> u64 {
    let given =
        std::env::var(SEED).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{SEED}={text}: no number")));
    let seed = given.unwrap_or_else(|| fastrand::u64(0..1_000_000));
    println!("{SEED}={seed} repeats this load");
    seed
}

/// How far whoever drives a load along has come, from 0 to 1.
pub(super) type Progress = Cell<f64>;

/// Jobs on nodes of their own.
pub(super) struct Load<'a> {
    room: &'a Room,
    sites: Vec<Site>,
    nodes: Vec<String>,
    notes: PathBuf,
    random: fastrand::Rng,
    /// The kinds that come next.
    next: Vec<Kind>,
    jobs: Vec<Job>,
}

/// One of them.
struct Job {
    kind: Kind,
    name: String,
    uid: String,
    acts: VecDeque<Act>,
    due: Instant,
}

impl<'a> Load<'a> {
    /// No jobs yet, but nodes for them.
    pub(super) async fn new(room: &'a Room, seed: u64) -> Self {
        let nodes: Vec<String> = (0..NODES).map(|n| format!("vk-{}-{n}", room.namespace)).collect();
        let mut sites = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            let settings = Settings::on(room.ground.plane, node).unwrap();
            let labels = [format!("{}={}", labels::FLEET, nodes[0]), format!("{PLACE}={n}")];
            let mut node_flags = vec!["--max-pods".into(), MAX_PODS.into()];
            node_flags.extend(labels.into_iter().flat_map(|label| ["--label".into(), label.into()]));
            sites.push(room.site_with(Settings { node_flags, ..settings }).await);
        }
        let notes = sites[0].home().join("notes");
        std::fs::create_dir(&notes).unwrap();
        let random = fastrand::Rng::with_seed(seed);
        Self { room, sites, nodes, notes, random, next: Vec::new(), jobs: Vec::new() }
    }

    fn api(&self) -> Api<CmdJob> {
        Api::namespaced(self.room.client.clone(), &self.room.namespace)
    }

    /// How many jobs there have been.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Makes so many jobs, as far as the others have come, and does to them what is to be done, until all is done.
    pub(super) async fn drive(&mut self, jobs: usize, progress: &Progress) {
        let count = f64::from(u32::try_from(jobs).unwrap());
        loop {
            let made = f64::from(u32::try_from(self.jobs.len()).unwrap());
            if self.jobs.len() < jobs && made < count * progress.get() {
                self.add().await;
                continue;
            }
            let now = Instant::now();
            let due = self.jobs.iter().position(|job| job.due <= now && !job.acts.is_empty());
            if let Some(due) = due {
                self.act(due).await;
            } else if self.jobs.len() == jobs && self.jobs.iter().all(|job| job.acts.is_empty()) {
                return;
            } else {
                tokio::time::sleep(GLANCE).await;
            }
        }
    }

    /// Soon, but not at once.
    fn soon(&mut self) -> Instant {
        Instant::now() + Duration::from_millis(self.random.u64(0..3_000))
    }

    async fn add(&mut self) {
        if self.next.is_empty() {
            self.next = Kind::VARIANTS.to_vec();
            // The first two are what others wait for: they come last out of this.
            self.random.shuffle(&mut self.next[2..]);
            self.next.reverse();
        }
        let kind = self.next.pop().unwrap();
        let last = |kind: Kind| self.jobs.iter().rfind(|job| job.kind == kind).unwrap().name.clone();
        let node = self.random.choice(self.nodes.clone()).unwrap();
        let place = Place { notes: &self.notes, nodes: &self.nodes };
        let name = format!("{kind}-{}", self.jobs.len());
        let job = json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "metadata": {"name": name},
            "spec": kind.spec(&place, &node, &last),
        });
        let job: CmdJob = serde_json::from_value(job).unwrap();
        let made = self.api().create(&PostParams::default(), &job).await.unwrap();
        let due = self.soon();
        self.jobs.push(Job { kind, name, uid: made.uid().unwrap(), acts: kind.acts().into(), due });
    }

    /// Does the next thing to a job.
    async fn act(&mut self, which: usize) {
        let due = self.soon();
        let api = self.api();
        let job = &mut self.jobs[which];
        job.due = due;
        match job.acts.pop_front().unwrap() {
            Act::Change(spec) => {
                let patch = Patch::Merge(json!({"spec": spec}));
                api.patch(&job.name, &PatchParams::default(), &patch).await.unwrap();
            }
            Act::Delete(propagation_policy) => {
                let params = DeleteParams { propagation_policy: Some(propagation_policy), ..DeleteParams::default() };
                api.delete(&job.name, &params).await.unwrap();
            }
            Act::DeletePods { at_once } => {
                let selector = ListParams::default().labels(&format!("{}={}", labels::JOB_UID, job.uid));
                let params = DeleteParams { grace_period_seconds: at_once.then_some(0), ..DeleteParams::default() };
                for pod in self.room.pods().list_metadata(&selector).await.unwrap() {
                    // It may be gone by now.
                    let _ = self.room.pods().delete(&pod.name_any(), &params).await;
                }
            }
        }
    }

    /// Waits until all have come to rest, each as it must.
    pub(super) async fn rests(&self) {
        let all = self.at_rest().await;
        let twice = std::fs::read_to_string(self.notes.join("twice")).unwrap_or_default();
        assert!(twice.is_empty(), "run twice: {twice}");
        let mut seen = self.notes();
        let mut wrong = Vec::new();
        for job in &self.jobs {
            let mut seen = seen.remove(&job.uid).unwrap_or_default();
            seen.status = all.get(&job.uid).map(|found| found.status.clone().unwrap_or_default());
            if let Err(why) = check(job.kind, &seen) {
                wrong.push(format!("{}: {why}\n{seen:#?}", job.name));
            }
        }
        assert!(seen.is_empty(), "processes of jobs that never were: {seen:?}");
        assert!(wrong.is_empty(), "{} of {} jobs are wrong:\n{}", wrong.len(), self.jobs.len(), wrong.join("\n"));
        // A shim ends after it has told of its command's end.
        wait::until("all processes of the jobs to end", LONG, GLANCE, async || {
            let left = self.processes();
            Ok(if left.is_empty() { Probe::Ready(()) } else { Probe::not_yet(format!("{left:?} are left")) })
        })
        .await
        .unwrap();
    }

    /// Waits until nothing is on its way any more. The jobs that are still there, by UID.
    async fn at_rest(&self) -> BTreeMap<String, CmdJob> {
        let kinds: BTreeMap<&str, Kind> = self.jobs.iter().map(|job| (&*job.uid, job.kind)).collect();
        let all = wait::until("all jobs to come to rest", END, LOOK, async || {
            let jobs = self.api().list(&ListParams::default()).await?.items;
            let open: Vec<_> = jobs.iter().filter(|job| !rests(kinds[&*job.uid().unwrap()], job)).collect();
            if let Some(one) = open.first() {
                return Ok(Probe::not_yet(format!("{} are open, {}: {:?}", open.len(), one.name_any(), one.status)));
            }
            let pods = self.room.pods().list(&ListParams::default()).await?.items;
            Ok(match pods.iter().find(|pod| !is_at_rest(pod, &jobs)) {
                Some(pod) => Probe::not_yet(format!("pod {}: {:?} {:?}", pod.name_any(), pod.metadata, pod.status)),
                None => Probe::Ready(jobs),
            })
        });
        all.await.unwrap().into_iter().map(|job| (job.uid().unwrap(), job)).collect()
    }

    /// What the processes have noted, by the UIDs of their jobs.
    fn notes(&self) -> BTreeMap<String, Seen> {
        let mut all: BTreeMap<String, Seen> = BTreeMap::new();
        for file in std::fs::read_dir(&self.notes).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let [uid, index, attempt, what] = name.split('.').collect::<Vec<_>>()[..] else { panic!("{name}") };
            let attempt = (index.parse().unwrap(), attempt.parse().unwrap());
            let seen = all.entry(uid.to_owned()).or_default();
            if what == "begin" {
                let node = std::fs::read_to_string(&path).unwrap();
                let node = node.split(' ').next().unwrap_or_default().to_owned();
                seen.begun.insert(attempt, node);
            } else {
                seen.ended.insert(attempt);
            }
        }
        all
    }

    /// The processes of the sites that are neither nodes nor pipes.
    fn processes(&self) -> Vec<String> {
        let all = self.sites.iter().flat_map(|site| site.processes().unwrap());
        let line =
            |pid: i32| std::fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        let lines = all.map(|pid| String::from_utf8_lossy(&line(pid)).replace('\0', " "));
        let is_ours = |line: &String| [" run --node-name ", " pipe --hostpipe "].iter().any(|part| line.contains(part));
        lines.filter(|line| !line.is_empty() && !is_ours(line)).collect()
    }

    /// Removes all, and waits until it is gone: nothing is held by anybody.
    pub(super) async fn clear(&self) {
        self.api().delete_collection(&DeleteParams::background(), &ListParams::default()).await.unwrap();
        // What was left to itself.
        let orphans = ListParams::default().labels(labels::JOB_UID);
        for pod in self.room.pods().list_metadata(&orphans).await.unwrap() {
            if pod.owner_references().is_empty() {
                self.room.pods().delete(&pod.name_any(), &DeleteParams::default()).await.unwrap();
            }
        }
        wait::until("all jobs and pods to go", END, LOOK, async || {
            let jobs = self.api().list_metadata(&ListParams::default()).await?.items.len();
            let pods = self.room.pods().list_metadata(&ListParams::default()).await?.items.len();
            Ok(if jobs + pods == 0 { Probe::Ready(()) } else { Probe::not_yet(format!("{jobs} and {pods} are there")) })
        })
        .await
        .unwrap();
    }
}

/// Whether nothing more will become of a job of this kind. What it must have come to is not asked here.
fn rests(kind: Kind, job: &CmdJob) -> bool {
    let status = job.status.clone().unwrap_or_default();
    !goes(kind)
        && match status.state {
            Some(State::Complete | State::Failed | State::Invalid) => true,
            // Not one that has just been resumed.
            Some(State::Suspended) => status.observed_generation == job.metadata.generation,
            Some(State::Waiting | State::Pending | State::Running | State::Terminating) | None => false,
        }
}

/// Whether a pod has ended, and is where it belongs: with its job, or, left to itself, held by nobody.
fn is_at_rest(pod: &Pod, jobs: &[CmdJob]) -> bool {
    let has_job = |uid: &String| jobs.iter().any(|job| job.metadata.uid.as_ref() == Some(uid));
    let is_held = || pod.finalizers().iter().any(|finalizer| finalizer == labels::FINALIZER);
    let is_owned = pod.owner_references().first().map(|owner| has_job(&owner.uid));
    matches!(phase(pod), "Succeeded" | "Failed")
        && pod.metadata.deletion_timestamp.is_none()
        && is_owned.unwrap_or_else(|| !is_held())
}
