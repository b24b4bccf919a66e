//! Operators that are killed, alone and with another one standing by: each attempt runs once, the counts are right, and nothing
//! is stuck.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vk_cmd_crds::{CmdJob, State};
use vk_cmd_e2e::chart;
use vk_cmd_e2e::control_plane::free_port;
use vk_cmd_e2e::operator::Operator;
use vk_cmd_e2e::site::Settings;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, Job, Room};
use crate::rough::rough;

/// The longest that all of a load may take.
const END: Duration = Duration::from_secs(240);
/// The longest until another operator leads: the lease's fifteen seconds, and a busy machine.
const HANDOVER: Duration = Duration::from_secs(40);
/// By which variable a run is repeated.
const SEED: &str = "VK_CMD_SEED";

/// One of several kinds of jobs, in turn, whose end is known beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Succeeds,
    Fails,
    Indexed,
    Several,
    Suspended,
    After,
    DeletedByHand,
}

const KINDS: [Kind; 7] =
    [Kind::Succeeds, Kind::Fails, Kind::Indexed, Kind::Several, Kind::Suspended, Kind::After, Kind::DeletedByHand];

impl Kind {
    fn spec(self, witness: &Path) -> Value {
        let script = |rest: &str| format!("echo begin $POD >> {0}; {rest}; echo end $POD >> {0}", witness.display());
        let mut spec = match self {
            Self::Succeeds => json!({"script": script(":")}),
            Self::Fails => json!({"script": script("exit 3")}),
            Self::Indexed => json!({
                "script": script("[ $JOB_COMPLETION_INDEX != 2 ] || exit 4"), "completionMode": "Indexed", "completions": 4,
                "parallelism": 2, "backoffLimitPerIndex": 0,
            }),
            Self::Several => json!({"script": script("sleep 0.2"), "completions": 3, "parallelism": 3}),
            Self::Suspended => json!({"script": script(":"), "suspend": true}),
            Self::After => json!({"script": script(":"), "after": [{"name": "job-0", "when": "Finished"}]}),
            Self::DeletedByHand => json!({"script": script("sleep 2")}),
        };
        spec["env"] = json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        spec
    }

    /// Whether a job of this kind has ended as it must, as far as its processes have told: the lines of its attempts.
    fn is_right(self, job: &CmdJob, begun: &[String], ended: &[String]) -> bool {
        let status = job.status.clone().unwrap_or_default();
        let counts = (status.state, status.succeeded, status.failed);
        let lines = (begun.len(), ended.len());
        match self {
            Self::Succeeds | Self::Suspended | Self::After => {
                counts == (Some(State::Complete), 1, 0) && lines == (1, 1)
            }
            Self::Fails => counts == (Some(State::Failed), 0, 1) && status.exit_code == Some(3) && lines == (1, 0),
            Self::Indexed => {
                let indexes = (status.completed_indexes.as_deref(), status.failed_indexes.as_deref());
                counts == (Some(State::Failed), 3, 1) && indexes == (Some("0,1,3"), Some("2")) && lines == (4, 3)
            }
            Self::Several => counts == (Some(State::Complete), 3, 0) && lines == (3, 3),
            // As it happened: it was ended, or had come to its end before; or it was deleted before it had begun.
            Self::DeletedByHand => match ended.len() {
                1 => counts == (Some(State::Complete), 1, 0) && lines == (1, 1),
                _ => status.state == Some(State::Failed) && status.succeeded == 0 && begun.len() <= 1,
            },
        }
    }
}

/// Jobs on a node of their own, and what their processes say.
struct Load<'a> {
    room: &'a Room,
    witness: PathBuf,
    jobs: Vec<(Kind, Job)>,
    random: fastrand::Rng,
}

