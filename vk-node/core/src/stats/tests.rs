use jiff::{SignedDuration, Timestamp};
use k8s_openapi::serde_json::{from_value, json, to_value};
use vk_task::{ContainerRun, DirName, HostUsage, TaskState, VolumeUsage};

use super::super::resource_metrics;
use super::*;

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn usage(at: i64, cpu_seconds: u64, memory: u64) -> Usage {
    Usage {
        at: time(at),
        cpu_nanos: cpu_seconds * 1_000_000_000,
        memory_working_set_bytes: memory,
        memory_rss_bytes: memory / 2,
        memory_usage_bytes: memory * 2,
        page_faults: 7,
        major_page_faults: 1,
    }
}

fn id(container: &str, restart: u32) -> TaskId {
    TaskId::for_container("u1", container, restart).unwrap()
}

fn stats(at: i64, tasks: &[(TaskId, u64, u64)]) -> Stats {
    let task = |(id, cpu, memory): &(TaskId, u64, u64)| TaskUsage {
        id: id.clone(),
        started_at: time(-100),
        usage: usage(at, *cpu, *memory),
        processes: 2,
        log_bytes: 10,
    };
    Stats {
        host: HostUsage {
            usage: usage(at, 1000, 1 << 30),
            memory_available_bytes: 1 << 31,
            booted_at: time(-1_000_000),
            processes: 300,
            max_processes: 32768,
            disk: Disk { capacity_bytes: 1000, available_bytes: 400, inodes: 100, inodes_free: 40 },
        },
        tasks: tasks.iter().map(task).collect(),
        pods: vec![PodUsage {
            uid: DirName::new("u1").unwrap(),
            bytes: 50,
            inodes: 5,
            volumes: vec![VolumeUsage { name: DirName::new("data").unwrap(), bytes: 30, inodes: 3 }],
            containers: vec![],
        }],
    }
}

fn view(container: &str, restart: u32) -> TaskView {
    TaskView {
        id: id(container, restart),
        origin: Origin::Pod(ContainerRun {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u1".into(),
            service_account: "default".into(),
            container: container.into(),
            restart,
            node: None,
        }),
        state: TaskState::Running { pid: 1, started_at: time(-100) },
        stop: None,
        lingering: vec![],
        reported: false,
        termination_message: None,
    }
}

fn pod(name: &str, uid: &str) -> Pod {
    from_value(json!({
        "metadata": {"namespace": "n", "name": name, "uid": uid},
        "spec": {"containers": [{"name": "a", "resources": {"limits": {"memory": "5000"}}}, {"name": "b"}]},
        "status": {"startTime": "2023-11-14T22:00:00Z"},
    }))
    .unwrap()
}

