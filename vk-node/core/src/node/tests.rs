use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use vk_site::Pattern;
use vk_task::{Disk, Enforcement, Enforcer, HostInfo, HostUsage, MountNamespaces, RecordsPlace, SiteInfo, Usage};

use super::shortage::Shortage;
use super::*;
use crate::config::Pressure;
use crate::ending::{Cause, Source};
use crate::images::ImageRule;

fn host() -> HostInfo {
    HostInfo {
        mount_namespaces: MountNamespaces::Unknown,
        version: String::new(),
        hostname: String::new(),
        user: String::new(),
        uid: 1,
        groups: vec![],
        gid: None,
        home: "/home/u".into(),
        directory: "/home/u/hostpipe".into(),
        boot_id: String::new(),
        machine_id: String::new(),
        kernel: String::new(),
        os_image: String::new(),
        cpus: 2,
        memory_bytes: 1 << 30,
        records: RecordsPlace::default(),
        enforcement: Enforcement::default(),
        site: SiteInfo::default(),
    }
}

#[test]
fn a_node_made_again_knows_its_forebears() {
    let uids = |all: &[&str]| all.iter().map(|uid| (*uid).to_owned()).collect::<Vec<_>>();
    let mut node = Node { metadata: ObjectMeta { uid: Some("a".into()), ..ObjectMeta::default() }, ..Node::default() };
    assert_eq!(lineage(&node), uids(&["a"]));
    for _ in 0..30 {
        let before = lineage(&node);
        node.metadata.annotations = None;
        set_lineage(&mut node, &before);
        node.metadata.uid = Some(format!("{}x", before[0]));
    }
    let all = lineage(&node);
    assert_eq!((all.len(), all[0].len(), all[1].len()), (MOST_FORMER_UIDS + 1, 31, 30));
}

fn usage(memory: u64, disk: u64, inodes: u64, processes: u64) -> HostUsage {
    let at = Timestamp::UNIX_EPOCH;
    HostUsage {
        usage: Usage { at, ..Usage::default() },
        memory_available_bytes: memory,
        booted_at: at,
        processes,
        max_processes: 1000,
        disk: Disk { capacity_bytes: 100 << 30, available_bytes: disk, inodes: 10_000, inodes_free: inodes },
    }
}

fn plenty() -> HostUsage {
    usage(1 << 30, 50 << 30, 5000, 10)
}

fn profile() -> NodeProfile {
    NodeProfile {
        name: NodeName::parse("vk-a").unwrap(),
        reach: Some(Reach { at: "10.0.0.1:10250".parse().unwrap(), through: Through::Itself }),
        max_pods: 10,
        labels: BTreeMap::new(),
        taints: Vec::new(),
        capacity: Resources::default(),
        reserved: Resources::default(),
        images: ImageMap::default(),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn said(usage: Option<&HostUsage>, trouble: Option<&Trouble>, before: Option<&NodeStatus>, now: i64) -> NodeStatus {
    let none = Shortages::default();
    let pressure = Pressure::default();
    let shortages = usage.map_or(none, |usage| none.after(usage, 1 << 30, &pressure, seconds(0)));
    status(
        &profile(),
        &View { host: &host(), usage, shortages, trouble, nearing: Nearing::Unknown, way: &WayIn::Own },
        before,
        at(now),
    )
}

fn condition<'a>(status: &'a NodeStatus, kind: &str) -> &'a NodeCondition {
    status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == kind).unwrap()
}

