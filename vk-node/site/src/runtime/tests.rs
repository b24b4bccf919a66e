//! The command lines, word by word.

use vk_task::{
    Capability, ContainerRun, EnvName, ExecVia, Gpus, Image, Launch, Leftovers, Limits, Mount, Origin, Place, Program,
    Rlimit, RuntimeLaunch, ScriptRunner, Security, Stdin, Stdio, TaskId, TaskSpec, Terminate, TerminationMessage,
};

use crate::{Facts, Found, Kind, Site, clear};

fn spec(reference: &str) -> TaskSpec {
    let run = ContainerRun {
        namespace: "ns".into(),
        pod: "p".into(),
        uid: "u".into(),
        service_account: "default".into(),
        container: "main".into(),
        restart: 0,
        node: None,
    };
    let program = Program::Exec { argv: vec!["/bin/echo".into(), "a b".into(), "$HOME".into()] };
    let image = Image { reference: reference.into(), mounts: vec![], gpus: Gpus::None };
    TaskSpec { place: Place::Image(image), ..TaskSpec::new(Origin::Pod(run), program, Leftovers::Kill) }
}

/// With one of everything.
fn full(reference: &str, gpus: Gpus) -> TaskSpec {
    let mut spec = spec(reference);
    let mount =
        |source: &str, target: &str, read_only| Mount { source: source.into(), target: target.into(), read_only };
    let Place::Image(image) = &mut spec.place else { panic!() };
    image.gpus = gpus;
    image.mounts = vec![mount("/scratch/me", "/data", false), mount("/cvmfs", "/cvmfs", true)];
    for (name, value) in [("GREETING", "a\n'b'"), ("PATH", "/own"), ("LD_PRELOAD", "x.so"), ("DOCKER_HOST", "tcp://x")]
    {
        spec.env.insert(EnvName::new(name).unwrap(), value.into());
    }
    spec.working_dir = Some("/data".into());
    spec.stdio = Stdio { stdin: Stdin::Open, terminal: true };
    spec.limits = Limits {
        memory_bytes: Some(1 << 30),
        cpu_millis: Some(1500),
        processes: Some(99),
        rlimits: [(Rlimit::OpenFiles, 512), (Rlimit::AddressSpace, 5)].into(),
        ..Limits::default()
    };
    spec
}

fn site(runtime: &str) -> Site {
    Site::parse(&format!("version: 1\nruntime: {runtime}")).unwrap()
}

fn launch(runtime: &str, spec: &TaskSpec) -> (RuntimeLaunch, Vec<String>) {
    let facts = Facts { script: "/p/tasks/t/script".into(), ..Facts::default() };
    let cleared = clear(&site(runtime), &TaskId::new("t1").unwrap(), spec, &facts).unwrap();
    match cleared.launch {
        Launch::Runtime(launch) => (launch, cleared.told),
        Launch::Direct => panic!("it is run on the host"),
    }
}

fn refusal(runtime: &str, spec: &TaskSpec) -> String {
    clear(&site(runtime), &TaskId::new("t1").unwrap(), spec, &Facts::default()).unwrap_err().to_string()
}

/// The variables of the client, without those that say whose it is, which must be there.
fn env(launch: &RuntimeLaunch) -> Vec<String> {
    let of_pod = |name: &str| POD.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let found = launch.env.iter().filter(|(name, value)| of_pod(name.as_str()) == Some(value.as_str())).count();
    assert_eq!(found, POD.len(), "{launch:?}");
    let others = launch.env.iter().filter(|(name, _)| of_pod(name.as_str()).is_none());
    others.map(|(name, value)| format!("{name}={value}")).collect()
}

/// Without the words that pass those.
fn asked_words(argv: &[String]) -> Vec<String> {
    argv.iter().filter(|word| !word.starts_with("--env=VK_CMD_") || OWN.contains(&word.as_str())).cloned().collect()
}

const OWN: [&str; 2] = ["--env=VK_CMD_TASK", "--env=VK_CMD_RUN"];

/// What tells the processes whose they are.
const POD: [(&str, &str); 4] =
    [("VK_CMD_CONTAINER", "main"), ("VK_CMD_NAMESPACE", "ns"), ("VK_CMD_POD", "p"), ("VK_CMD_POD_UID", "u")];

