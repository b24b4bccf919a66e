//! Pods of every kind: what each is, how often its containers are started, and where it stays.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::{Value, json};
use vk_cmd_e2e::site::Site;
use vk_cmd_e2e::wait::{self, Probe};

use super::{servers, witness};
use crate::ground::{GLANCE, LONG, Room};
use crate::plain_pods::phase;
use crate::probes::Server;

/// A kind of pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Several,
    Init,
    Sidecar,
    ExecProbes,
    HttpProbes,
    TcpProbe,
    GrpcProbe,
    /// Its readiness probe fails.
    Unready,
    /// Its startup probe fails and may do so for long; its liveness probe would fail at once.
    Starting,
    /// Its startup probe has succeeded, and would fail by now.
    Started,
    Hooks,
    Volumes,
    /// Mounts at absolute paths.
    Absolute,
    Ephemeral,
    /// Deleted; it was sent TERM, and takes its time.
    Ending,
    /// Deleted; its preStop takes its time.
    EndingByHook,
    CrashLoop,
    Completed,
    Failed,
    /// A variable of it comes from a ConfigMap that is not there.
    WithoutVariable,
    /// A volume of it comes from a ConfigMap that is not there.
    WithoutVolume,
    /// It has a deadline that is far away.
    Deadline,
    /// It ends with 7 when the test lets it. Not among those that stay.
    Gated,
    /// It has a deadline that passes during the test. Not among those that stay.
    Late,
}

/// The deadline of [`Kind::Late`], in seconds.
pub(super) const LATE: i64 = 8;

/// All kinds, and how many there are of each: 108 in all.
pub(super) const ALL: [(Kind, u32); 23] = [
    (Kind::Plain, 12),
    (Kind::Several, 8),
    (Kind::Init, 8),
    (Kind::Sidecar, 6),
    (Kind::ExecProbes, 8),
    (Kind::HttpProbes, 6),
    (Kind::TcpProbe, 6),
    (Kind::GrpcProbe, 4),
    (Kind::Unready, 4),
    (Kind::Starting, 4),
    (Kind::Started, 4),
    (Kind::Hooks, 4),
    (Kind::Volumes, 6),
    (Kind::Absolute, 2),
    (Kind::Ephemeral, 3),
    (Kind::Ending, 3),
    (Kind::EndingByHook, 2),
    (Kind::CrashLoop, 4),
    (Kind::Completed, 3),
    (Kind::Failed, 3),
    (Kind::WithoutVariable, 2),
    (Kind::WithoutVolume, 2),
    (Kind::Deadline, 4),
];

/// How often a container is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Starts {
    Never,
    Once {
        /// Whether it is still there.
        runs: bool,
    },
    /// Again and again, and not too soon.
    BackOff,
}

/// A container of a kind of pod.
pub(super) struct ContainerOf {
    pub(super) name: &'static str,
    pub(super) starts: Starts,
}

/// What the pods of a test are given.
pub(super) struct Given {
    node: String,
    directory: PathBuf,
    http: Server,
    grpc: u16,
    mounts: bool,
}

impl Given {
    pub(super) async fn new(room: &Room, site: &Site) -> Self {
        let directory = site.home().join("witness");
        std::fs::create_dir(&directory).unwrap();
        room.says(&["create", "configmap", "map", "--from-literal=one=1"]).await;
        room.says(&["create", "secret", "generic", "key", "--from-literal=token=s3cr3t"]).await;
        let http = Server::new();
        http.status.store(200, Ordering::Relaxed);
        // Not every machine that runs this lets its users have namespaces.
        let mounts = std::process::Command::new("unshare").args(["--user", "--mount", "true"]).status();
        let mounts = mounts.is_ok_and(|status| status.success());
        Self { node: site.node_name().to_owned(), directory, http, grpc: servers::grpc().await, mounts }
    }

    /// A file of a pod's own.
    pub(super) fn file(&self, pod: &str, what: &str) -> PathBuf {
        witness(&self.directory, pod, what)
    }