#[test]
fn conditions_are_the_kubelets_and_keep_the_time_of_their_last_change() {
    let first = said(Some(&plenty()), None, None, 1);
    let kinds: Vec<(&str, &str)> = first.conditions.as_ref().unwrap().iter().map(|c| (&*c.type_, &*c.status)).collect();
    let expected = [
        ("MemoryPressure", "False"),
        ("DiskPressure", "False"),
        ("PIDPressure", "False"),
        ("vk-cmd.io/PipeReady", "True"),
        ("vk-cmd.io/Reachable", "True"),
        ("vk-cmd.io/Ending", "False"),
        ("Ready", "True"),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(condition(&first, "MemoryPressure").reason.as_deref(), Some("KubeletHasSufficientMemory"));
    let lost = said(Some(&plenty()), Some(&Trouble::PipeUnreachable), Some(&first), 3);
    for (kind, changed, reason) in [
        ("Ready", 3, "PipeUnreachable"),
        ("vk-cmd.io/PipeReady", 3, "PipeUnreachable"),
        ("DiskPressure", 1, "KubeletHasNoDiskPressure"),
    ] {
        let condition = condition(&lost, kind);
        assert_eq!(condition.last_transition_time, Some(Time(at(changed))), "{kind}");
        assert_eq!(condition.last_heartbeat_time, Some(Time(at(3))), "{kind}");
        assert_eq!(condition.reason.as_deref(), Some(reason), "{kind}");
    }
    let ending = said(Some(&plenty()), Some(&Trouble::Shutdown), Some(&first), 4);
    assert_eq!(condition(&ending, "vk-cmd.io/PipeReady").status, "True");
    assert_eq!(condition(&ending, "Ready").reason.as_deref(), Some("NodeShutdown"));
    assert_eq!(condition(&said(None, None, None, 1), "MemoryPressure").status, "Unknown");
}

#[test]
fn a_shortage_of_each_kind_is_told_and_stays_for_a_while() {
    let pressure = Pressure { transition_period: seconds(300), ..Pressure::default() };
    for (usage, kind) in [
        (usage(1, 50 << 30, 5000, 10), "MemoryPressure"),
        (usage(1 << 30, 1, 5000, 10), "DiskPressure"),
        (usage(1 << 30, 50 << 30, 1, 10), "DiskPressure"),
        (usage(1 << 30, 50 << 30, 5000, 950), "PIDPressure"),
    ] {
        let short = Shortages::default().after(&usage, 1 << 30, &pressure, seconds(10));
        let of = |shortages| {
            let view = View {
                host: &host(),
                usage: None,
                shortages,
                trouble: None,
                nearing: Nearing::Unknown,
                way: &WayIn::Own,
            };
            let status = status(&profile(), &view, None, at(0));
            let short = status.conditions.unwrap().into_iter().filter(|c| c.status == "True" && c.type_ != "Ready");
            short.map(|c| c.type_).filter(|kind| !kind.starts_with("vk-cmd.io")).collect::<Vec<_>>()
        };
        assert_eq!(of(short), [kind]);
        let later = short.after(&plenty(), 1 << 30, &pressure, seconds(309));
        assert_eq!(of(later), [kind], "not yet over");
        assert_eq!(of(later.after(&plenty(), 1 << 30, &pressure, seconds(310))), [""; 0]);
    }
}

#[test]
fn a_file_system_without_a_limit_of_files_is_not_short_of_them() {
    let mut usage = plenty();
    (usage.disk.inodes, usage.disk.inodes_free) = (0, 0);
    let after = Shortages::default().after(&usage, 1 << 30, &Pressure::default(), seconds(0));
    assert_eq!(after.disk, Shortage::Enough);
    usage.disk.capacity_bytes = 0;
    assert_eq!(Shortages::default().after(&usage, 0, &Pressure::default(), seconds(0)).disk, Shortage::Unknown);
}

#[test]
fn a_status_is_written_when_it_says_something_new_or_when_it_is_time() {
    let (usage, every) = (plenty(), seconds(300));
    let first = said(Some(&usage), None, None, 1);
    let told = Told { status: first.clone(), at: seconds(100), version: 1 };
    let same = said(Some(&usage), None, Some(&first), 2000);
    assert!(is_due(None, &first, seconds(0), every));
    assert!(!is_due(Some(&told), &same, seconds(399), every), "a heartbeat alone is no news");
    assert!(is_due(Some(&told), &same, seconds(400), every));
    let lost = said(Some(&usage), Some(&Trouble::PipeUnreachable), Some(&first), 2);
    assert!(is_due(Some(&told), &lost, seconds(101), every));
}

#[test]
fn a_status_is_told_again_when_the_cluster_has_taken_the_node_for_lost() {
    let node = |version: u64, unknown: bool| {
        let mut status = said(Some(&plenty()), None, None, 1);
        if unknown {
            status.conditions.iter_mut().flatten().for_each(|condition| condition.status = "Unknown".to_owned());
        }
        let metadata = ObjectMeta { resource_version: Some(version.to_string()), ..ObjectMeta::default() };
        Said::of(&Node { metadata, status: Some(status), ..Node::default() })
    };
    let told = Told { status: said(Some(&plenty()), None, None, 1), at: seconds(100), version: 7 };
    assert!(is_overwritten(&told, &node(8, true)));
    assert!(!is_overwritten(&told, &node(8, false)), "labels alone");
    assert!(!is_overwritten(&told, &node(6, true)), "that was before");
    assert!(!is_overwritten(&told, &node(7, false)));
}

#[test]
fn capacity_is_what_the_pipe_may_use_unless_configured() {
    let mut profile = profile();
    profile.capacity = Resources([("memory".to_owned(), 1 << 29), ("nvidia.com/gpu".to_owned(), 4)].into());
    profile.reserved = Resources([("cpu".to_owned(), 500), ("ephemeral-storage".to_owned(), 50 << 30)].into());
    let usage = plenty();
    let (host, shortages) = (host(), Shortages::default());
    let view = View {
        host: &host,
        usage: Some(&usage),
        shortages,
        trouble: None,
        nearing: Nearing::Unknown,
        way: &WayIn::Own,
    };
    let status = status(&profile, &view, None, at(0));
    let texts = |of: &Option<BTreeMap<String, Quantity>>| {
        let all = of.iter().flatten().map(|(name, amount)| format!("{name}={}", amount.0));
        all.collect::<Vec<_>>()
    };
    let capacity = ["cpu=2", "ephemeral-storage=104857600Ki", "memory=524288Ki", "nvidia.com/gpu=4", "pods=10"];
    assert_eq!(texts(&status.capacity), capacity);
    let allocatable = ["cpu=1500m", "ephemeral-storage=52428800Ki", "memory=524288Ki", "nvidia.com/gpu=4", "pods=10"];
    assert_eq!(texts(&status.allocatable), allocatable);
}

#[test]
fn what_is_no_longer_offered_is_taken_out() {
    let status = said(None, None, None, 1);
    let mut before = status.clone();
    before.capacity.as_mut().unwrap().insert("nvidia.com/gpu".into(), Quantity("4".into()));
    let patch = patch(Some(&before), &status);
    assert_eq!(patch["status"]["capacity"]["nvidia.com/gpu"], serde_json::Value::Null);
    assert!(patch["status"]["capacity"].as_object().unwrap().contains_key("nvidia.com/gpu"));
    assert!(!patch["status"]["allocatable"].as_object().unwrap().contains_key("nvidia.com/gpu"));
}

#[test]
fn a_node_that_another_passes_on_to_tells_no_name_of_its_host() {
    let host = HostInfo { hostname: "login07".into(), ..host() };
    let said = |reach: Option<Reach>| {
        let view = View {
            host: &host,
            usage: None,
            shortages: Shortages::default(),
            trouble: None,
            nearing: Nearing::Unknown,
            way: &WayIn::Own,
        };
        let status = status(&NodeProfile { reach, ..profile() }, &view, None, at(0));
        let addresses = status.addresses.unwrap().into_iter().map(|a| format!("{}={}", a.type_, a.address));
        let port = status.daemon_endpoints.unwrap().kubelet_endpoint.map(|endpoint| endpoint.port);
        (addresses.collect::<Vec<_>>(), port)
    };
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let reach = |through| Some(Reach { at: "10.0.0.9:20001".parse().unwrap(), through });
    assert_eq!(said(reach(Through::Itself)), (texts(&["InternalIP=10.0.0.9", "Hostname=login07"]), Some(20001)));
    assert_eq!(said(reach(Through::Another)), (texts(&["InternalIP=10.0.0.9"]), Some(20001)));
    assert_eq!(said(None), (vec![], None));
    // What was said before goes, whatever its type.
    let addresses =
        &patch(None, &NodeStatus { addresses: Some(vec![]), ..NodeStatus::default() })["status"]["addresses"];
    assert_eq!(*addresses, serde_json::json!([{"$patch": "replace"}]));
}

#[test]
fn people_are_told_what_changes() {
    let reasons = |before: &NodeStatus, after: &NodeStatus| {
        changes("vk-a", before, after).into_iter().map(|note| note.reason).collect::<Vec<_>>()
    };
    let (unknown, well) = (said(None, None, None, 1), said(Some(&plenty()), None, None, 1));
    let full = said(Some(&usage(1 << 30, 1, 5000, 10)), Some(&Trouble::PipeUnreachable), None, 1);
    assert_eq!(reasons(&unknown, &well), [""; 0]);
    assert_eq!(reasons(&well, &full), ["NodeHasDiskPressure", "NodeNotReady"]);
    assert_eq!(reasons(&full, &well), ["NodeHasNoDiskPressure", "NodeReady"]);
}

#[test]
fn people_are_told_when_nobody_reaches_the_node_and_when_somebody_does_again() {
    let said = |way: &WayIn| {
        let (host, shortages) = (host(), Shortages::default());
        let view = View { host: &host, usage: None, shortages, trouble: None, nearing: Nearing::Unknown, way };
        status(&profile(), &view, None, at(1))
    };
    let broken = WayIn::Broken { by: By::Relay, fault: Fault::NoRelay, why: "connection refused".to_owned() };
    let (begins, stands, broken) = (WayIn::Begins(By::Relay), WayIn::Stands(By::Relay), broken);
    let told = |before: &WayIn, after: &WayIn| {
        let notes = changes("vk-a", &said(before), &said(after));
        notes.into_iter().map(|note| format!("{:?} {}: {}", note.kind, note.reason, note.message)).collect::<String>()
    };
    assert_eq!(told(&begins, &stands), "");
    assert_eq!(told(&WayIn::Own, &stands), "");
    let lost = told(&stands, &broken);
    assert!(lost.starts_with("Warning NodeNotReachable: kubectl logs") && lost.ends_with("refused"), "{lost}");
    assert_eq!(told(&begins, &broken), lost);
    assert_eq!(told(&broken, &stands), "Normal NodeReachable: the API server reaches the node by the relay");
    let condition = condition(&said(&broken), "vk-cmd.io/Reachable").clone();
    assert_eq!((&*condition.status, condition.reason.as_deref()), ("False", Some("NoRelay")));
    // It runs pods all the same.
    assert_eq!(self::condition(&said(&broken), "Ready").status, "True");
}

#[test]
fn the_time_that_is_left_is_told_by_the_minute_and_never_too_long() {
    let profile = profile();
    assert!(!labels_of(&profile, None).contains_key("jiriaf.alivetime"), "no walltime, no label");
    for (age, left) in [(0, "3650"), (1, "3600"), (50, "3600"), (51, "3540"), (3640, "0"), (9999, "0")] {
        let lasts = Lasts { whole: seconds(3650), left: seconds(3650).saturating_sub(seconds(age)) };
        let labels = labels_of(&profile, Some(lasts));
        assert_eq!((&*labels["jiriaf.walltime"], &*labels["jiriaf.alivetime"]), ("3650", left), "after {age} s");
    }
}

#[test]
fn images_that_stand_for_programs_are_told_where_their_names_are_whole() {
    let rule = |pattern: &str| ImageRule {
        pattern: Pattern::new(pattern).unwrap(),
        command: Vec::new(),
        args: Vec::new(),
        env: BTreeMap::new(),
        working_dir: None,
    };
    let mut profile = profile();
    profile.images = ImageMap::new(vec![rule("docker.io/library/python:3.*"), rule("docker.io/library/r:4")]);
    let (host, shortages) = (host(), Shortages::default());
    let view = View { host: &host, usage: None, shortages, trouble: None, nearing: Nearing::Unknown, way: &WayIn::Own };
    let images = status(&profile, &view, None, at(0)).images.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].names.as_deref(), Some(&["docker.io/library/r:4".to_owned()][..]));
}