fn with_own(before: &[&str], after: &[&str]) -> Vec<String> {
    before.iter().chain(&OWN).chain(after).map(|&word| word.to_owned()).collect()
}

#[test]
fn podman_runs_a_command() {
    let runtime =
        "{kind: podman, globalArgs: [--runtime, runc], runArgs: [--ulimit, 'nproc=1000:1000', --network=none]}";
    let (launch, told) = launch(runtime, &spec("docker://a.org/x:1"));
    let before = ["podman", "--runtime", "runc", "run", "--rm", "--name", "vk-t1", "--log-driver=none"];
    let after =
        ["--entrypoint=/bin/echo", "--ulimit", "nproc=1000:1000", "--network=none", "a.org/x:1", "a b", "$HOME"];
    assert_eq!(asked_words(&launch.argv), with_own(&before, &after));
    assert_eq!(env(&launch), Vec::<String>::new());
    let remove = ["podman", "--runtime", "runc", "rm", "--force", "--ignore", "--time", "0", "vk-t1"];
    assert_eq!(launch.remove, [remove.map(str::to_owned)]);
    assert_eq!(launch.terminate, Terminate::Client);
    let ExecVia::Command { prefix, stdin, terminal, target } = launch.exec else { panic!() };
    assert_eq!(prefix, ["podman", "--runtime", "runc", "exec"]);
    assert_eq!((stdin, terminal, target), (vec!["--interactive".into()], vec!["--tty".into()], vec!["vk-t1".into()]));
    assert_eq!(told, Vec::<String>::new());
}

#[test]
fn docker_gets_everything() {
    let (launch, told) = launch("{kind: docker, env: {HOME: /tmp, GREETING: site}}", &full("x", Gpus::Nvidia(2)));
    let before = [
        "docker",
        "run",
        "--rm",
        "--name",
        "vk-t1",
        "--network=host",
        "--log-driver=none",
        "--workdir=/data",
        "--interactive",
        "--tty",
        "--mount=type=bind,source=/scratch/me,target=/data",
        "--mount=type=bind,source=/cvmfs,target=/cvmfs,readonly",
        "--gpus=2",
        "--memory=1073741824",
        "--cpus=1.500",
        "--pids-limit=99",
        "--ulimit=nofile=512:512",
    ];
    let after = [
        "--env=GREETING",
        "--env=DOCKER_HOST=tcp://x",
        "--env=HOME=/tmp",
        "--env=LD_PRELOAD=x.so",
        "--env=PATH=/own",
        "--entrypoint=/bin/echo",
        "x",
        "a b",
        "$HOME",
    ];
    assert_eq!(asked_words(&launch.argv), with_own(&before, &after));
    assert_eq!(env(&launch), ["GREETING=a\n'b'"]);
    assert_eq!(launch.remove, [["docker", "rm", "--force", "vk-t1"].map(str::to_owned)]);
    assert_eq!(told, ["docker has no flag for RLIMIT_AS: it is not set in the container"]);
}

#[test]
fn podman_names_each_gpu() {
    let has = |gpus, word: &str| launch("{kind: podman}", &full("x", gpus)).0.argv.iter().any(|arg| arg == word);
    assert!(has(Gpus::Nvidia(2), "--device=nvidia.com/gpu=0") && has(Gpus::Nvidia(2), "--device=nvidia.com/gpu=1"));
    assert!(has(Gpus::Amd(1), "--device=/dev/kfd") && has(Gpus::Amd(1), "--group-add=keep-groups"));
}

#[test]
fn apptainer_takes_its_environment_along() {
    let runtime = "{kind: apptainer, program: /opt/apptainer, globalArgs: [--silent], runArgs: [--fakeroot]}";
    let (launch, told) = launch(runtime, &full("godlovedc/lolcow", Gpus::Nvidia(1)));
    assert_eq!(
        asked_words(&launch.argv),
        [
            "/opt/apptainer",
            "--silent",
            "exec",
            "--pwd",
            "/data",
            "--bind",
            "/scratch/me:/data",
            "--bind",
            "/cvmfs:/cvmfs:ro",
            "--nv",
            "--fakeroot",
            "docker://godlovedc/lolcow",
            "/bin/echo",
            "a b",
            "$HOME"
        ]
    );
    assert_eq!(
        env(&launch),
        [
            "APPTAINERENV_LD_PRELOAD=x.so",
            "APPTAINERENV_PATH=/own",
            "APPTAINER_NO_EVAL=1",
            "DOCKER_HOST=tcp://x",
            "GREETING=a\n'b'",
        ]
    );
    assert_eq!((launch.remove, launch.exec, launch.terminate), (vec![], ExecVia::Namespaces, Terminate::Tree));
    assert_eq!(told, ["all NVIDIA GPUs of the host are visible to the container, not only 1"]);
}

