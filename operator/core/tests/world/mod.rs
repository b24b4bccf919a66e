//! A world in memory for one CmdJob: an API server that stores it and its pods, a node that runs them, an operator made of
//! the real deciding code, and a clock that moves when it is told to.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vk_cmd_crds::{CmdJob, CmdJobStatus, labels};
use vk_operator_core::floor::{Floor, Placed};
use vk_operator_core::place::{About, Amounts, NodeSeen, NodeState, Nodes};
use vk_operator_core::seen::Life;
use vk_operator_core::status::{self, Outcome};
use vk_operator_core::{Plan, PodSeen, Seen, Sight, Start, Step, patch, plan, pod, validate};

/// Where the operator is stopped in the middle of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Not at all.
    Never,
    /// After the steps, before the report.
    BeforeReport,
}

/// What the operator sees of the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eyes {
    /// A cache that is up to date.
    Open,
    /// A cache that has not heard of any pod yet.
    Behind,
}

/// The world.
#[derive(Clone, Debug)]
pub struct World {
    /// The time.
    pub now: Timestamp,
    /// The CmdJob as the API server has it; none once it is deleted.
    pub job: Option<CmdJob>,
    /// Its pods as the API server has them, by name.
    pub pods: BTreeMap<String, Pod>,
    /// The nodes.
    pub nodes: Nodes,
    /// The names of all pods ever made.
    pub made: Vec<String>,
    /// Of the processes that have ended by themselves: index and exit code.
    pub exits: Vec<(u32, i32)>,
    /// How many writes of the status there were.
    pub writes: u32,
    next_uid: u32,
}

