use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use vk_task::{Enforcement, HostInfo, MountNamespaces, RecordsPlace, SiteInfo};

use super::*;
use crate::config;
use crate::ending::Batch;
use crate::report::{ConditionReport, Drain, MemberReport, NodeReport};

const NOW: &str = "2026-01-01T00:00:00Z";

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

fn config_of(text: &str) -> Result<config::NodeConfig, Vec<String>> {
    let settings = config::read(&format!("version: 1\nnodeName: vk-a\n{text}"), Path::new("/home/u/hostpipe")).unwrap();
    settings.finish(Some("/home/u".into())).map_err(|error| error.0)
}

fn directory(path: &str) -> DirectoryFacts {
    DirectoryFacts {
        path: path.into(),
        answers: true,
        is_there: true,
        uid: 1000,
        mode: 0o700,
        is_writable: true,
        shared: None,
        free_bytes: 100 << 30,
        free_inodes: Some(1_000_000),
    }
}

fn file(path: &str, mode: u32) -> FileFacts {
    FileFacts { path: path.into(), owner: Some((1000, mode)) }
}

fn host() -> HostInfo {
    HostInfo {
        version: "0.1.0".into(),
        hostname: "login01".into(),
        user: "u".into(),
        uid: 1000,
        gid: Some(1000),
        groups: Vec::new(),
        home: "/home/u".into(),
        directory: "/home/u/hostpipe".into(),
        boot_id: String::new(),
        machine_id: String::new(),
        kernel: "6.1".into(),
        os_image: String::new(),
        cpus: 8,
        memory_bytes: 64 << 30,
        records: RecordsPlace::default(),
        enforcement: Enforcement::default(),
        mount_namespaces: MountNamespaces::Available,
        site: SiteInfo { file: Some("/home/u/hostpipe/site.yaml".into()), ..SiteInfo::default() },
    }
}

fn node() -> NodeReport {
    let ready = ConditionReport {
        kind: "Ready".into(),
        status: "True".into(),
        reason: "KubeletReady".into(),
        message: String::new(),
    };
    let member =
        MemberReport { heard_at: Some(at(NOW)), holds_seconds: 40, conditions: vec![ready], ..MemberReport::default() };
    NodeReport {
        version: "0.1.0".into(),
        pid: 7,
        started_at: at(NOW),
        pipe_answers: true,
        log: "info".into(),
        drain: None,
        nodes: BTreeMap::from([("vk-a".to_owned(), member)]),
    }
}

fn certificate() -> CertificateFacts {
    CertificateFacts {
        common_name: "system:node:vk-a".into(),
        organizations: vec!["system:nodes".into()],
        not_before: at("2025-12-01T00:00:00Z"),
        not_after: at("2026-12-01T00:00:00Z"),
    }
}

/// A machine where all is as it should be, and a node runs.
fn healthy() -> Facts {
    Facts {
        now: at(NOW),
        config: config_of("kubeconfig: node.kubeconfig\nrelay: {address: 'r:1', caFile: ca.pem}\n"),
        config_file: Some(file("/home/u/hostpipe/node.yaml", 0o600)),
        site_file: Some(file("/home/u/hostpipe/site.yaml", 0o644)),
        site_problems: Vec::new(),
        runtime_wanted: None,
        runtime_found: Some("/usr/bin/apptainer".into()),
        secrets: vec![file("/home/u/hostpipe/node.kubeconfig", 0o600)],
        uid: 1000,
        home: Some(directory("/home/u")),
        pipe_directory: directory("/home/u/hostpipe"),
        pipe_weaknesses: Vec::new(),
        records: directory("/home/u/hostpipe"),
        temporary: directory("/tmp"),
        kernel: (6, 1),
        open_files: (1024, 524_288),
        processes: (50, Some(100_000)),
        memory_available: 8 << 30,
        sees_itself: true,
        mount_namespaces: MountNamespaces::Available,
        cgroup: CgroupFacts::Delegated("/sys/fs/cgroup/u".into()),
        batch: None,
        programs: BTreeMap::new(),
        systemd: Systemd::There { lingers: true },
        proxy: None,
        addresses: vec!["10.0.0.7".parse().unwrap()],
        port: PortFacts::Free(10250),
        login: Ok(Login {
            server: "https://api.example.org:6443".into(),
            is_bootstrap: false,
            certificate: Some(certificate()),
            trusts_anybody: false,
        }),
        server: Some(ServerFacts {
            addresses: Some(Ok(vec!["10.0.0.1".parse().unwrap()])),
            connected: Some(Ok(())),
            answered: Some(Ok(Answered { version: Some((1, 36)), date: Some(at(NOW)) })),
            whoami: Some(Ok(Whoami { user: "system:node:vk-a".into(), groups: vec!["system:nodes".into()] })),
            node: Some(Ok(Some(NodeObject {
                is_vk_node: true,
                is_ready: true,
                holder: Some("login01:/home/u/hostpipe".into()),
            }))),
        }),
        relay_authority: Some(Ok(1)),
        relay_reached: Some(Ok(())),
        ssh: Some(Ok(())),
        pipe: Some(host()),
        node: Some(node()),
        is_locked: true,
        lingering: 0,
        version: "0.1.0".into(),
    }
}

