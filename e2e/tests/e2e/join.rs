//! Joining a fleet by a token: made, listed and revoked by `vk-operator join-token`, used by `vk-node join`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use vk_cmd_crds::certificates::BOOTSTRAP_GROUP;
use vk_cmd_crds::join::{BootstrapToken, JoinToken};
use vk_cmd_e2e::control_plane::free_port;
use vk_cmd_e2e::process::Process;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::wait::{self, Probe};
use vk_cmd_e2e::{binaries, exec, janitor};

use crate::fixture::SOON;
use crate::ground::{GLANCE, LONG, Room, room};

/// A machine with a home of its own. What runs there ends with the tests.
pub(crate) struct Machine {
    scratch: Scratch,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let this = Self { scratch: Scratch::new("vk-join-").unwrap() };
        std::fs::create_dir(this.home()).unwrap();
        janitor::end_processes_at_exit(&this.home()).unwrap();
        this
    }

    fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.scratch.path().join("node.log")
    }

    /// A program with nothing of our environment.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let tools = std::env::var("PATH").unwrap();
        command.env_clear().env("HOME", self.home()).env("PATH", tools).current_dir(self.home());
        command
    }

    async fn vk_node(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&binaries::built().await.unwrap().node);
        command.args(arguments);
        command
    }

    /// The file for `vk-node run --config`.
    pub(crate) fn config(&self, node: &str) -> PathBuf {
        self.home().join("hostpipe/join").join(node).join("node.yaml")
    }
}