#[test]
fn apptainer_takes_files_and_urls_as_they_are() {
    let image = |reference: &str| launch("{kind: singularity}", &spec(reference)).0.argv[2].clone();
    assert_eq!(image("/images/x.sif"), "/images/x.sif");
    assert_eq!(image("oras://a.org/x"), "oras://a.org/x");
    assert_eq!(image("ubuntu:24.04"), "docker://ubuntu:24.04");
    assert!(refusal("{kind: apptainer}", &spec("x.sif")).contains("write an absolute path"));
    let mut odd = spec("x");
    odd.env = ["HOME", "my.name"].map(|n| (EnvName::new(n).unwrap(), String::new())).into();
    let words = refusal("{kind: apptainer}", &odd);
    assert!(words.contains("sets HOME in a container itself") && words.contains("\"my.name\""), "{words}");
}

#[test]
fn shifter_names_the_images_type() {
    let (launch, told) = launch("{kind: shifter, runArgs: [--module=mpich]}", &full("docker://x:1", Gpus::Nvidia(4)));
    assert_eq!(
        asked_words(&launch.argv),
        [
            "shifter",
            "--image=docker:x:1",
            "--workdir=/data",
            "--volume=/scratch/me:/data",
            "--volume=/cvmfs:/cvmfs:ro",
            "--module=gpu",
            "--env=DOCKER_HOST=tcp://x",
            "--env=GREETING=a\n'b'",
            "--env=LD_PRELOAD=x.so",
            "--env=PATH=/own",
            "--module=mpich",
            "/bin/echo",
            "a b",
            "$HOME"
        ]
    );
    assert_eq!((told.len(), launch.exec), (1, ExecVia::Namespaces));
    let image = |reference: &str| super::tests::launch("{kind: shifter}", &spec(reference)).0.argv[1].clone();
    assert_eq!(image("x:1"), "--image=docker:x:1");
    assert_eq!(image("id:ab12"), "--image=id:ab12");
    assert!(refusal("{kind: shifter}", &spec("/x.sif")).contains("shifterimg"));
}

#[test]
fn charliecloud_says_what_it_cannot_do() {
    let mut all = full("docker://x", Gpus::None);
    let words = refusal("{kind: charliecloud}", &all);
    assert!(words.contains("cannot mount /cvmfs read-only"), "{words}");
    let Place::Image(image) = &mut all.place else { panic!() };
    image.mounts.pop();
    let (launch, _) = launch("{kind: charliecloud, globalArgs: [--no-passwd], runArgs: [--write]}", &all);
    assert_eq!(
        asked_words(&launch.argv),
        [
            "ch-run",
            "--no-passwd",
            "--cd=/data",
            "--bind=/scratch/me:/data",
            "--env-no-expand",
            "--set-env=LD_PRELOAD=x.so",
            "--set-env=PATH=/own",
            "--write",
            "x",
            "--",
            "/bin/echo",
            "a b",
            "$HOME"
        ]
    );
    assert_eq!(env(&launch), ["DOCKER_HOST=tcp://x", "GREETING=a\n'b'"]);
}

const CUSTOM: &str = r#"
  kind: custom
  name: box
  run: [/opt/box, run, "--id={id}", "{workdir...}", "{env...}", "{mounts...}", "{gpus...}", "{stdin...}", "{terminal...}", "{image}", --, "{command...}"]
  each:
    workdir: [--cd, "{workdir}"]
    env: ["--env={variable}={value}"]
    mount: ["--bind={source}:{target}"]
    readOnlyMount: ["--bind={source}:{target}:ro"]
    nvidia: ["--gpus={count}"]
    stdin: [-i]
    terminal: [-t]
  remove: [[/opt/box, rm, "{name}"]]
  passesSignals: true
  exec: {prefix: [/opt/box, exec], stdin: [-i], terminal: [-t], target: ["{name}"]}