/// The same without a relay, which the node is reached by itself then.
fn plain() -> Facts {
    Facts {
        config: config_of("kubeconfig: node.kubeconfig\naddress: 10.0.0.7\n"),
        relay_authority: None,
        relay_reached: None,
        ..healthy()
    }
}

fn in_slurm(config: &str) -> Facts {
    let batch = Some(Batch::Slurm { job: "17".into(), run: 0, end_time: None });
    Facts { batch, config: config_of(config), programs: BTreeMap::from([("squeue", true)]), ..healthy() }
}

/// What is wrong on a machine.
type Fixture = (&'static str, State, fn(&mut Facts));

fn server(facts: &mut Facts) -> &mut ServerFacts {
    facts.server.get_or_insert_default()
}

/// One that nothing has come from.
fn unreached(facts: &mut Facts) -> &mut ServerFacts {
    let answered = Some(Err("client error (Connect)".into()));
    *server(facts) = ServerFacts { answered, whoami: None, node: None, ..server(facts).clone() };
    server(facts)
}

fn login(facts: &mut Facts) -> &mut Login {
    facts.login.as_mut().unwrap()
}

fn shown(facts: &mut Facts) -> &mut CertificateFacts {
    login(facts).certificate.as_mut().unwrap()
}

fn object(facts: &mut Facts) -> &mut NodeObject {
    server(facts).node.as_mut().unwrap().as_mut().unwrap().as_mut().unwrap()
}

const BROKEN: &[Fixture] = &[
    ("config", State::Failed, |f| f.config = Err(vec!["the node has no name".into()])),
    ("config-writers", State::Warning, |f| f.config_file = Some(file("/home/u/hostpipe/node.yaml", 0o666))),
    ("config-writers", State::Warning, |f| f.config_file.as_mut().unwrap().owner = Some((4711, 0o600))),
    ("site-file", State::Failed, |f| f.site_problems = vec!["line 3: runtime.kind: \"pdoman\" is none of …".into()]),
    ("site-writers", State::Failed, |f| f.site_file = Some(file("/home/u/hostpipe/site.yaml", 0o664))),
    ("site-writers", State::Failed, |f| f.site_file.as_mut().unwrap().owner = Some((4711, 0o644))),
    ("secrets", State::Warning, |f| f.secrets = vec![file("/home/u/hostpipe/node.kubeconfig", 0o640)]),
    ("kernel", State::Failed, |f| f.kernel = (3, 10)),
    ("proc", State::Failed, |f| f.sees_itself = false),
    ("home", State::Failed, |f| f.home = None),
    ("home", State::Failed, |f| f.home.as_mut().unwrap().is_there = false),
    ("home", State::Failed, |f| f.home.as_mut().unwrap().answers = false),
    ("home", State::Warning, |f| f.home.as_mut().unwrap().is_writable = false),
    ("pipe-directory", State::Failed, |f| f.pipe_directory.answers = false),
    ("pipe-directory", State::Failed, |f| f.pipe_directory.uid = 0),
    ("pipe-directory", State::Warning, |f| f.pipe_directory.mode = 0o755),
    ("pipe-directory", State::Failed, |f| (f.pipe_directory.is_there, f.pipe_directory.is_writable) = (false, false)),
    ("pipe-directory", State::Failed, |f| f.pipe_directory.is_writable = false),
    ("pipe-parents", State::Failed, |f| f.pipe_weaknesses = vec!["/home can be written to by everybody".into()]),
    ("pipe-parents", State::Warning, |f| f.pipe_weaknesses = vec!["/home can be written to by its group".into()]),
    ("records-place", State::Failed, |f| f.records.answers = false),
    ("records-place", State::Warning, |f| f.records.shared = Some("nfs".into())),
    ("disk", State::Failed, |f| f.records.free_bytes = 0),
    ("disk", State::Warning, |f| f.records.free_bytes = 1 << 20),
    ("inodes", State::Warning, |f| f.records.free_inodes = Some(10)),
    ("temporary", State::Failed, |f| f.temporary.answers = false),
    ("temporary", State::Failed, |f| f.temporary.is_writable = false),
    ("memory", State::Warning, |f| f.memory_available = 1 << 20),
    ("open-files", State::Warning, |f| f.open_files = (1024, 1024)),
    ("processes", State::Warning, |f| f.processes = (950, Some(1000))),
    ("mounts", State::Warning, |f| f.mount_namespaces = MountNamespaces::Unavailable { why: "EPERM".into() }),
    ("cgroup", State::Warning, |f| f.cgroup = CgroupFacts::None("it belongs to root".into())),
    ("runtime", State::Warning, |f| f.runtime_found = None),
    ("runtime", State::Failed, |f| (f.runtime_wanted, f.runtime_found) = (Some("shifter".into()), None)),
    ("batch-tools", State::Warning, |f| *f = Facts { programs: BTreeMap::new(), ..in_slurm("") }),
    ("on-term", State::Warning, |f| *f = in_slurm("onTerm: keep\n")),
    ("linger", State::Warning, |f| f.systemd = Systemd::There { lingers: false }),
    ("credentials", State::Failed, |f| f.login = Err("there is no kubeconfig".into())),
    ("authority", State::Warning, |f| login(f).trusts_anybody = true),
    ("authority", State::Warning, |f| login(f).server = "http://api:8080".into()),
    ("identity", State::Failed, |f| shown(f).common_name = "system:node:vk-b".into()),
    ("identity", State::Failed, |f| shown(f).organizations.clear()),
    ("identity", State::Warning, |f| shown(f).common_name = "admin".into()),
    ("certificate", State::Failed, |f| shown(f).not_after = at("2025-12-31T00:00:00Z")),
    ("certificate", State::Failed, |f| shown(f).not_before = at("2026-06-01T00:00:00Z")),
    ("certificate", State::Warning, |f| shown(f).not_after = at("2026-01-03T00:00:00Z")),
    ("whoami", State::Failed, |f| server(f).whoami = Some(Err("Unauthorized".into()))),
    ("whoami", State::Warning, |f| server(f).whoami = Some(Ok(Whoami { user: "admin".into(), groups: Vec::new() }))),
    ("name-taken", State::Failed, |f| f.node = None),
    ("foreign-node", State::Failed, |f| object(f).is_vk_node = false),
    ("clock", State::Warning, |f| f.now = at("2026-01-01T00:05:00Z")),
    ("clock", State::Warning, |f| f.now = at("2025-12-31T23:55:00Z")),
    ("dns", State::Failed, |f| unreached(f).addresses = Some(Err("no such host".into()))),
    ("connect", State::Failed, |f| unreached(f).connected = Some(Err("no route to host".into()))),
    ("api-server", State::Failed, |f| server(f).answered = Some(Err("invalid peer certificate".into()))),
    ("api-version", State::Warning, |f| server(f).answered = Some(Ok(Answered { version: Some((1, 22)), date: None }))),
    ("proxy", State::Warning, |f| {
        f.proxy = Some("HTTPS_PROXY=http://proxy:3128".into());
        server(f).answered = Some(Err("502".into()));
    }),
    ("address", State::Warning, |f| *f = Facts { config: config_of("address: 10.9.9.9\n"), ..plain() }),
    ("address", State::Warning, |f| *f = Facts { config: config_of("address: 127.0.0.1\n"), ..plain() }),
    ("port", State::Failed, |f| f.port = PortFacts::Taken(10250, "Address already in use".into())),
    ("ssh", State::Failed, |f| f.ssh = Some(Err("no such program".into()))),
    ("relay-authority", State::Failed, |f| f.relay_authority = Some(Err("No such file".into()))),
    ("relay-authority", State::Failed, |f| f.relay_authority = Some(Ok(0))),
    ("relay", State::Failed, |f| f.relay_reached = Some(Err("connection refused".into()))),
    ("pipe", State::Failed, |f| (f.pipe, f.config) = (None, config_of("pipe: {run: external}\n"))),
    ("pipe-version", State::Warning, |f| f.pipe.as_mut().unwrap().version = "0.0.9".into()),
    ("node-answers", State::Failed, |f| f.node = None),
    ("node-ready", State::Failed, |f| f.node.as_mut().unwrap().nodes.get_mut("vk-a").unwrap().heard_at = None),
    ("drained", State::Warning, |f| {
        f.node.as_mut().unwrap().drain = Some(Drain { reason: "maintenance".into(), since: at(NOW) });
    }),
    ("site-in-force", State::Failed, |f| f.pipe.as_mut().unwrap().site.error = Some("line 3: …".into())),
    ("lingering", State::Warning, |f| f.lingering = 2),
];

fn found(facts: &Facts, id: &str) -> Finding {
    examine(facts).into_iter().find(|finding| finding.id == id).unwrap()
}

#[test]
fn where_all_is_well_nothing_is_complained_of() {
    for facts in [healthy(), plain(), in_slurm("onTerm: auto\n")] {
        for finding in examine(&facts) {
            assert!(matches!(finding.state, State::Ok | State::Skipped), "{finding:?}");
            assert_eq!(finding.fix, None);
        }
    }
}

#[test]
fn each_check_has_a_machine_on_which_it_complains() {
    let ids: HashSet<&str> = checks().map(|check| check.id).collect();
    assert_eq!(ids.len(), checks().count(), "an id stands for one check");
    assert!(ids.len() >= 30);
    let broken: HashSet<&str> = BROKEN.iter().map(|(id, ..)| *id).collect();
    assert_eq!(broken, ids, "each has a fixture, and each fixture is of one");
    for (id, state, break_it) in BROKEN {
        let mut facts = healthy();
        break_it(&mut facts);
        let finding = found(&facts, id);
        assert_eq!(finding.state, *state, "{finding:?}");
        assert!(finding.fix.is_some_and(|fix| !fix.is_empty()) && !finding.reason.is_empty(), "{finding:?}");
    }
}

/// What is wrong is not hidden behind what else there is: each fixture is complained of by few others.
#[test]
fn one_thing_that_is_wrong_is_not_told_ten_times() {
    for (id, _, break_it) in BROKEN {
        let mut facts = healthy();
        break_it(&mut facts);
        let complaints: Vec<&str> = examine(&facts).into_iter().filter(|f| f.fix.is_some()).map(|f| f.id).collect();
        assert!(complaints.len() <= 3, "{id}: {complaints:?}");
        // Who is not reached is not taken for somebody else.
        if matches!(*id, "dns" | "connect") {
            assert_eq!((complaints, found(&facts, "api-server").state), (vec![*id], State::Skipped));
        }
    }
}

/// A machine of which nothing could be found out is no reason to fall over.
#[test]
fn what_is_not_known_is_skipped() {
    let facts = Facts {
        config: Err(vec!["?".into()]),
        config_file: None,
        site_file: None,
        secrets: Vec::new(),
        login: Err("there is no kubeconfig".into()),
        server: None,
        relay_authority: None,
        relay_reached: None,
        ssh: None,
        pipe: None,
        node: None,
        is_locked: false,
        mount_namespaces: MountNamespaces::Unknown,
        systemd: Systemd::None,
        port: PortFacts::Any,
        ..healthy()
    };
    let findings = examine(&facts);
    let failed: Vec<&str> = findings.iter().filter(|f| f.state == State::Failed).map(|f| f.id).collect();
    assert_eq!(failed, ["config", "credentials"]);
    assert!(is_failed(&findings) && !is_failed(&examine(&healthy())));
}

#[test]
fn what_is_wrong_is_told_first_with_what_to_do() {
    let mut facts = healthy();
    facts.kernel = (3, 10);
    facts.systemd = Systemd::There { lingers: false };
    let told = text(&examine(&facts), false);
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("FAILED   kernel: it is 3.10"), "{told}");
    assert!(lines[1].contains("newer kernel") && lines[2].starts_with("warning  linger"), "{told}");
    assert!(lines.last().unwrap().contains("1 failed, 1 warning,"), "{told}");
    assert!(text(&examine(&facts), true).contains("ok       proc"), "all of it, where that is wanted");
    let json = serde_json::to_value(examine(&facts)).unwrap();
    assert_eq!(json[0]["state"], "ok");
}

/// The list in the documentation is this one: `cargo test -p vk-node-core doctor` prints it where it is not.
#[test]
fn the_checks_are_documented() {
    let docs = include_str!("../../../../docs/reference/vk-node.md");
    assert!(docs.contains(&table()), "docs/reference/vk-node.md must have this table:\n{}", table());
}