#[test]
fn a_summary_is_the_kubelets() {
    let (now, before) = (stats(10, &[(id("a", 1), 25, 1000), (id("b", 0), 5, 500)]), stats(0, &[(id("a", 1), 20, 1)]));
    let (p, other) = (pod("p", "u1"), pod("other", "u2"));
    let tasks = [view("a", 1), view("b", 0), view("a", 0)];
    let given = Given {
        node: "vk-a",
        stats: &now,
        before: Some(&before),
        pods: &[&p, &other],
        tasks: &tasks,
        only_cpu_and_memory: false,
    };
    let at = "2023-11-14T22:13:30Z";
    let memory = |bytes: u64| {
        json!({"time": at, "usageBytes": bytes * 2, "workingSetBytes": bytes, "rssBytes": bytes / 2,
               "pageFaults": 7, "majorPageFaults": 1})
    };
    let with = |mut value: k8s_openapi::serde_json::Value, name: &str, more: k8s_openapi::serde_json::Value| {
        value[name] = more;
        value
    };
    let fs = |used: u64, inodes: u64| {
        json!({"time": at, "availableBytes": 400, "capacityBytes": 1000, "usedBytes": used,
               "inodesFree": 40, "inodes": 100, "inodesUsed": inodes})
    };
    let log = json!({"time": at, "availableBytes": 400, "capacityBytes": 1000, "usedBytes": 10, "inodesFree": 40,
                     "inodes": 100});
    let summed = json!({"time": at, "usageBytes": 3000, "workingSetBytes": 1500, "rssBytes": 750, "pageFaults": 14,
                        "majorPageFaults": 2});
    let expected = json!({
        "node": {
            "nodeName": "vk-a", "startTime": "2023-11-03T08:26:40Z",
            "cpu": {"time": at, "usageNanoCores": 0, "usageCoreNanoSeconds": 1_000_000_000_000_u64},
            "memory": with(memory(1 << 30), "availableBytes", json!(1_u64 << 31)),
            "fs": fs(600, 60), "runtime": {"imageFs": fs(600, 60), "containerFs": fs(600, 60)},
            "rlimit": {"time": at, "maxpid": 32768, "curproc": 300},
        },
        "pods": [{
            "podRef": {"name": "p", "namespace": "n", "uid": "u1"}, "startTime": "2023-11-14T22:00:00Z",
            "containers": [
                {"name": "a", "startTime": "2023-11-14T22:11:40Z", "logs": log,
                 "cpu": {"time": at, "usageNanoCores": 500_000_000, "usageCoreNanoSeconds": 25_000_000_000_u64},
                 "memory": with(memory(1000), "availableBytes", json!(4000))},
                {"name": "b", "startTime": "2023-11-14T22:11:40Z", "logs": log,
                 "cpu": {"time": at, "usageCoreNanoSeconds": 5_000_000_000_u64}, "memory": memory(500)},
            ],
            // Of one container the rate is not known yet, so that of the pod is not either.
            "cpu": {"time": at, "usageCoreNanoSeconds": 30_000_000_000_u64}, "memory": summed,
            "volume": [with(fs(30, 3), "name", json!("data"))], "ephemeral-storage": fs(70, 5),
            "process_stats": {"process_count": 4},
        }],
    });
    assert_eq!(to_value(gather(given)).unwrap(), expected);

    let small = to_value(gather(Given { only_cpu_and_memory: true, ..given })).unwrap();
    for left_out in ["fs", "runtime", "rlimit"] {
        assert_eq!(small["node"].get(left_out), None);
    }
    for left_out in ["volume", "ephemeral-storage", "process_stats"] {
        assert_eq!(small["pods"][0].get(left_out), None);
    }
    assert_eq!(small["pods"][0]["containers"][0].get("logs"), None);
}

#[test]
fn a_rate_needs_time_and_growth() {
    let now = usage(10, 20, 0);
    assert_eq!(rate(&usage(0, 0, 0), &now), Some(2_000_000_000));
    assert_eq!(rate(&usage(10, 0, 0), &now), None);
    assert_eq!(rate(&usage(20, 0, 0), &now), None);
    assert_eq!(rate(&usage(0, 21, 0), &now), None);
    let long = Usage { at: now.at + SignedDuration::from_hours(100_000), cpu_nanos: u64::MAX, ..now };
    assert!(rate(&now, &long).is_some());
}

#[test]
fn the_text_is_the_kubelets() {
    let stats = stats(10, &[(id("a", 0), 25, 1000)]);
    let p = pod("p", "u1");
    let given = Given {
        node: "vk-a",
        stats: &stats,
        before: None,
        pods: &[&p],
        tasks: &[view("a", 0)],
        only_cpu_and_memory: true,
    };
    let text = resource_metrics(Some(&gather(given)));
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let container = r#"{container="a",pod="p",namespace="n"}"#;
    let pod = r#"{pod="p",namespace="n"}"#;
    assert_eq!(
        samples,
        [
            &format!("container_cpu_usage_seconds_total{container} 25 1700000010000"),
            &format!("container_memory_working_set_bytes{container} 1000 1700000010000"),
            &format!("container_start_time_seconds{container} 1699999900"),
            "node_cpu_usage_seconds_total 1000 1700000010000",
            "node_memory_working_set_bytes 1073741824 1700000010000",
            &format!("pod_cpu_usage_seconds_total{pod} 25 1700000010000"),
            &format!("pod_memory_working_set_bytes{pod} 1000 1700000010000"),
            "resource_scrape_error 0",
            "scrape_error 0",
        ]
    );
    assert!(resource_metrics(None).ends_with("\nscrape_error 1\n"));
}