impl<'a> Load<'a> {
    fn new(room: &'a Room, home: &Path) -> Self {
        let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok());
        let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("{SEED}={seed} repeats this");
        Self { room, witness: home.join("witness"), jobs: Vec::new(), random: fastrand::Rng::with_seed(seed) }
    }

    async fn add(&mut self, node: &str) {
        let number = self.jobs.len();
        let kind = KINDS[number % KINDS.len()];
        let job = self.room.run(&format!("job-{number}"), node, kind.spec(&self.witness)).await;
        self.jobs.push((kind, job));
    }

    /// Now and then a job is resumed, and a pod deleted.
    async fn stir(&mut self) {
        let chosen = self.random.usize(0..self.jobs.len());
        let (kind, job) = &self.jobs[chosen];
        match kind {
            Kind::Suspended => resume(job).await,
            Kind::DeletedByHand => {
                for pod in job.pods().await {
                    // It may be gone by now.
                    let _ = self.room.pods().delete(&pod.name_any(), &DeleteParams::default()).await;
                }
            }
            Kind::Succeeds | Kind::Fails | Kind::Indexed | Kind::Several | Kind::After => {}
        }
    }

    fn pause(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.random.u64(0..most))
    }

    /// Waits until all have ended, and looks whether each has as it must.
    async fn ends(&self) {
        for (kind, job) in &self.jobs {
            if *kind == Kind::Suspended {
                resume(job).await;
            }
        }
        let api: Api<CmdJob> = Api::namespaced(self.room.client.clone(), &self.room.namespace);
        let all = wait::until("all jobs to end", END, GLANCE * 10, async || {
            let Ok(all) = api.list(&ListParams::default()).await else { return Ok(Probe::not_yet("no answer")) };
            let is_over = |job: &CmdJob| {
                let state = job.status.as_ref().and_then(|status| status.state);
                matches!(state, Some(State::Complete | State::Failed))
            };
            let open: Vec<_> = all.items.iter().filter(|job| !is_over(job)).collect();
            Ok(match open.first() {
                None => Probe::Ready(all.items),
                Some(one) => Probe::not_yet(format!("{} are open, {:?}", open.len(), one.status)),
            })
        });
        let all: BTreeMap<String, CmdJob> = all.await.unwrap().into_iter().map(|job| (job.name_any(), job)).collect();
        let text = std::fs::read_to_string(&self.witness).unwrap();
        let said = |word: &str, job: &str| -> Vec<String> {
            let of_job = |line: &&str| line.strip_prefix(word).is_some_and(|pod| pod.starts_with(&format!(" {job}-")));
            // The names of pods go on with digits of the UID: those of job-1 are not those of job-10.
            text.lines().filter(of_job).map(str::to_owned).collect()
        };
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        let twice: Vec<_> = lines.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "run twice: {twice:?}");
        for (kind, job) in &self.jobs {
            let found = &all[&job.name];
            let (begun, ended) = (said("begin", &job.name), said("end", &job.name));
            assert!(
                kind.is_right(found, &begun, &ended),
                "{kind:?} {}: {begun:?} {ended:?} {:?}",
                job.name,
                found.status
            );
        }
        // Nothing is held by anybody.
        api.delete_collection(&DeleteParams::background(), &ListParams::default()).await.unwrap();
        wait::until("all jobs and pods to go", END, GLANCE * 10, async || {
            let jobs = api.list_metadata(&ListParams::default()).await?.items.len();
            let pods = self.room.pods().list_metadata(&ListParams::default()).await?.items.len();
            Ok(if jobs + pods == 0 { Probe::Ready(()) } else { Probe::not_yet(format!("{jobs} and {pods} are there")) })
        })
        .await
        .unwrap();
    }
}

async fn resume(job: &Job) {
    let patch = Patch::Merge(json!({"spec": {"suspend": false}}));
    job.api.patch(&job.name, &PatchParams::default(), &patch).await.unwrap();
}

/// Kills the only operator so often, while so many jobs come and go.
async fn killed(name: &str, kills: usize, jobs: usize) {
    let ground = rough().await;
    let room = ground.room(name).await;
    let node = format!("vk-{name}");
    let settings = Settings::on(ground.plane, &node).unwrap();
    let site = room.site_with(Settings { node_flags: vec!["--max-pods".into(), "40".into()], ..settings }).await;
    let mut load = Load::new(&room, &site.home());
    for kill in 0..kills {
        while load.jobs.len() < (kill + 1) * jobs / kills {
            load.add(&node).await;
        }
        load.stir().await;
        tokio::time::sleep(load.pause(300)).await;
        let mut operator = ground.operator.lock().await;
        operator.kill().unwrap();
        operator.restart().unwrap();
    }
    load.ends().await;
}