impl World {
    /// A new CmdJob with this spec, at a ready node.
    pub fn new(spec: &str) -> Self {
        let yaml = format!(
            "apiVersion: vk-cmd.io/v1alpha1\nkind: CmdJob\nmetadata:\n  namespace: lab\n  name: hello\n  generation: 1\n  uid: \
             1a2b3c4d-5e6f-4000-8000-000000000000\nspec:\n  target: {{node: vk-a}}\n{spec}"
        );
        Self {
            now: "2026-01-02T03:04:05Z".parse().unwrap(),
            job: Some(serde_yaml_ng::from_str(&yaml).unwrap()),
            pods: BTreeMap::new(),
            nodes: Nodes::from([("vk-a".to_owned(), node_seen(NodeState::Ready))]),
            made: Vec::new(),
            exits: Vec::new(),
            writes: 0,
            next_uid: 1,
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, seconds: i64) {
        self.now = self.now.checked_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    /// How the node vk-a is; none: it is not there.
    pub fn node(&mut self, state: Option<NodeState>) {
        match state {
            Some(state) => {
                self.nodes.insert("vk-a".to_owned(), node_seen(state));
            }
            None => {
                self.nodes.remove("vk-a");
            }
        }
    }

    /// Changes the spec.
    pub fn edit(&mut self, change: impl FnOnce(&mut CmdJob)) {
        if let Some(job) = &mut self.job {
            change(job);
            job.metadata.generation = job.metadata.generation.map(|n| n + 1);
        }
    }

    /// The status as it is stored.
    pub fn status(&self) -> CmdJobStatus {
        self.job.as_ref().and_then(|job| job.status.clone()).unwrap_or_default()
    }

    /// What is seen.
    fn observe(&self, job: &validate::ValidJob<'_>, eyes: Eyes) -> Seen {
        let ours = |pod: &Pod| match Sight::of(pod, job.object.uid) {
            Sight::Ours(pod) => Some(((pod.index, pod.attempt), std::sync::Arc::from(pod))),
            Sight::Foreign => None,
        };
        let pods: BTreeMap<_, _> = self.pods.values().filter(|_| eyes == Eyes::Open).filter_map(ours).collect();
        Seen::of(job, pods, &self.nodes, BTreeMap::new())
    }

    /// Where the attempts are to go, by an operator that remembers nothing.
    fn placed(&self, job: &validate::ValidJob<'_>, starts: &[Start]) -> Vec<Placed> {
        let mut floor = Floor::default();
        floor.replace_nodes(self.nodes.clone());
        floor.settle(HashSet::new);
        for pod in self.pods.values() {
            floor.put_pod(pod, self.now);
        }
        floor.ask_for(job, starts, self.now).0.unwrap()
    }

    /// One look of the operator, with the plan that it made. None if there is no CmdJob or it is not valid.
    pub fn look(&mut self, eyes: Eyes, crash: Crash) -> Option<Plan> {
        let job = self.job.clone()?;
        let recorded = self.status();
        let valid = match validate(&job) {
            Ok(valid) => valid,
            Err(problems) => {
                self.write(&recorded, status::invalid(&recorded, job.metadata.generation, &problems, self.now));
                return None;
            }
        };
        let plan = plan(&valid, &recorded, &self.observe(&valid, eyes), self.now);
        for step in &plan.steps {
            match step {
                Step::HoldJob => self.hold(),
                Step::DeletePod { name, uid, .. } => self.delete_pod(name, uid),
                Step::ReleasePod { name, .. } => self.release_pod(name),
                Step::DeleteJob => self.delete_job(),
                Step::ReleaseJob => self.release_job(),
            }
        }
        let made = |(start, placed): (&Start, Placed)| match placed {
            Ok(node) => Ok(pod::build(&valid, start.index, start.attempt, &node, pod::Confinement::Usual)),
            Err((reason, why)) => Err(Outcome::NotPlaced(reason, why)),
        };
        let placed = self.placed(&valid, &plan.starts);
        let made: Vec<_> = plan.starts.iter().zip(placed).map(made).collect();
        let outcomes: Vec<Outcome> = made
            .into_iter()
            .map(|made| made.map_or_else(|outcome| outcome, |pod| self.create(&pod, valid.object.uid)))
            .collect();
        if crash == Crash::Never {
            self.write(&recorded, status::status(&valid, &recorded, &plan, &outcomes, self.now));
        }
        Some(plan)
    }

    /// Looks until there is nothing new to say or do at this time. Returns how long the operator wants to wait then.
    pub fn settle(&mut self) -> Option<SignedDuration> {
        for _ in 0..20 {
            let writes = self.writes;
            let plan = self.look(Eyes::Open, Crash::Never);
            let made = self.made.len();
            let idle = self.writes == writes && plan.as_ref().is_none_or(|plan| plan.steps.is_empty());
            let idle = idle && self.made.len() == made;
            if idle || self.job.is_none() {
                return plan.and_then(|plan| plan.look_again);
            }
        }
        panic!("the operator does not come to rest: {:#?}", self.status());
    }

    fn write(&mut self, recorded: &CmdJobStatus, wanted: CmdJobStatus) {
        let Some(job) = &mut self.job else { return };
        if let Some(patch) = patch::status(recorded, &wanted, "", None).unwrap() {
            self.writes += 1;
            // As by the API server: the patch is all that it is told, and times lose their fractions.
            let mut stored = serde_json::to_value(job.status.take().unwrap_or_default()).unwrap();
            json_patch::merge(&mut stored, &patch["status"]);
            job.status = Some(serde_json::from_value(stored).unwrap());
        }
    }

    fn create(&mut self, pod: &Pod, job_uid: &str) -> Outcome {
        let name = pod.metadata.name.clone().unwrap();
        if let Some(there) = self.pods.get(&name) {
            return match Sight::of(there, job_uid) {
                Sight::Ours(pod) => Outcome::Made(pod),
                Sight::Foreign => Outcome::NameTaken(name),
            };
        }
        let mut pod = pod.clone();
        pod.metadata.uid = Some(format!("uid-{}", self.next_uid));
        self.next_uid += 1;
        pod.status = Some(PodStatus { phase: Some("Pending".into()), ..PodStatus::default() });
        self.made.push(name.clone());
        let seen = PodSeen::of(&pod).unwrap();
        self.pods.insert(name, pod);
        Outcome::Made(Box::new(seen))
    }

    fn hold(&mut self) {
        if let Some(job) = &mut self.job {
            job.metadata.finalizers = Some(vec![labels::FINALIZER.to_owned()]);
        }
    }

    fn delete_pod(&mut self, name: &str, uid: &str) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(name).filter(|pod| pod.metadata.uid.as_deref() == Some(uid)) {
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
    }

    fn release_pod(&mut self, name: &str) {
        if let Some(pod) = self.pods.get_mut(name) {
            pod.metadata.finalizers = None;
        }
        self.sweep();
    }

    /// The API server is told to delete the CmdJob.
    pub fn delete_job(&mut self) {
        let now = self.now;
        if let Some(job) = &mut self.job {
            job.metadata.deletion_timestamp.get_or_insert(now.into());
        }
        self.sweep_job();
    }

    fn release_job(&mut self) {
        // The API server itself is asked before: a cache may be behind.
        if self.pods.values().any(|pod| pod.metadata.finalizers.is_some()) {
            return;
        }
        if let Some(job) = &mut self.job {
            job.metadata.finalizers = None;
        }
        self.sweep_job();
    }

    /// The API server removes the CmdJob if it is deleted and held by nobody, and the garbage collector its pods.
    fn sweep_job(&mut self) {
        let meta = self.job.as_ref().map(|job| &job.metadata);
        if meta.is_some_and(|meta| meta.deletion_timestamp.is_some() && meta.finalizers.is_none()) {
            self.job = None;
            self.delete_pods();
            self.sweep();
        }
    }

    /// The API server removes what is deleted, let go by its node, and held by nobody.
    fn sweep(&mut self) {
        let stays = |pod: &Pod| {
            let let_go = pod.metadata.deletion_grace_period_seconds == Some(0) || is_over(pod);
            pod.metadata.deletion_timestamp.is_none() || !let_go || pod.metadata.finalizers.is_some()
        };
        self.pods.retain(|_, pod| stays(pod));
    }

    /// Somebody deletes every pod (gracefully).
    pub fn delete_pods(&mut self) {
        let now = self.now;
        for pod in self.pods.values_mut() {
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
    }

    /// The pods with a process, or with one to come.
    pub fn alive(&self) -> BTreeSet<String> {
        self.pods.iter().filter(|(_, pod)| !is_over(pod)).map(|(name, _)| name.clone()).collect()
    }

    /// The node starts what is to be started.
    pub fn node_starts(&mut self) {
        let now = Time(self.now);
        for name in self.alive() {
            let pod = self.pods.get_mut(&name).unwrap();
            if pod.metadata.deletion_timestamp.is_none() {
                let running = ContainerStateRunning { started_at: Some(now.clone()) };
                set(pod, "Running", ContainerState { running: Some(running), ..ContainerState::default() });
            }
        }
    }

    /// The node has no room for what is to be started.
    pub fn node_refuses(&mut self) {
        for name in self.alive() {
            let status = self.pods.get_mut(&name).unwrap().status.as_mut().unwrap();
            status.phase = Some("Failed".into());
            status.reason = Some("OutOfcpu".into());
            status.message = Some(
                "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
                    .into(),
            );
        }
    }

    /// The processes that have started end, with this exit code.
    pub fn process_ends(&mut self, exit_code: i32) {
        self.process_ends_as(exit_code, None, if exit_code == 0 { "Completed" } else { "Error" });
    }

    /// The processes that have started end.
    pub fn process_ends_as(&mut self, exit_code: i32, signal: Option<i32>, reason: &str) {
        let now = Time(self.now);
        for name in self.alive() {
            let pod = self.pods.get_mut(&name).unwrap();
            let seen = PodSeen::of(pod).unwrap();
            if matches!(seen.life, Life::Running(_)) {
                end(pod, exit_code, signal, reason, &now);
                self.exits.push((seen.index, exit_code));
            }
        }
    }

    /// The process of one index ends.
    pub fn index_ends(&mut self, index: u32, exit_code: i32) {
        let now = Time(self.now);
        let runs = |pod: &Pod| {
            let seen = PodSeen::of(pod).unwrap();
            seen.index == index && matches!(seen.life, Life::Running(_))
        };
        for pod in self.pods.values_mut().filter(|pod| runs(pod)) {
            end(pod, exit_code, None, if exit_code == 0 { "Completed" } else { "Error" }, &now);
            self.exits.push((index, exit_code));
        }
    }

    /// The processes are ended by a disruption.
    pub fn disrupted(&mut self, exit_code: i32) {
        self.node_starts();
        self.process_ends(exit_code);
        self.condition("DisruptionTarget", "PreemptionByScheduler");
    }

    /// Kubernetes gives up the pods of a node that is gone, as its pod garbage collector does.
    pub fn given_up(&mut self) {
        for pod in self.pods.values_mut() {
            pod.status.as_mut().unwrap().phase = Some("Failed".into());
        }
        self.condition("DisruptionTarget", "DeletionByPodGC");
        self.delete_pods();
    }

    /// The node tells how processes ended whose pods had been given up.
    pub fn tells(&mut self, exit_code: i32) {
        let now = Time(self.now);
        self.pods.values_mut().for_each(|pod| end(pod, exit_code, None, "Error", &now));
    }

    fn condition(&mut self, kind: &str, reason: &str) {
        let condition = PodCondition {
            type_: kind.into(),
            status: "True".into(),
            reason: Some(reason.into()),
            last_transition_time: Some(Time(self.now)),
            ..PodCondition::default()
        };
        for pod in self.pods.values_mut() {
            pod.status.as_mut().unwrap().conditions.get_or_insert_default().push(condition.clone());
        }
    }

    /// The node ends what is to be ended, and lets go of the pods that are being deleted.
    pub fn node_ends_and_lets_go(&mut self) {
        self.node_ends();
        for pod in self.pods.values_mut().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            pod.metadata.deletion_grace_period_seconds = Some(0);
        }
        self.sweep();
    }

    /// The node ends what is to be ended, with TERM; the pod objects are still there.
    pub fn node_ends(&mut self) {
        let now = Time(self.now);
        for pod in self.pods.values_mut().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            if !is_over(pod) {
                end(pod, 143, Some(15), "Error", &now);
            }
        }
    }
}

fn is_over(pod: &Pod) -> bool {
    matches!(PodSeen::of(pod).unwrap().life, Life::Ended(_))
}

fn end(pod: &mut Pod, exit_code: i32, signal: Option<i32>, reason: &str, now: &Time) {
    let started_at = pod
        .status
        .as_ref()
        .and_then(|s| s.container_statuses.as_ref()?.first()?.state.as_ref()?.running.as_ref()?.started_at.clone());
    let terminated = ContainerStateTerminated {
        exit_code,
        signal,
        reason: Some(reason.to_owned()),
        started_at,
        finished_at: Some(now.clone()),
        ..ContainerStateTerminated::default()
    };
    let phase = if exit_code == 0 { "Succeeded" } else { "Failed" };
    set(pod, phase, ContainerState { terminated: Some(terminated), ..ContainerState::default() });
}

fn set(pod: &mut Pod, phase: &str, state: ContainerState) {
    let ready = PodCondition {
        type_: "Ready".into(),
        status: if phase == "Running" { "True" } else { "False" }.into(),
        ..PodCondition::default()
    };
    pod.status = Some(PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(vec![ready]),
        container_statuses: Some(vec![ContainerStatus {
            name: "main".into(),
            state: Some(state),
            ..ContainerStatus::default()
        }]),
        ..PodStatus::default()
    });
}

/// A node with room for 110 pods.
pub fn node_seen(state: NodeState) -> NodeSeen {
    let pods = ("pods".to_owned(), Quantity("110".to_owned()));
    NodeSeen {
        labels: BTreeMap::new(),
        state,
        allocatable: Amounts::read([(&pods.0, &pods.1)]),
        ends: None,
        margin: SignedDuration::ZERO,
        is_ending: false,
        namespaces: vk_site::Rule::default(),
        terms: None,
        about: About::default(),
    }
}