"#;

#[test]
fn a_custom_runtime_has_its_own_words() {
    let (made, _) = launch(CUSTOM, &full("any/thing", Gpus::Nvidia(1)));
    assert_eq!(
        asked_words(&made.argv),
        [
            "/opt/box",
            "run",
            "--id=t1",
            "--cd",
            "/data",
            "--env=DOCKER_HOST=tcp://x",
            "--env=GREETING=a\n'b'",
            "--env=LD_PRELOAD=x.so",
            "--env=PATH=/own",
            "--bind=/scratch/me:/data",
            "--bind=/cvmfs:/cvmfs:ro",
            "--gpus=1",
            "-i",
            "-t",
            "any/thing",
            "--",
            "/bin/echo",
            "a b",
            "$HOME"
        ]
    );
    assert_eq!(made.remove, [["/opt/box", "rm", "vk-t1"].map(str::to_owned)]);
    assert_eq!(made.terminate, Terminate::Client);
    assert!(matches!(&made.exec, ExecVia::Command { target, .. } if *target == ["vk-t1"]));
    assert!(refusal(CUSTOM, &full("x", Gpus::Amd(1))).contains("box has no flag for such GPUs"));
    let least = "{kind: custom, run: [box, '{image}', '{command...}']}";
    let (made, _) = launch(least, &spec("x"));
    assert_eq!((made.argv.len(), made.exec), (5, ExecVia::Namespaces));
    let words = refusal(least, &full("x", Gpus::None));
    assert!(words.contains("cannot mount") && words.contains("working directory") && words.contains("PATH"), "{words}");
}

#[test]
fn a_script_is_shown_to_its_interpreter() {
    let mut short = spec("x");
    short.program = Program::Script { text: "echo".into(), runner: ScriptRunner::Shell { path: "/bin/sh".into() } };
    let end = |runtime: &str, spec: &TaskSpec, n: usize| {
        let argv = launch(runtime, spec).0.argv;
        argv[argv.len() - n..].to_vec()
    };
    assert_eq!(end("{kind: podman}", &short, 4), ["--entrypoint=/bin/sh", "x", "-c", "echo"]);
    assert_eq!(end("{kind: charliecloud}", &short, 5), ["x", "--", "/bin/sh", "-c", "echo"]);
    let mut long = spec("x");
    long.program = Program::Script { text: "x".repeat(200_000), runner: ScriptRunner::Shell { path: "sh".into() } };
    let argv = launch("{kind: docker}", &long).0.argv;
    assert!(argv.contains(&"--mount=type=bind,source=/p/tasks/t/script,target=/vk-cmd-script,readonly".to_owned()));
    assert_eq!(end("{kind: docker}", &long, 3), ["--entrypoint=sh", "x", "/vk-cmd-script"]);
    assert_eq!(end("{kind: apptainer}", &long, 5)[..2], ["--bind", "/p/tasks/t/script:/vk-cmd-script:ro"]);
    for kind in ["shifter", "charliecloud"] {
        assert!(refusal(&format!("{{kind: {kind}}}"), &long).contains("put it in a file that the image sees"));
    }
}

#[test]
fn nothing_is_taken_for_an_option_or_a_field() {
    for kind in ["docker", "apptainer", "charliecloud", "shifter"] {
        assert!(refusal(&format!("{{kind: {kind}}}"), &spec("--privileged")).contains("names no image"), "{kind}");
    }
    for (kind, path) in
        [("podman", "/a,readonly=false"), ("apptainer", "/a:/etc"), ("shifter", "/a;/b"), ("charliecloud", "/a:b")]
    {
        let mut spec = spec("x");
        let Place::Image(image) = &mut spec.place else { panic!() };
        image.mounts = vec![Mount { source: path.into(), target: "/t".into(), read_only: false }];
        assert!(refusal(&format!("{{kind: {kind}}}"), &spec).contains("cannot be written"), "{kind}");
    }
    let mut relative = spec("x");
    relative.working_dir = Some("sub".into());
    assert!(refusal("{kind: podman}", &relative).contains("write an absolute path"));
    let mut long = spec("x");
    long.env.insert(EnvName::new("PATH").unwrap(), "x".repeat(131_065));
    assert!(refusal("{kind: podman}", &long).contains("longer than"));
}

