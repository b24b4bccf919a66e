//! What most tests stand on: the shared control plane with the chart installed and the operator running, sites with a
//! ready node, and the few things that a test does with a CmdJob.

use std::ops::Deref;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use vk_cmd_crds::labels;
use vk_cmd_crds::{CmdJob, CmdJobStatus, State};
use vk_cmd_e2e::control_plane::ControlPlane;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::operator::Operator;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::fixture::{SOON, control_plane, namespace, operator};

/// How often a test looks whether something has become true.
pub(crate) const GLANCE: Duration = Duration::from_millis(50);
/// The longest that a job of a test may take: generous, because all tests run at the same time on two cores.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// A control plane with chart and operator.
#[derive(Clone, Copy)]
pub(crate) struct Ground {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) operator: &'static Mutex<Operator>,
}

impl Ground {
    /// The one that most tests share.
    pub(crate) async fn shared() -> Self {
        Self { plane: control_plane().await, operator: operator().await }
    }

    /// A test's own namespace, with nodes and jobs in it.
    pub(crate) async fn room(self, name: &str) -> Room {
        namespace(self.plane, name).await;
        Room { ground: self, client: self.plane.client().await.unwrap(), namespace: name.to_owned() }
    }
}

/// A namespace of the shared ground.
pub(crate) async fn room(name: &str) -> Room {
    Ground::shared().await.room(name).await
}

/// A test's namespace.
pub(crate) struct Room {
    pub(crate) ground: Ground,
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Room {
    /// A site with a ready node of this name.
    pub(crate) async fn site(&self, node: &str) -> Site {
        self.site_with(Settings::on(self.ground.plane, node).unwrap()).await
    }

    /// A site with these settings, its node ready.
    pub(crate) async fn site_with(&self, settings: Settings) -> Site {
        let mut site = Site::start(settings).await.unwrap();
        if let Err(error) = site.ready(&self.client).await {
            site.keep_logs();
            panic!("{error:#}; logs in {}", site.directory().display());
        }
        site
    }

    /// Creates a CmdJob with this spec; `spec.target` is added.
    pub(crate) async fn run(&self, name: &str, node: &str, mut spec: Value) -> Job {
        spec["target"] = json!({"node": node});
        self.job(name, spec).await
    }

    /// Creates a CmdJob with this spec.
    pub(crate) async fn job(&self, name: &str, spec: Value) -> Job {
        let created = self.created(name);
        let object = json!({
            "apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "metadata": {"name": name}, "spec": spec,
        });
        let job: CmdJob = serde_json::from_value(object).unwrap();
        created.api.create(&PostParams::default(), &job).await.unwrap();
        created
    }

    /// A CmdJob that was created otherwise.
    pub(crate) fn created(&self, name: &str) -> Job {
        Job { api: Api::namespaced(self.client.clone(), &self.namespace), pods: self.pods(), name: name.to_owned() }
    }

    /// Creates a CmdJob with this script.
    pub(crate) async fn script(&self, name: &str, node: &str, script: &str) -> Job {
        self.run(name, node, json!({"script": script})).await
    }

    /// The namespace's pods.
    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A kubectl in this namespace.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> std::process::Command {
        let mut kubectl = self.ground.plane.kubectl();
        kubectl.args(["--namespace", &self.namespace]).args(arguments);
        kubectl
    }

    /// What a kubectl in this namespace prints; it must succeed.
    pub(crate) async fn says(&self, arguments: &[&str]) -> String {
        exec::text(self.kubectl(arguments), SOON).await.unwrap()
    }
}

/// A CmdJob.
pub(crate) struct Job {
    pub(crate) api: Api<CmdJob>,
    pods: Api<Pod>,
    pub(crate) name: String,
}

/// The end of a CmdJob.
#[derive(Debug)]
pub(crate) struct Ended(CmdJobStatus);

impl Deref for Ended {
    type Target = CmdJobStatus;

    fn deref(&self) -> &CmdJobStatus {
        &self.0
    }
}

impl Job {
    /// Waits until its status says what `wanted` asks for.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&CmdJobStatus) -> bool) -> CmdJobStatus {
        let what = format!("{} {what}", self.name);
        let reached = wait::until(&what, LONG, GLANCE, async || {
            // An API server that is away for a moment is part of some tests.
            let Ok(job) = self.api.get(&self.name).await else { return Ok(Probe::not_yet("no answer")) };
            let status = job.status.unwrap_or_default();
            Ok(if wanted(&status) { Probe::Ready(status) } else { Probe::not_yet(format!("{status:?}")) })
        });
        reached.await.unwrap()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> Ended {
        let is_over = |status: &CmdJobStatus| matches!(status.state, Some(State::Complete | State::Failed));
        Ended(self.until("to end", is_over).await)
    }

    /// Waits until its process runs.
    pub(crate) async fn running(&self) -> CmdJobStatus {
        self.until("to run", |status| status.state == Some(State::Running)).await
    }

    /// Its pods, whatever their state.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let selector = ListParams::default().labels(&format!("{}={}", labels::JOB, self.name));
        self.pods.list(&selector).await.unwrap().items
    }
}

impl Ended {
    /// The only attempt.
    pub(crate) fn attempt(&self) -> &vk_cmd_crds::Attempt {
        assert_eq!(self.attempts.len(), 1, "{self:?}");
        &self.attempts[0]
    }
}
