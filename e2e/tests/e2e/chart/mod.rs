//! The chart as an administrator uses it, on a control plane of its own: its operator runs in the cluster, as the pod of its
//! Deployment, in a namespace that enforces the Pod Security Standard `restricted`. A vk-node is where that pod comes to: its
//! image map says that the operator's image is the program that was just built, and its user is the one that the chart names.
//!
//! ```text
//!   helm ──▶ Deployment ──▶ ReplicaSet ──▶ Pod ──▶ scheduler ──▶ vk-chart-system ──▶ vk-operator run, as 65532
//!                                                                    (image map)        │ its ServiceAccount's token,
//!   kubectl, helm test ──▶ CmdJob ◀───────────── API server ◀───────────────────────────┘ the address that its node gives it
//! ```

mod image;
mod judged;
mod life;
mod measured;
mod packed;
mod rights;
mod values;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use vk_cmd_e2e::audit::AuditLog;
use vk_cmd_e2e::binaries;
use vk_cmd_e2e::chart::{NAMESPACE, RELEASE};
use vk_cmd_e2e::control_plane::{ControlPlane, Options, free_port};
use vk_cmd_e2e::exec;
use vk_cmd_e2e::operator::Operator;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::tools::{self, Tool};

use crate::fixture::{SOON, namespace};
use crate::ground::{Ground, Room};

/// Where the operator's pod comes to.
const SYSTEM_NODE: &str = "vk-chart-system";
/// Where `helm test` makes its CmdJob.
const CHECKS: &str = "vk-cmd-checks";
/// The user that the chart's pods are of.
const USER: u32 = 65532;
/// The longest that helm may take: a pod is started meanwhile, on a busy machine.
const HELM_LIMIT: Duration = Duration::from_secs(240);

/// A control plane with a node for the operator, and no chart.
pub(crate) struct Stage {
    ground: Ground,
    audit: AuditLog,
    /// Where files for one's own use may be put.
    scratch: Scratch,
    /// The chart, packed as for a release.
    chart: PathBuf,
    /// Who the chart's pods are here.
    user: Value,
    _site: Site,
}

/// The stage, for as long as the guard lives. Whoever installs the chart removes it.
pub(crate) async fn stage() -> MutexGuard<'static, Stage> {
    static STAGE: OnceCell<Mutex<Stage>> = OnceCell::const_new();
    STAGE.get_or_init(async || Mutex::new(Stage::new().await)).await.lock().await
}

impl Stage {
    async fn new() -> Self {
        let everything = format!("{{level: Metadata, userGroups: ['system:serviceaccounts:{NAMESPACE}']}}");
        let audit = AuditLog::of_beginnings(&everything).unwrap();
        let mut flags = audit.flags();
        // It asks for `update` of finalizers, which is granted for its sake.
        flags.push("--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement".to_owned());
        let options = Options { api_server_flags: flags, ..Options::default() };
        let plane: &ControlPlane = Box::leak(Box::new(Box::pin(ControlPlane::start(options)).await.unwrap()));
        // The chart's own pod is the operator.
        let nobody = Operator::not_started(plane.kubeconfig(), &[]).await.unwrap();
        let ground = Ground { plane, operator: Box::leak(Box::new(Mutex::new(nobody))) };
        for place in [NAMESPACE, CHECKS] {
            namespace(plane, place).await;
        }
        let mut label = plane.kubectl();
        label.args(["label", "namespace", NAMESPACE, CHECKS, "pod-security.kubernetes.io/enforce=restricted"]);
        exec::text(label, SOON).await.unwrap();

        let scratch = Scratch::new("vk-chart-").unwrap();
        std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let program = scratch.path().join("vk-operator");
        binaries::copy(&binaries::built().await.unwrap().operator, &program).unwrap();
        let map = scratch.path().join("node.yaml");
        let text = format!(
            "version: 1\nimages:\n- match: docker.io/vk-cmd/vk-operator:*\n  command: [{}]\n",
            program.display()
        );
        std::fs::write(&map, text).unwrap();
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let user = if uid.is_root() { (USER, USER) } else { (uid.as_raw(), gid.as_raw()) };
        let settings = Settings {
            user: uid.is_root().then_some(USER),
            node_flags: vec!["--config".into(), map.into_os_string()],
            ..Settings::on(plane, SYSTEM_NODE).unwrap()
        };
        let user = json!({"runAsUser": user.0, "runAsGroup": user.1, "fsGroup": user.1});
        let checks = Room { ground, client: plane.client().await.unwrap(), namespace: CHECKS.to_owned() };
        let chart = packed::pack(scratch.path());
        Self { ground, audit, scratch, chart, user, _site: checks.site_with(settings).await }
    }

    /// Its control plane.
    pub(crate) fn ground(&self) -> Ground {
        self.ground
    }

    /// Values with which the operator's pod comes to the node, with these more, and the port of its health.
    pub(crate) fn values(&self, more: &Value) -> (PathBuf, u16) {
        let port = free_port().unwrap();
        let mut values = json!({
            "healthPort": port,
            "image": {"repository": "docker.io/vk-cmd/vk-operator"},
            "nodeSelector": {"kubernetes.io/hostname": SYSTEM_NODE},
            "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists", "effect": "NoSchedule"}],
            "podSecurityContext": self.user,
            // A build for tests needs more than one for use.
            "resources": {"limits": {"memory": "1Gi"}},
            "bootstrap": {"enabled": true},
            "admissionPolicy": {"cmdJobs": true},
            "networkPolicy": {"enabled": true},
            "metrics": {"dashboards": {"enabled": true}},
            "helmTest": {"namespace": CHECKS, "target": {"node": SYSTEM_NODE}},
        });
        merge(&mut values, more);
        let path = self.scratch.path().join(format!("values-{port}.yaml"));
        std::fs::write(&path, values.to_string()).unwrap();
        (path, port)
    }

    /// This helm, in the chart's namespace.
    async fn helm(&self, tool: Tool) -> Helm<'_> {
        Helm { stage: self, program: tools::path(tool).await.unwrap() }
    }

    /// What a kubectl in the chart's namespace prints; it must succeed.
    async fn says(&self, arguments: &[&str]) -> String {
        let mut kubectl = self.ground.plane.kubectl();
        kubectl.args(["--namespace", NAMESPACE]).args(arguments);
        exec::text(kubectl, SOON).await.unwrap()
    }

    /// Leaves all logs there if a test fails while this is held.
    fn keep_logs(&self) {
        self.ground.plane.keep_logs();
        self.scratch.keep();
    }
}

/// One of the two helms.
struct Helm<'a> {
    stage: &'a Stage,
    program: PathBuf,
}

impl Helm<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.ground.plane.cluster().helm_by(&self.program);
        command.args(["--namespace", NAMESPACE]).args(arguments);
        command
    }

    /// What it says; it must succeed.
    async fn says(&self, arguments: &[&str]) -> String {
        match exec::text(self.command(arguments), HELM_LIMIT).await {
            Ok(said) => said,
            Err(error) => {
                self.stage.keep_logs();
                let pods = self.stage.says(&["describe", "pods"]).await;
                panic!("{error:#}\n{pods}");
            }
        }
    }

    /// Installs the chart, or upgrades it, and waits until its operator is ready.
    async fn apply(&self, verb: &str, values: &Path) -> String {
        let (chart, values) = (&self.stage.chart, values.to_str().unwrap());
        self.says(&[verb, RELEASE, chart.to_str().unwrap(), "--values", values, "--wait", "--timeout=200s"]).await
    }
}

/// Puts one into the other, as helm does with values.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
