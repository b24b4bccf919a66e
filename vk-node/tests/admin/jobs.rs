//! `jobs`, `logs`, `status`: with the pipe, and without.

use crate::support::{FAILED, FINE, Machine, UNREACHABLE};

#[test]
fn what_runs_here_is_shown_with_the_pipe_and_without() {
    let mut machine = Machine::new();
    machine.start_pipe();
    assert!(machine.says(&["jobs"]).with(FINE).out.contains("nothing runs here"));
    let pid = machine.run("sleeper", "# a comment\necho hello; echo oh >&2; exec sleep 600\n");
    machine.run("quick", "exec sleep 600 # quick\n");
    machine.until("the output to be there", |machine| machine.says(&["logs", "sleeper"]).out.contains("oh"));

    let text = machine.says(&["jobs"]).with(FINE).out;
    let row = text.lines().find(|line| line.contains("sleeper")).unwrap();
    for word in ["team-a", "main", "Running", &pid.to_string(), "echo hello"] {
        assert!(row.contains(word), "{word}: {text}");
    }
    assert_eq!(machine.says(&["jobs", "-n", "team-b", "-o", "json"]).with(FINE).json()["jobs"], serde_json::json!([]));
    let logs = machine.says(&["logs", "team-a/sleeper", "--stream", "stdout"]).with(FINE);
    assert_eq!(logs.out, "hello\n");
    assert!(machine.says(&["logs", "nobody"]).with(FAILED).err.contains("vk-node jobs --all"));

    // One that has ended is shown where that is wanted.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    machine.until("the job to end", |machine| !machine.says(&["jobs"]).out.contains("sleeper"));
    let all = machine.says(&["jobs", "--all", "-o", "json"]).with(FINE).json();
    let ended = all["jobs"].as_array().unwrap().iter().find(|job| job["pod"] == "sleeper").unwrap().clone();
    assert_eq!((&ended["state"], &ended["exitCode"]), (&"Ended".into(), &137.into()));

    // Without the pipe, the records say what they know.
    machine.last().kill().unwrap();
    machine.last().wait().unwrap();
    let orphaned = machine.says(&["jobs", "--all", "-o", "json"]).with(FINE);
    let value = orphaned.json();
    assert_eq!(value["from"], "records");
    assert_eq!(value["jobs"].as_array().unwrap().len(), 2);
    assert!(orphaned.err.contains("what the records say"), "{orphaned:?}");
    let logs = machine.says(&["logs", "quick"]).with(UNREACHABLE);
    assert!(logs.err.contains("/tasks/uid-quick_main_0/log"), "{logs:?}");
    let status = machine.says(&["status"]).with(UNREACHABLE).out;
    assert!(status.contains("pipe   does not answer") && status.contains("jobs   1"), "{status}");
}
