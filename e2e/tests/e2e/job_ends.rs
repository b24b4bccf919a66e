//! A job's end is what its process's end was: exit code, signal, or why it could not start.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use serde_json::{Value, json};
use vk_cmd_crds::State;

use crate::ground::room;

fn terminated(pod: &Pod) -> ContainerStateTerminated {
    let status = pod.status.as_ref().unwrap();
    status.container_statuses.as_ref().unwrap()[0].state.as_ref().unwrap().terminated.clone().unwrap()
}

struct Expected {
    state: State,
    exit_code: i32,
    signal: Option<&'static str>,
    phase: &'static str,
    reason: &'static str,
}

const fn failed(exit_code: i32, reason: &'static str) -> Expected {
    Expected { state: State::Failed, exit_code, signal: None, phase: "Failed", reason }
}

#[tokio::test]
async fn ends_come_back_exact() {
    let room = room("ends").await;
    let site = room.site("vk-ends").await;
    let plain = site.home().join("plain.txt");
    std::fs::write(&plain, "no program\n").unwrap();
    let script = |text: &str| json!({"script": text});
    let command = |argv: &[&str]| json!({"command": argv});
    let cases: Vec<(&str, Value, Expected)> = vec![
        ("silent-5", script("exit 5"), failed(5, "Error")),
        (
            "stderr-0",
            script("echo complaint >&2"),
            Expected { state: State::Complete, exit_code: 0, signal: None, phase: "Succeeded", reason: "Completed" },
        ),
        ("code-255", script("exit 255"), failed(255, "Error")),
        ("killed", script("kill -KILL $$"), Expected { signal: Some("SIGKILL"), ..failed(137, "Error") }),
        ("segv", script("kill -SEGV $$"), Expected { signal: Some("SIGSEGV"), ..failed(139, "Error") }),
        ("missing", command(&["no-such-program-anywhere"]), failed(127, "CommandNotFound")),
        ("missing-path", command(&["/no/such/program"]), failed(127, "CommandNotFound")),
        ("plain", command(&[plain.to_str().unwrap()]), failed(126, "CommandNotExecutable")),
        ("no-shell", json!({"script": "true", "shell": "/no/such/shell"}), failed(127, "CommandNotFound")),
        ("in-script", script("no-such-program-anywhere"), failed(127, "Error")),
    ];
    let mut jobs = vec![];
    for (name, spec, expected) in cases {
        jobs.push((room.run(name, "vk-ends", spec).await, expected));
    }
    for (job, expected) in jobs {
        let name = &job.name;
        let ended = job.ended().await;
        let attempt = ended.attempt();
        assert_eq!(ended.state, Some(expected.state), "{name}: {ended:?}");
        assert_eq!(ended.exit_code, Some(expected.exit_code), "{name}: {ended:?}");
        assert_eq!(attempt.signal.as_deref(), expected.signal, "{name}: {attempt:?}");
        // `Error` and `Completed` say no more than the exit code: the attempt leaves them out.
        let telling = (!matches!(expected.reason, "Error" | "Completed")).then_some(expected.reason);
        assert_eq!(attempt.reason.as_deref(), telling, "{name}: {attempt:?}");
        assert!(attempt.started_at.is_some() && attempt.finished_at >= attempt.started_at, "{name}: {attempt:?}");
        let pods = job.pods().await;
        let [pod] = &pods[..] else { panic!("{name} has {} pods", pods.len()) };
        assert_eq!(pod.status.as_ref().unwrap().phase.as_deref(), Some(expected.phase), "{name}");
        let terminated = terminated(pod);
        assert_eq!(terminated.exit_code, expected.exit_code, "{name}: {terminated:?}");
        assert_eq!(terminated.reason.as_deref(), Some(expected.reason), "{name}: {terminated:?}");
        if let Some(signal) = expected.signal {
            assert!(terminated.message.as_ref().unwrap().contains(signal), "{name}: {terminated:?}");
        }
        if expected.reason.starts_with("CommandNot") {
            let message = terminated.message.unwrap();
            assert!(message.contains('/') || message.contains("no-such-program-anywhere"), "{name}: {message}");
        }
    }
}

#[tokio::test]
async fn a_failed_attempt_is_followed_by_as_many_as_were_asked_for() {
    let room = room("retries").await;
    let site = room.site("vk-retries").await;
    let count = site.home().join("count");
    let script = format!("echo run >> {0}; test $(wc -l < {0}) -ge 2", count.display());
    let job = room.run("second-time", "vk-retries", json!({"script": script, "backoffLimit": 3})).await;
    let ended = job.ended().await;
    assert_eq!((ended.state, ended.failed, ended.succeeded), (Some(State::Complete), 1, 1), "{ended:?}");
    assert_eq!(std::fs::read_to_string(count).unwrap().lines().count(), 2);
    let names: Vec<_> = ended.attempts.iter().map(|attempt| &attempt.pod).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1]);
}
