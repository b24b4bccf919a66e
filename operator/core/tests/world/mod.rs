//! A world in memory for one CmdJob: an API server that stores it and its pods, a node that runs them, an operator made of
//! the real deciding code, and a clock that moves when it is told to.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStatus, Pod, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vk_cmd_crds::{CmdJob, CmdJobStatus};
use vk_operator_core::status::{self, Creation};
use vk_operator_core::{NodeSeen, Plan, PodSeen, Seen, Sight, Step, attempts, patch, plan, pod, seen, validate};

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
    /// A cache that has not heard of any pod yet; what is recorded is asked for by name, as it should be.
    Behind,
    /// The same, and nobody asks: nothing must follow from that.
    Shut,
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
    /// The node.
    pub node: NodeSeen,
    /// The names of all pods ever made.
    pub made: Vec<String>,
    /// Exit codes of processes that have ended by themselves.
    pub exits: Vec<i32>,
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
            node: NodeSeen::Ready,
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
    fn observe(&self, job: &validate::ValidJob<'_>, recorded: &CmdJobStatus, eyes: Eyes) -> Seen {
        let names =
            recorded.attempts.iter().map(|a| a.attempt.cast_unsigned()).chain([attempts::next_number(recorded)]);
        let sight = |number| self.pods.get(&pod::name(job, number)).map(|pod| Sight::of(pod, job.uid));
        let mut pods: BTreeMap<u32, Sight> =
            names.filter(|_| eyes == Eyes::Open).filter_map(|n| Some((n, sight(n)?))).collect();
        let unproven = seen::unproven(recorded, &pods);
        for number in unproven.into_iter().filter(|_| eyes != Eyes::Shut) {
            pods.insert(number, sight(number).unwrap_or(Sight::Gone));
        }
        Seen { pods, node: self.node.clone() }
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
        let plan = plan(&valid, &recorded, &self.observe(&valid, &recorded, eyes), self.now);
        let mut creation = Creation::NotAsked;
        for step in &plan.steps {
            match step {
                Step::CreatePod { pod, .. } => creation = self.create(pod, valid.uid),
                Step::DeletePod { name, uid } => self.delete_pod(name, uid),
                Step::DeleteJob => self.job = None,
            }
        }
        if crash == Crash::Never {
            self.write(&recorded, status::status(&valid, &recorded, &plan, &creation, self.now));
        }
        Some(plan)
    }

    /// Looks until there is nothing new to say or do at this time. Returns how long the operator wants to wait then.
    pub fn settle(&mut self) -> Option<SignedDuration> {
        for _ in 0..20 {
            let writes = self.writes;
            let plan = self.look(Eyes::Open, Crash::Never);
            let idle = self.writes == writes && plan.as_ref().is_none_or(|plan| plan.steps.is_empty());
            if idle || self.job.is_none() {
                return plan.and_then(|plan| plan.look_again);
            }
        }
        panic!("the operator does not come to rest: {:#?}", self.status());
    }

    fn write(&mut self, recorded: &CmdJobStatus, wanted: CmdJobStatus) {
        let Some(job) = &mut self.job else { return };
        if patch::status(recorded, &wanted, "", None).unwrap().is_some() {
            self.writes += 1;
            // Through JSON, as by the API server: times lose their fractions.
            job.status = Some(serde_json::from_value(serde_json::to_value(wanted).unwrap()).unwrap());
        }
    }

    fn create(&mut self, pod: &Pod, job_uid: &str) -> Creation {
        let name = pod.metadata.name.clone().unwrap();
        if let Some(there) = self.pods.get(&name) {
            return match Sight::of(there, job_uid) {
                Sight::Ours(pod) => Creation::Made(pod),
                Sight::Foreign | Sight::Gone => Creation::NameTaken(name),
            };
        }
        let mut pod = pod.clone();
        pod.metadata.uid = Some(format!("uid-{}", self.next_uid));
        self.next_uid += 1;
        pod.status = Some(PodStatus { phase: Some("Pending".into()), ..PodStatus::default() });
        self.made.push(name.clone());
        let seen = PodSeen::of(&pod);
        self.pods.insert(name, pod);
        Creation::Made(seen)
    }

    fn delete_pod(&mut self, name: &str, uid: &str) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(name).filter(|pod| pod.metadata.uid.as_deref() == Some(uid)) {
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        }
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
        let ended = |pod: &Pod| matches!(PodSeen::of(pod).life, seen::Life::Ended(_));
        self.pods.iter().filter(|(_, pod)| !ended(pod)).map(|(name, _)| name.clone()).collect()
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

    /// The processes that have started end, with this exit code.
    pub fn process_ends(&mut self, exit_code: i32) {
        self.process_ends_as(exit_code, None, if exit_code == 0 { "Completed" } else { "Error" });
    }

    /// The processes that have started end.
    pub fn process_ends_as(&mut self, exit_code: i32, signal: Option<i32>, reason: &str) {
        let now = Time(self.now);
        for name in self.alive() {
            let pod = self.pods.get_mut(&name).unwrap();
            if matches!(PodSeen::of(pod).life, seen::Life::Running(_)) {
                end(pod, exit_code, signal, reason, &now);
                self.exits.push(exit_code);
            }
        }
    }

    /// The node ends what is to be ended, and lets go of the pods that are being deleted.
    pub fn node_ends_and_lets_go(&mut self) {
        self.pods.retain(|_, pod| pod.metadata.deletion_timestamp.is_none());
    }

    /// The node ends what is to be ended, with TERM; the pod objects are still there.
    pub fn node_ends(&mut self) {
        let now = Time(self.now);
        for pod in self.pods.values_mut().filter(|pod| pod.metadata.deletion_timestamp.is_some()) {
            if !matches!(PodSeen::of(pod).life, seen::Life::Ended(_)) {
                end(pod, 143, Some(15), "Error", &now);
            }
        }
    }
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
    pod.status = Some(PodStatus {
        phase: Some(phase.to_owned()),
        container_statuses: Some(vec![ContainerStatus {
            name: "main".into(),
            state: Some(state),
            ..ContainerStatus::default()
        }]),
        ..PodStatus::default()
    });
}