#[test]
fn a_ready_node_says_what_is_in_force() {
    let mut host = host();
    assert_eq!(
        in_force(&host),
        "commands run on this host; limits: memory by watchdog, cpu by watchdog, processes by watchdog"
    );
    host.site = SiteInfo {
        file: Some("/etc/site.yaml".into()),
        error: Some("line 3: no such field".into()),
        runtime: Some("podman".into()),
        namespaces: None,
    };
    host.records = RecordsPlace { directory: "/var/tmp/vk-u".into(), moved_off: Some("lustre".into()) };
    host.enforcement = Enforcement {
        cgroup: Some("/sys/fs/cgroup/u".into()),
        memory: Enforcer::Cgroup,
        cpu: Enforcer::Affinity,
        processes: Enforcer::Watchdog,
    };
    assert_eq!(
        in_force(&host),
        "commands run on this host, images by podman; limits: memory by cgroup, cpu by affinity, processes by watchdog \
         below /sys/fs/cgroup/u; records are in /var/tmp/vk-u, because the pipe's directory is on a shared file system \
         (lustre); the site's file /etc/site.yaml is wrong, and what it said before is in force: line 3: no such field"
    );
}

#[test]
fn marks_are_put_back_and_taken_away_and_those_of_others_are_left() {
    let profile = profile();
    let lasts = Some(Lasts { whole: seconds(3600), left: seconds(3600) });
    let site = SiteInfo { namespaces: Some("{\"allow\":[\"lab\"]}".into()), ..SiteInfo::default() };
    let lives = Lives { lasts, ends: Some(at(3600)), margin: 120 };
    let marks = Marks::of(&profile, &lives, &site);
    let none = BTreeMap::new();
    let patch = marks.patch(&none, &none).unwrap();
    let annotations = patch["metadata"]["annotations"].as_object().unwrap();
    assert_eq!(annotations[labels::ENDS_AT], "1970-01-01T01:00:00Z");
    assert_eq!(annotations[labels::WALLTIME_MARGIN], "120");
    assert_eq!(annotations[labels::NAMESPACES], "{\"allow\":[\"lab\"]}");
    assert!(!annotations.contains_key(labels::LEFT));

    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut present: BTreeMap<String, String> = annotations.iter().map(|(k, v)| (k.clone(), text(v))).collect();
    present.insert("theirs".into(), "x".into());
    assert_eq!(marks.patch(&labels_of(&profile, lasts), &present), None);

    // One that left and is there again has not left.
    present.insert(labels::LEFT.into(), "1970-01-01T00:00:01Z".into());
    let open = Marks::of(&profile, &Lives { lasts, ..Lives::default() }, &SiteInfo::default());
    let patch = open.patch(&labels_of(&profile, lasts), &present).unwrap();
    let gone = [labels::ENDS_AT, labels::WALLTIME_MARGIN, labels::NAMESPACES, labels::LEFT].map(|name| (name, None));
    let gone: BTreeMap<&str, Option<()>> = gone.into();
    assert_eq!(patch, serde_json::json!({"metadata": {"annotations": gone}}));
}