#[test]
fn the_first_that_is_found_is_used() {
    let facts =
        Facts { found: Some(Found { kind: Kind::Podman, program: "/usr/bin/podman".into() }), ..Facts::default() };
    let site = Site::default();
    let cleared = clear(&site, &TaskId::new("t1").unwrap(), &spec("x"), &facts).unwrap();
    assert!(matches!(cleared.launch, Launch::Runtime(l) if l.argv[0] == "/usr/bin/podman" && l.runtime == "podman"));
    assert_eq!(site.runtime.name(facts.found.as_ref()).as_deref(), Some("podman"));
    assert_eq!(site.runtime.name(None), None);
}

#[test]
fn the_file_for_last_words_is_where_it_is_asked_for() {
    let facts = Facts { termination_log: Some("/p/pods/u/termination-log".into()), ..Facts::default() };
    let shown = |runtime: &str, path: &str| {
        let message = TerminationMessage { path: path.into(), fallback_to_logs: false };
        let asked = TaskSpec { termination_message: Some(message), ..spec("x") };
        let cleared = clear(&site(runtime), &TaskId::new("t1").unwrap(), &asked, &facts).unwrap();
        let Launch::Runtime(launch) = cleared.launch else { panic!() };
        launch.argv.join(" ")
    };
    let default = TerminationMessage::DEFAULT_PATH;
    for (path, target) in [(default, default), ("/my/log", "/my/log"), ("log", "/log")] {
        let mount = format!("--mount=type=bind,source=/p/pods/u/termination-log,target={target}");
        assert!(shown("{kind: podman}", path).contains(&mount), "{path}");
    }
    // Nobody has asked for the default path, and these can mount only where there is something.
    assert!(!shown("{kind: charliecloud}", default).contains("termination-log"));
    assert!(shown("{kind: charliecloud}", "/my/log").contains("--bind=/p/pods/u/termination-log:/my/log"));
}

#[test]
fn what_is_taken_from_a_container_is_said_to_its_runtime() {
    let net_raw = ["NET_RAW".parse().unwrap()];
    let part = Security { no_new_privileges: true, drop_capabilities: net_raw.into(), ..Security::default() };
    let closed = Security { read_only_root: true, ..Security::default() };
    let all = Security { drop_capabilities: Capability::all().collect(), ..Security::default() };
    for (runtime, security, expected) in [
        ("{kind: podman}", &part, &["--security-opt=no-new-privileges", "--cap-drop=NET_RAW"][..]),
        ("{kind: docker}", &all, &["--cap-drop=ALL"]),
        ("{kind: podman}", &closed, &["--read-only", "--read-only-tmpfs=false"]),
        ("{kind: docker}", &closed, &["--read-only"]),
        // Their images are read-only in any case.
        ("{kind: apptainer}", &closed, &[]),
        ("{kind: shifter}", &closed, &[]),
        ("{kind: apptainer}", &part, &["--drop-caps", "CAP_NET_RAW"]),
        ("{kind: singularity}", &all, &["--drop-caps", "all"]),
    ] {
        let (launch, _) = launch(runtime, &TaskSpec { security: security.clone(), ..spec("x") });
        let at = launch.argv.windows(expected.len().max(1)).any(|window| window[..expected.len()] == *expected);
        assert!(at && !launch.confine_client, "{:?}", launch.argv);
    }
    assert!(launch("{kind: charliecloud}", &TaskSpec { security: all, ..spec("x") }).0.confine_client);
    let facts = Facts { script: "/p/tasks/t/script".into(), ..Facts::default() };
    let asked = TaskSpec { security: part, ..spec("x") };
    let denied = clear(&site("{kind: shifter}"), &TaskId::new("t1").unwrap(), &asked, &facts).unwrap_err();
    assert!(denied.reasons().join(" ").contains("allowPrivilegeEscalation"), "{denied:?}");
}