#[tokio::test]
async fn an_operator_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    killed("operator-killed", 30, 70).await;
}

#[tokio::test]
#[ignore = "it takes minutes"]
async fn two_hundred_kills_over_five_hundred_jobs_lose_and_double_nothing() {
    killed("operator-killed-often", 200, 500).await;
}

/// What is at this path of a server on loopback.
pub(crate) async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(HANDOVER, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{answer}");
    body.to_owned()
}

/// The operator that holds the lease, by its process id.
async fn leader(leases: &Api<Lease>) -> Option<u32> {
    let holder = leases.get_opt("vk-operator").await.ok()??.spec?.holder_identity?;
    holder.split('_').nth(1)?.parse().ok()
}

/// Waits until one of these leads that is not `before`.
async fn next_leader(leases: &Api<Lease>, before: Option<u32>) -> u32 {
    let next = wait::until("another operator to lead", HANDOVER, GLANCE, async || {
        let now = leader(leases).await;
        Ok(match now.filter(|now| Some(*now) != before) {
            Some(now) => Probe::Ready(now),
            None => Probe::not_yet(format!("{now:?} leads")),
        })
    });
    next.await.unwrap()
}

#[tokio::test]
async fn when_the_leader_goes_another_operator_goes_on() {
    let ground = rough().await;
    let room = ground.room("leader").await;
    let site = room.site("vk-leader").await;
    let mut load = Load::new(&room, &site.home());
    ground.operator.lock().await.kill().unwrap();
    let chart = chart::installed(ground.plane.cluster()).await.unwrap().unwrap();
    let account = ground.plane.service_account_kubeconfig(&chart.namespace, &chart.service_account).await.unwrap();
    let start = async || {
        let port = free_port().unwrap();
        let address = format!("127.0.0.1:{port}");
        let flags = ["--leader-elect", "--leader-elect-namespace", &chart.namespace, "--health-address", &address];
        let mut operator = Operator::start_with(&account, &flags).await.unwrap();
        (operator.process().unwrap().pid(), (operator, port))
    };
    let mut operators: BTreeMap<u32, (Operator, u16)> = BTreeMap::new();
    operators.extend([start().await, start().await]);
    let leases: Api<Lease> = Api::namespaced(room.client.clone(), &chart.namespace);
    let mut leads = next_leader(&leases, None).await;
    // Ended properly, killed, and killed again, always with another one standing by.
    for signal in [Signal::TERM, Signal::KILL, Signal::KILL] {
        for _ in 0..7 {
            load.add("vk-leader").await;
        }
        load.stir().await;
        tokio::time::sleep(load.pause(500)).await;
        let (mut old, _) = operators.remove(&leads).unwrap();
        let begun = std::time::Instant::now();
        old.process().unwrap().signal(signal).unwrap();
        leads = next_leader(&leases, Some(leads)).await;
        println!("{signal:?}: handed over after {:?}", begun.elapsed());
        operators.extend([start().await]);
    }
    load.ends().await;
    for (pid, (_, port)) in &operators {
        let measured = get(*port, "/metrics").await;
        let value = |name: &str| -> f64 {
            let line = measured.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} in {measured}")).parse().unwrap()
        };
        let is_leader = *pid == leads;
        assert_eq!(value("leader_election_master_status{name=\"vk-operator\"}"), f64::from(u8::from(is_leader)));
        let reconciles = value("controller_runtime_reconcile_total{controller=\"cmdjob\",result=\"success\"}");
        assert_eq!(reconciles > 0.0, is_leader, "{reconciles}");
        assert_eq!(value("controller_runtime_reconcile_time_seconds_count{controller=\"cmdjob\"}") > 0.0, is_leader);
        assert_eq!(value("cmdjob_jobs{state=\"Running\"}"), 0.0);
        let answered = |line: &&str| line.starts_with("rest_client_requests_total{code=\"200\"");
        assert!(measured.lines().any(|line| answered(&line)), "{measured}");
        for path in ["/livez", "/readyz"] {
            assert_eq!(get(*port, path).await, "ok\n");
        }
    }
    drop(operators);
    ground.operator.lock().await.restart().unwrap();
}
