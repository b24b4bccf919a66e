use super::*;
use proptest::prelude::*;
use vk_task::{ContainerRun, EnvName, Leftovers, Limits};

fn site(text: &str) -> Site {
    Site::parse(&format!("version: 1\n{text}")).unwrap()
}

fn pod(namespace: &str, user: &str) -> Origin {
    Origin::Pod(ContainerRun {
        namespace: namespace.into(),
        pod: "p".into(),
        uid: "u".into(),
        service_account: user.into(),
        container: "main".into(),
        restart: 0,
        node: None,
    })
}

fn exec(argv: &[&str]) -> TaskSpec {
    let program = Program::Exec { argv: argv.iter().map(|&a| a.into()).collect() };
    TaskSpec::new(pod("physics", "default"), program, Leftovers::Kill)
}

fn script(text: &str, runner: ScriptRunner) -> TaskSpec {
    TaskSpec { program: Program::Script { text: text.into(), runner }, ..exec(&["x"]) }
}

fn verdict(site: &Site, spec: &TaskSpec) -> Result<Cleared, Denied> {
    clear(site, &TaskId::new("t").unwrap(), spec, &Facts::default())
}

fn reasons(site: &Site, spec: &TaskSpec) -> Vec<String> {
    verdict(site, spec).err().map(|d| d.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[test]
fn without_a_file_everything_runs_on_the_host_as_it_was_asked() {
    let spec = exec(&["ls"]);
    let cleared = verdict(&Site::default(), &spec).unwrap();
    assert_eq!(cleared, Cleared { spec, launch: Launch::Direct, told: vec![] });
}

#[test]
fn every_reason_is_told() {
    let site = site(
        "policy:\n  namespaces: {deny: [physics]}\n  users: {allow: ['a:b']}\n  programs: {allow: [ls]}\n  scripts: false",
    );
    let spec = script("x", ScriptRunner::Shell { path: "/bin/sh".into() });
    assert_eq!(
        verdict(&site, &spec).unwrap_err().to_string(),
        "this site does not run it: pods of the namespace physics are not allowed; the ServiceAccount physics:default \
         is not allowed; scripts are not run on the host: run a program instead; the program \"/bin/sh\" is not allowed \
         on the host"
    );
}

#[test]
fn programs_are_told_apart_by_how_they_are_asked_for() {
    let site = site("policy: {programs: {allow: ['/opt/site/bin/*', python3, /bin/sh]}}");
    for good in ["/opt/site/bin/x", "python3", "/bin/sh"] {
        assert_eq!(reasons(&site, &exec(&[good])), Vec::<String>::new());
    }
    for bad in ["/opt/site/bin/../../../bin/rm", "/opt/site/bin/.", "./python3", "sh", "/opt/site/bin/a/b"] {
        assert_eq!(reasons(&site, &exec(&[bad])).len(), 1, "{bad}");
    }
    let mut own_path = exec(&["python3"]);
    own_path.env.insert(EnvName::new("PATH").unwrap(), "/home/me".into());
    assert!(reasons(&site, &own_path)[0].contains("PATH of the task's own"));
    assert_eq!(reasons(&site, &script("#!/bin/sh -e\n", ScriptRunner::Shebang)), Vec::<String>::new());
    assert!(reasons(&site, &script("#!/bin/bash\n", ScriptRunner::Shebang))[0].contains("/bin/bash"));
    assert!(reasons(&site, &script("ls", ScriptRunner::Shebang))[0].contains("no interpreter"));
}

#[test]
fn lines_of_the_fifo_are_scripts_of_nobody() {
    let mut line = script("ls", ScriptRunner::Shell { path: "/bin/sh".into() });
    line.origin = Origin::Fifo { writer: None };
    assert_eq!(reasons(&site("policy: {namespaces: {allow: []}}"), &line), Vec::<String>::new());
    assert_eq!(reasons(&site("policy: {fifo: false}"), &line), ["lines written to the FIFO are not run"]);
    assert_eq!(reasons(&site("policy: {scripts: false}"), &line).len(), 1);
    // Of a pod, where the line says so.
    let Origin::Pod(run) = pod("physics", "default") else { panic!() };
    line.origin = Origin::Fifo { writer: Some(run) };
    assert_eq!(reasons(&site("policy: {namespaces: {allow: []}}"), &line).len(), 1);
}

fn image(reference: &str, mounts: &[(&str, bool)]) -> TaskSpec {
    let mount =
        |(path, read_only): &(&str, bool)| Mount { source: path.into(), target: "/data".into(), read_only: *read_only };
    let image =
        Image { reference: reference.into(), mounts: mounts.iter().map(mount).collect(), gpus: vk_task::Gpus::None };
    TaskSpec { place: Place::Image(image), ..exec(&["/in/the/image"]) }
}

#[test]
fn images_and_what_they_see_of_the_host() {
    let site = site(
        "policy:\n  programs: {allow: []}\n  images: {allow: ['docker://a.org/x/*', '/images/*.sif']}\n  hostPaths: \
         [{path: /cvmfs}, {path: '/scratch/*', access: ReadWrite}]\nruntime: {kind: apptainer}",
    );
    let fine = [
        image("a.org/x/y:1", &[("/cvmfs/a/b", true), ("/scratch/me/d", false)]),
        image("docker://a.org/x/y", &[]),
        image("/images/x.sif", &[]),
    ];
    for spec in fine {
        assert_eq!(reasons(&site, &spec), Vec::<String>::new());
    }
    assert_eq!(
        reasons(&site, &image("b.org/x", &[("/cvmfs", false), ("/etc", true), ("/scratch/me/../../etc", true)])),
        [
            "the image b.org/x is not allowed",
            "the host path /cvmfs may be mounted read-only, and is not asked to be: set readOnly",
            "the host path /etc may not be mounted",
            "the host path /scratch/me/../../etc may not be mounted",
        ]
    );
    assert_eq!(reasons(&site, &image("/images/../home/x.sif", &[])).len(), 1);
    let mut facts = Facts::default();
    facts.real_paths.insert("/scratch/me/link".into(), "/etc".into());
    let spec = image("a.org/x/y", &[("/scratch/me/link", true)]);
    assert_eq!(
        clear(&site, &TaskId::new("t").unwrap(), &spec, &facts).unwrap_err().0[0].to_string(),
        "the host path /scratch/me/link is really /etc, which may not be mounted"
    );
}

#[test]
fn a_site_without_a_runtime_says_so() {
    let spec = image("x", &[]);
    assert!(reasons(&site("runtime: {kind: none}"), &spec)[0].starts_with("images are not run here"));
    assert!(reasons(&Site::default(), &spec)[0].starts_with("there is no container runtime on this host"));
}

#[test]
fn streams_have_doors_of_their_own() {
    let site = site("policy:\n  users: {deny: ['x:*']}\n  exec: {namespaces: {allow: [physics]}}\n  attach: false");
    let may = |origin: &Origin, kind| site.policy.may_stream(origin, kind).map_err(|d| d.to_string());
    assert_eq!(may(&pod("physics", "a"), StreamKind::Exec), Ok(()));
    assert!(may(&pod("other", "a"), StreamKind::Exec).unwrap_err().contains("pods of the namespace other"));
    assert!(
        may(&pod("x", "a"), StreamKind::Attach).unwrap_err().contains("the ServiceAccount x:a is not allowed; attach")
    );
    assert_eq!(may(&Origin::Fifo { writer: None }, StreamKind::Exec), Ok(()));
}

proptest! {
    #[test]
    fn what_is_dropped_never_appears(names in proptest::collection::btree_set("(LD_[A-Z]{1,4}|[A-Z]{1,5})", 1..8)) {
        let site = site("policy: {dropEnv: ['LD_*', 'A*']}\nruntime: {kind: apptainer, env: {LD_X: site}}");
        for mut spec in [exec(&["x"]), image("y", &[])] {
            spec.env = names.iter().map(|n| (EnvName::new(n.clone()).unwrap(), "secret".to_owned())).collect();
            spec.env.remove(&EnvName::new("HOME").unwrap());
            let cleared = verdict(&site, &spec).unwrap();
            let dropped = |name: &str| name.starts_with("LD_") || name.starts_with('A');
            prop_assert!(!cleared.spec.env.keys().any(|name| dropped(name.as_str())));
            let gone = spec.env.keys().filter(|name| dropped(name.as_str())).count();
            prop_assert_eq!(cleared.spec.env.len() + gone, spec.env.len());
            prop_assert_eq!(cleared.told.len(), gone);
            if let Launch::Runtime(launch) = cleared.launch {
                let secret = |name: &EnvName| launch.env.get(name).is_some_and(|v| v == "secret");
                for name in spec.env.keys().filter(|name| dropped(name.as_str())) {
                    let prefixed = EnvName::new(format!("APPTAINERENV_{name}")).unwrap();
                    prop_assert!(!secret(name) && !secret(&prefixed));
                }
            }
        }
    }
}

#[test]
fn limits_are_clamped_and_told() {
    let site = site("limits: {max: {memoryBytes: 1Gi}}");
    let spec = TaskSpec { limits: Limits { memory_bytes: Some(2 << 30), ..Limits::default() }, ..exec(&["x"]) };
    let cleared = verdict(&site, &spec).unwrap();
    assert_eq!(cleared.spec.limits.memory_bytes, Some(1 << 30));
    assert_eq!(cleared.told, ["the site's limit: the memory in bytes is 1073741824, not 2147483648"]);
}