/// What an operator's command line says.
pub(crate) async fn operator(room: &Room, arguments: &[&str]) -> Output {
    let mut command = Command::new(&binaries::built().await.unwrap().operator);
    command.arg("join-token").arg("--kubeconfig").arg(room.ground.plane.kubeconfig()).args(arguments);
    exec::output(command, SOON).await.unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The token in the line that the operator prints for a site.
pub(crate) fn token_of(line: &str) -> &str {
    line.trim_end().strip_prefix("echo ").and_then(|rest| rest.strip_suffix(" | vk-node join")).unwrap()
}

/// A join token of a fleet.
async fn token(room: &Room, fleet: &str) -> JoinToken {
    let made = operator(room, &["--fleet", fleet, "--output", "token"]).await;
    assert!(made.status.success(), "{made:?}");
    JoinToken::parse(&text(&made.stdout)).unwrap()
}

pub(crate) async fn ready(room: &Room, name: &str, node: &mut Process) -> Node {
    let nodes: Api<Node> = Api::all(room.client.clone());
    let is_ready = |node: &Node| {
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    };
    let what = format!("{name} to be ready");
    let ready = wait::until(&what, LONG, GLANCE, async || {
        node.must_be_running()?;
        Ok(match nodes.get_opt(name).await? {
            Some(node) if is_ready(&node) => Probe::Ready(node),
            other => Probe::not_yet(format!("{:?}", other.and_then(|node| node.status))),
        })
    });
    ready.await.unwrap()
}

#[tokio::test]
async fn a_machine_joins_by_one_line_and_works_for_the_fleet() {
    const FLEET: &str = "cf-join";
    const NODE: &str = "vk-cf-join-1";
    let room = room(FLEET).await;
    let fleet = room.fleet(FLEET, json!({})).await;
    let made = operator(&room, &["--fleet", FLEET, "--ttl", "1h", "--description", "for a test"]).await;
    let line = text(&made.stdout);
    let said = text(&made.stderr);
    let token = JoinToken::parse(token_of(&line)).unwrap();
    assert!(
        said.contains("vk-cf-join or vk-cf-join-*") && said.contains(&format!("--revoke {}", token.token.id())),
        "{said}"
    );
    let listed = text(&operator(&room, &["--list"]).await.stdout);
    let row = listed.lines().find(|row| row.starts_with(token.token.id())).unwrap();
    assert!(row.contains(FLEET) && row.ends_with("for a test") && !listed.contains(token.token.secret()), "{listed}");

    // The line as it is, in a shell.
    let machine = Machine::new();
    let mut shell = machine.command(Path::new("sh"));
    let program = binaries::built().await.unwrap().node.clone();
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    shell.env("PATH", path).env("JOBNAME", NODE);
    let said = exec::text_with_input(shell, line.as_bytes(), SOON).await.unwrap();
    let config = machine.config(NODE);
    assert!(said.contains(&format!("vk-node run --config {}", config.display())), "{said}");
    for file in [&config, &config.with_file_name("bootstrap.kubeconfig")] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let run = ["run", "--config", config.to_str().unwrap(), "--address", "127.0.0.1", "--kubelet-port", "0"];
    let mut first = Process::start(NODE, machine.vk_node(&run).await, machine.log()).unwrap();
    let node = ready(&room, NODE, &mut first).await;
    assert_eq!(node.labels()["vk-cmd.io/fleet"], FLEET);
    fleet.until("to have the node", |status| status.ready_nodes == 1).await;
    room.job("hello", json!({"target": {"fleet": FLEET}, "script": "echo hello"})).await.ended().await;

    // Another one at once, with the token in a variable; nothing of it is left for what runs there.
    const OTHER: &str = "vk-cf-join-2";
    let other = Machine::new();
    let flags = ["join", "--node-name", OTHER, "--run", "--", "--address", "127.0.0.1", "--kubelet-port", "0"];
    let mut command = other.vk_node(&flags).await;
    command.env("VK_NODE_JOIN", token.to_text().unwrap());
    let mut second = Process::start(OTHER, command, other.log()).unwrap();
    ready(&room, OTHER, &mut second).await;
    let proc = |process: &Process, file: &str| text(&std::fs::read(format!("/proc/{}/{file}", process.pid())).unwrap());
    assert!(!proc(&second, "environ").contains("VK_NODE_JOIN"));
    let logs = [machine.log(), other.log(), room.ground.operator.lock().await.log()];
    let logs = logs.map(|log| std::fs::read_to_string(log).unwrap()).concat();
    for shown in [logs, proc(&first, "cmdline"), proc(&second, "cmdline")] {
        assert!(!shown.contains(token.token.secret()), "{shown}");
    }

    // Revoked: those that have joined stay, and nobody else comes.
    let revoked = operator(&room, &["--revoke", token.token.id()]).await;
    assert!(text(&revoked.stdout).contains("is revoked"), "{revoked:?}");
    assert!(!text(&operator(&room, &["--list"]).await.stdout).contains(token.token.id()));
    drop(first);
    let mut first = Process::start(NODE, machine.vk_node(&run).await, machine.log()).unwrap();
    room.job("again", json!({"target": {"node": NODE}, "script": "true"})).await.ended().await;
    first.must_be_running().unwrap();
    drop((first, second));
    fleet.remove().await;
}

#[tokio::test]
async fn the_operator_lets_a_fleets_token_make_nodes_of_that_fleet_only() {
    const FLEET: &str = "cf-names";
    const NODE: &str = "vk-other-1";
    let room = room(FLEET).await;
    let fleet = room.fleet(FLEET, json!({})).await;
    // As somebody would write it who wants to be another node.
    let forged = JoinToken { names: Vec::new(), ..token(&room, FLEET).await };
    let machine = Machine::new();
    let flags = ["join", "--node-name", NODE, "--run", "--", "--address", "127.0.0.1", "--kubelet-port", "0"];
    let mut command = machine.vk_node(&flags).await;
    command.env("VK_NODE_JOIN", forged.to_text().unwrap());
    let mut node = Process::start(NODE, command, machine.log()).unwrap();
    let says = async |words: &str| {
        wait::until("the operator to say why it does not approve", LONG, GLANCE, async || {
            let log = std::fs::read_to_string(room.ground.operator.lock().await.log())?;
            Ok(if log.contains(words) { Probe::Ready(()) } else { Probe::not_yet("it has not") })
        })
        .await
        .unwrap();
    };
    says("whose spec.nodeNames has not the name vk-other-1 (but vk-cf-names, vk-cf-names-*)").await;
    let requests: Api<CertificateSigningRequest> = Api::all(room.client.clone());
    let asked = requests.list(&ListParams::default()).await.unwrap().items;
    let asked = asked.into_iter().find(|request| request.name_any().starts_with("vk-other-1-client-")).unwrap();
    assert!(asked.status.unwrap_or_default().conditions.is_none_or(|all| all.is_empty()));
    // A fleet that is gone has no nodes at all; one with the name has this one.
    fleet.remove().await;
    says("one of the fleet cf-names, and there is no such CmdFleet").await;
    let fleet = room.fleet(FLEET, json!({"nodeNames": ["vk-other-*"]})).await;
    ready(&room, NODE, &mut node).await;
    drop(node);
    fleet.remove().await;
}

/// Each way in which a token can be no good: it is told apart, nothing is written, and the secret is not repeated.
#[tokio::test]
async fn a_bad_token_is_refused_with_what_to_do_next() {
    const FLEET: &str = "cf-bad";
    let room = room(FLEET).await;
    let fleet = room.fleet(FLEET, json!({})).await;
    let good = token(&room, FLEET).await;
    let whole = good.to_text().unwrap();
    let secrets: Api<Secret> = Api::namespaced(room.client.clone(), "kube-system");

    let revoked = token(&room, FLEET).await;
    operator(&room, &["--revoke", revoked.token.id()]).await;
    let expired = token(&room, FLEET).await;
    let patch = Patch::Merge(json!({"stringData": {"expiration": "2020-01-01T00:00:00Z"}}));
    secrets.patch(&format!("bootstrap-token-{}", expired.token.id()), &PatchParams::default(), &patch).await.unwrap();
    let unbound = room.ground.plane.cluster().bootstrap_kubeconfig("unboun", BOOTSTRAP_GROUP).await.unwrap();
    drop(unbound);
    let unbound = BootstrapToken::parse("unboun.0123456789abcdef").unwrap();
    let another = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let nobody = format!("https://127.0.0.1:{}", free_port().unwrap());
    let wrong_secret = BootstrapToken::new(good.token.id(), "aaaaaaaaaaaaaaaa").unwrap();
    let of = |token: JoinToken| token.to_text().unwrap();
    let all = || JoinToken { names: Vec::new(), ..good.clone() };

    let rows = [
        (String::new(), "there is no join token"),
        ("hello".to_owned(), "this is no join token"),
        (good.token.bearer(), "a bootstrap token of Kubernetes"),
        (whole.replacen("vkj1", "vkj9", 1), "made for another version"),
        (whole[..whole.len() - 1].to_owned(), "cut off or changed"),
        (whole[..whole.len() / 2].to_owned(), "cut off or changed"),
        (format!("{whole}{whole}"), "cut off or changed"),
        (of(JoinToken { server: "http://api".to_owned(), ..good.clone() }), "no https:// URL"),
        (of(JoinToken { authorities: Vec::new(), ..good.clone() }), "no authority"),
        (
            of(JoinToken { authorities: vec![vec![1, 2, 3]], ..good.clone() }),
            "the authorities in the join token cannot be used",
        ),
        (of(JoinToken { until: "2020-01-01T00:00:00Z".parse().unwrap(), ..good.clone() }), "could be used until 2020"),
        (
            of(JoinToken { names: vec!["vk-else-*".to_owned()], ..good.clone() }),
            "no node named vk-cf-bad-1, only vk-else-*",
        ),
        (of(revoked), "does not take the join token, which was revoked or has run out"),
        (of(expired), "does not take the join token, which was revoked or has run out"),
        (of(JoinToken { token: wrong_secret, ..good.clone() }), "does not take the join token"),
        (of(JoinToken { fleet: "cf-else".to_owned(), ..all() }), "not as one of the fleet cf-else"),
        (of(JoinToken { token: unbound, ..all() }), "not as one of the fleet cf-bad"),
        (
            of(JoinToken { authorities: vec![another.cert.der().to_vec()], ..good.clone() }),
            "is not the API server that the join token means",
        ),
        (of(JoinToken { server: nobody, ..good.clone() }), "cannot reach the API server at"),
    ];
    let machine = Machine::new();
    let mut wrong = Vec::new();
    for (n, (text_of, words)) in rows.iter().enumerate() {
        // By each of the three ways in turn.
        let mut command = machine.vk_node(&["join", "--node-name", "vk-cf-bad-1"]).await;
        let file = machine.scratch.path().join("token");
        let input = match n % 3 {
            0 => text_of.as_str(),
            1 => {
                command.env("VK_NODE_JOIN", text_of);
                ""
            }
            _ => {
                std::fs::write(&file, text_of).unwrap();
                command.arg("--token-file").arg(&file);
                ""
            }
        };
        let said = exec::output_with_input(command, input.as_bytes(), SOON).await.unwrap();
        let stderr = text(&said.stderr);
        if said.status.success() || !stderr.contains(words) || stderr.contains(good.token.secret()) {
            wrong.push(format!("{words}: {stderr}"));
        }
    }
    let missing = exec::output(machine.vk_node(&["join", "--token-file", "/no/such/file"]).await, SOON).await.unwrap();
    assert!(text(&missing.stderr).contains("cannot read the file of --token-file, /no/such/file"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!machine.home().join("hostpipe").exists(), "nothing is written");

    // And what cannot be made.
    for (arguments, words) in [
        (&["--fleet", "cf-none"][..], "there is no CmdFleet cf-none"),
        (&["--fleet", FLEET, "--ttl", "1000h"], "no time for a join token"),
        (&["--fleet", FLEET, "--server", "https://kubernetes.default.svc"], "known inside the cluster only"),
        (&["--fleet", FLEET, "--server", "http://api.example.org"], "is no https:// URL"),
        (&["--fleet", FLEET, "--relay", "relay.example.org:8443"], "--relay-certificate-authority"),
        (&["--fleet", FLEET, "--certificate-authority", "/no/such/file"], "cannot read /no/such/file"),
        (&["--revoke", "zzzzzz"], "there is no token zzzzzz"),
        (&["--revoke", &good.token.bearer()], "its six letters and digits before the point"),
        (&[], "--fleet"),
    ] {
        let said = operator(&room, arguments).await;
        assert!(!said.status.success() && text(&said.stderr).contains(words), "{arguments:?}: {said:?}");
        assert!(!text(&said.stderr).contains(good.token.secret()), "{said:?}");
    }
    fleet.remove().await;
}

/// For a program that prepares machines: one JSON value, and it says what to start.
#[tokio::test]
async fn a_join_tells_programs_what_it_has_made() {
    const NODE: &str = "vk-cf-join-json-1";
    let room = room("cf-join-json").await;
    room.fleet("cf-join-json", json!({})).await;
    let token = token(&room, "cf-join-json").await.to_text().unwrap();
    let machine = Machine::new();
    let command = machine.vk_node(&["join", "--node-name", NODE, "-o", "json"]).await;
    let said: Value =
        serde_json::from_str(&exec::text_with_input(command, token.as_bytes(), SOON).await.unwrap()).unwrap();
    let config = machine.config(NODE);
    assert_eq!(
        (&said["node"], &said["fleet"], &said["config"]),
        (&json!(NODE), &json!("cf-join-json"), &json!(config))
    );
    // What it says to start makes a node.
    let start: Vec<&str> = said["start"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    let flags = ["--address", "127.0.0.1", "--kubelet-port", "0"];
    let mut node =
        Process::start(NODE, machine.vk_node(&[start.as_slice(), &flags].concat()).await, machine.log()).unwrap();
    ready(&room, NODE, &mut node).await;
}