#[test]
fn the_end_is_told_when_it_is_far_and_when_it_is_near() {
    let says = |nearing| {
        let view = View {
            host: &host(),
            usage: None,
            shortages: Shortages::default(),
            trouble: None,
            nearing,
            way: &WayIn::Own,
        };
        let status = status(&profile(), &view, None, at(1));
        let ending = condition(&status, labels::ENDING);
        let text = |text: &Option<String>| text.clone().unwrap();
        (ending.status.clone(), text(&ending.reason), text(&ending.message))
    };
    let far = says(Nearing::Far { source: Source::Squeue, at: at(3600) });
    assert_eq!(
        (&*far.0, &*far.1, &*far.2),
        ("False", "WalltimeLasts", "the node ends at 1970-01-01T01:00:00Z (by squeue)")
    );
    for (cause, reason) in
        [(Cause::Walltime, "WalltimeNearlyOver"), (Cause::Signalled, "Signalled"), (Cause::Preempted, "Preempted")]
    {
        let near = says(Nearing::Near { cause, source: Source::Signal, at: at(3600) });
        assert_eq!((&*near.0, &*near.1), ("True", reason));
        assert!(near.2.contains("at 1970-01-01T01:00:00Z") || near.2.contains("by 1970-01-01T01:00:00Z"), "{}", near.2);
    }
}