    /// What was written to it, by line.
    pub(super) fn lines(&self, pod: &str, what: &str) -> Vec<String> {
        std::fs::read_to_string(self.file(pod, what)).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits until its lines are as wanted.
    pub(super) async fn lines_until(&self, pod: &str, what: &str, wanted: impl Fn(&[String]) -> bool) {
        let what_for = format!("{pod} to write its {what}");
        let reached = wait::until(&what_for, LONG, GLANCE, async || {
            let lines = self.lines(pod, what);
            Ok(if wanted(&lines) { Probe::Ready(()) } else { Probe::not_yet(format!("{lines:?}")) })
        });
        reached.await.unwrap();
    }
}

/// A container that leaves a line, with its number and the time since the host was started, and does `then`.
pub(super) fn container(name: &str, pod: &str, given: &Given, then: &str) -> Value {
    let lines = given.file(pod, name);
    // For Kubernetes `$$` is `$`.
    let script = format!("read up _ < /proc/uptime; echo $$$$ $up >> {}; {then}", lines.display());
    json!({
        "name": name, "image": "vk-cmd.io/host", "command": ["sh", "-c", script],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

impl Kind {
    /// A word for it, for the names of pods.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Its containers that leave lines.
    pub(super) fn containers(self) -> Vec<ContainerOf> {
        let of = |name, starts| ContainerOf { name, starts };
        let (runs, ran) = (Starts::Once { runs: true }, Starts::Once { runs: false });
        match self {
            Self::Several => vec![of("main", runs), of("other", runs), of("short", ran)],
            Self::Init => vec![of("first", ran), of("second", ran), of("main", runs)],
            Self::Sidecar => vec![of("prep", ran), of("side", runs), of("main", runs)],
            Self::Ephemeral => vec![of("main", runs), of("debug", runs)],
            Self::CrashLoop => vec![of("main", Starts::BackOff)],
            Self::Completed | Self::Failed => vec![of("main", ran)],
            Self::WithoutVariable | Self::WithoutVolume => vec![of("main", Starts::Never)],
            Self::Plain
            | Self::ExecProbes
            | Self::HttpProbes
            | Self::TcpProbe
            | Self::GrpcProbe
            | Self::Unready
            | Self::Starting
            | Self::Started
            | Self::Hooks
            | Self::Volumes
            | Self::Absolute
            | Self::Ending
            | Self::EndingByHook
            | Self::Deadline
            | Self::Gated
            | Self::Late => vec![of("main", runs)],
        }
    }

    /// The pod.
    pub(super) fn pod(self, name: &str, given: &Given) -> Value {
        let part = |container_name: &str, then: &str| container(container_name, name, given, then);
        let sleeps = |container_name: &str| part(container_name, "exec sleep 1000");
        let file = |what: &str| given.file(name, what).display().to_string();
        let there = |what: &str| json!({"exec": {"command": ["test", "-e", file(what)]}, "periodSeconds": 2, "failureThreshold": 1, "timeoutSeconds": 20});
        let shell = |text: String| json!({"exec": {"command": ["sh", "-c", text]}});
        let mut main = sleeps("main");
        let mut spec = json!({
            "nodeName": given.node, "terminationGracePeriodSeconds": 900, "automountServiceAccountToken": false,
            "tolerations": [{"operator": "Exists"}],
        });
        match self {
            Self::Plain => {}
            Self::Several => {
                spec["containers"] = json!([sleeps("other"), part("short", "exit 0")]);
                // What has ended is not run again.
                spec["restartPolicy"] = json!("OnFailure");
            }
            Self::Init => spec["initContainers"] = json!([part("first", "exit 0"), part("second", "exit 0")]),
            Self::Sidecar => {
                let mut side = sleeps("side");
                side["restartPolicy"] = json!("Always");
                side["startupProbe"] = there("side");
                side["startupProbe"]["failureThreshold"] = json!(100);
                spec["initContainers"] = json!([part("prep", "exit 0"), side]);
            }
            Self::ExecProbes => {
                std::fs::write(file("up"), "").unwrap();
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    main[probe] = there("up");
                }
            }
            Self::HttpProbes => {
                let http = json!({"httpGet": {"port": given.http.port}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20});
                main["livenessProbe"] = http.clone();
                main["readinessProbe"] = http;
            }
            Self::TcpProbe => {
                main["livenessProbe"] = json!({"tcpSocket": {"port": given.http.port}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20});
            }
            Self::GrpcProbe => {
                main["livenessProbe"] = json!({"grpc": {"port": given.grpc}, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 20});
                main["readinessProbe"] = main["livenessProbe"].clone();
            }
            Self::Unready => main["readinessProbe"] = there("never"),
            Self::Starting => {
                main["startupProbe"] = there("never");
                main["startupProbe"]["failureThreshold"] = json!(1000);
                main["livenessProbe"] = there("never");
            }
            Self::Started => {
                std::fs::write(file("up"), "").unwrap();
                main["startupProbe"] = there("up");
            }
            Self::Hooks => {
                main["lifecycle"] = json!({
                    "postStart": shell(format!("echo post >> {}", file("post"))),
                    "preStop": shell(format!("echo pre >> {}", file("pre"))),
                });
            }
            Self::Volumes | Self::Absolute => {
                let at = |path: &str| {
                    if self == Self::Absolute && given.mounts { format!("/mnt/vk-e2e/{path}") } else { path.to_owned() }
                };
                main["volumeMounts"] = json!([
                    {"name": "map", "mountPath": at("map")}, {"name": "key", "mountPath": at("key")},
                    {"name": "token", "mountPath": at("token")}, {"name": "scratch", "mountPath": at("scratch")},
                ]);
                // What it was given is there for as long as it lives.
                let is_there =
                    format!("test -s {}/one -a -s {}/token -a -s {}/token", at("map"), at("key"), at("token"));
                main["livenessProbe"] = json!({"exec": {"command": ["sh", "-c", is_there]}, "periodSeconds": 2, "failureThreshold": 1, "timeoutSeconds": 20});
                spec["volumes"] = json!([
                    {"name": "map", "configMap": {"name": "map"}}, {"name": "key", "secret": {"secretName": "key"}},
                    {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]}},
                    {"name": "scratch", "emptyDir": {}},
                ]);
            }
            Self::Ephemeral => {}
            Self::Ending => {
                main = part("main", "while :; do sleep 0.2; done");
                // Before the line, after which it may be told.
                let script = main["command"][2].as_str().unwrap();
                main["command"][2] = json!(format!("trap 'echo told >> {}' TERM; {script}", file("end")));
            }
            Self::EndingByHook => {
                main["lifecycle"] = json!({"preStop": shell(format!("echo told >> {}; exec sleep 1000", file("end")))});
            }
            Self::CrashLoop => main = part("main", "exit 1"),
            Self::Completed => {
                spec["restartPolicy"] = json!("Never");
                main = part("main", "exit 0");
            }
            Self::Failed => {
                spec["restartPolicy"] = json!("Never");
                main = part("main", "exit 3");
            }
            Self::WithoutVariable => {
                main["env"] =
                    json!([{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "missing", "key": "one"}}}]);
            }
            Self::WithoutVolume => {
                main["volumeMounts"] = json!([{"name": "map", "mountPath": "map"}]);
                spec["volumes"] = json!([{"name": "map", "configMap": {"name": "missing"}}]);
            }
            Self::Deadline => spec["activeDeadlineSeconds"] = json!(3600),
            Self::Gated => {
                spec["restartPolicy"] = json!("Never");
                main = part("main", &format!("until test -e {}; do sleep 0.05; done; exit 7", file("gate")));
            }
            Self::Late => spec["activeDeadlineSeconds"] = json!(LATE),
        }
        let mut containers = vec![main];
        containers.extend(spec["containers"].as_array().into_iter().flatten().cloned());
        spec["containers"] = json!(containers);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    }

    /// Whether a pod is where it stays.
    pub(super) fn is_settled(self, pod: &Pod) -> bool {
        let all = || statuses(pod);
        let main = || all().find(|status| status.name == "main");
        let runs = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
        let waits_for = |reasons: &[&str]| {
            let why = main().and_then(|main| main.state.as_ref()?.waiting.as_ref()?.reason.clone());
            why.is_some_and(|why| reasons.contains(&why.as_str()))
        };
        let is_running = phase(pod) == "Running" && main().is_some_and(runs);
        match self {
            Self::Unready => is_running && main().is_some_and(|main| !main.ready && main.started == Some(true)),
            Self::Starting => is_running && main().is_some_and(|main| main.started == Some(false)),
            Self::Several => {
                is_running
                    && all().any(|status| status.name == "short" && !runs(status))
                    && all().any(|status| status.name == "other" && runs(status))
            }
            Self::Ephemeral => is_running && all().any(|status| status.name == "debug" && runs(status)),
            Self::Ending | Self::EndingByHook => is_running,
            Self::CrashLoop => waits_for(&["CrashLoopBackOff"]) || restarts(pod, "main") > 0,
            Self::Completed => phase(pod) == "Succeeded",
            Self::Failed => phase(pod) == "Failed",
            Self::WithoutVariable => phase(pod) == "Pending" && waits_for(&["CreateContainerConfigError"]),
            Self::WithoutVolume => phase(pod) == "Pending" && waits_for(&["ContainerCreating"]),
            Self::Plain
            | Self::Init
            | Self::Sidecar
            | Self::ExecProbes
            | Self::HttpProbes
            | Self::TcpProbe
            | Self::GrpcProbe
            | Self::Started
            | Self::Hooks
            | Self::Volumes
            | Self::Absolute
            | Self::Deadline
            | Self::Gated
            | Self::Late => is_running && main().is_some_and(|main| main.ready),
        }
    }
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let lists = status.map(|s| [&s.init_container_statuses, &s.container_statuses, &s.ephemeral_container_statuses]);
    lists.into_iter().flatten().flatten().flatten()
}

/// How often a container was restarted, as the pod's status has it.
pub(super) fn restarts(pod: &Pod, container: &str) -> usize {
    let count = statuses(pod).find(|status| status.name == container).map_or(0, |status| status.restart_count);
    usize::try_from(count).unwrap()
}
