//! A node that nobody can reach but on its own machine: status, drain, stop, SIGHUP.

use nix::sys::signal::{Signal, kill};

use crate::support::{FINE, Machine, NO, TIMED_OUT, UNREACHABLE};

#[test]
fn a_node_answers_without_an_api_server() {
    let mut machine = Machine::new();
    machine.start_node(&["--node-name", "vk-alone"]);
    machine.until("the trouble to be told", |machine| {
        machine.says(&["status"]).out.contains("it looks for its API server")
    });
    let status = machine.says(&["status"]).with(NO).out;
    for words in ["vk-alone  Starting", "has not been told of it yet", "trouble", "pipe   answers", "jobs   0"] {
        assert!(status.contains(words), "{words}: {status}");
    }
    let value = machine.says(&["status", "-o", "json"]).with(NO).json();
    assert_eq!((&value["running"], &value["ready"]), (&true.into(), &false.into()));
    assert_eq!(value["health"]["vk-alone"], "Starting");
    assert_eq!(value["node"]["pid"], machine.pid().as_raw());
    machine.says(&["stop", "--keep-jobs"]).with(FINE);
    machine.says(&["status"]).with(UNREACHABLE);
}

#[test]
fn a_node_is_drained_until_that_is_taken_back() {
    let mut machine = Machine::new();
    machine.start_node(&["--node-name", "vk-drained"]);
    let job = machine.run("job", "exec sleep 600\n");
    let drained = machine.says(&["drain", "--reason", "new disks", "--timeout", "0"]).with(TIMED_OUT);
    assert!(drained.err.contains("1 job still runs"), "{drained:?}");
    assert!(machine.says(&["status"]).with(NO).out.contains("drained since"));
    // A restart changes nothing of that, and not for the job.
    machine.says(&["stop", "--keep-jobs"]).with(FINE);
    machine.start_node(&["--node-name", "vk-drained"]);
    let value = machine.says(&["status", "-o", "json"]).with(NO).json();
    assert_eq!((&value["node"]["drain"]["reason"], &value["jobsRunning"]), (&"new disks".into(), &1.into()));
    kill(nix::unistd::Pid::from_raw(job), Signal::SIGKILL).unwrap();
    machine.says(&["drain"]).with(FINE);
    machine.says(&["drain", "--undo"]).with(FINE);
    assert!(!machine.says(&["status"]).with(NO).out.contains("drained since"));
    machine.says(&["stop", "--keep-jobs"]).with(FINE);
}

/// Not even registered, it has nothing to tell: it ends at once.
#[test]
fn a_node_that_is_stopped_ends_well() {
    let mut machine = Machine::new();
    machine.start_node(&["--node-name", "vk-stopped"]);
    let stopped = machine.says(&["stop", "-o", "json"]).with(FINE).json();
    assert_eq!((&stopped["stopped"], &stopped["jobsKept"]), (&true.into(), &false.into()));
    assert!(machine.last().wait().unwrap().success());
}

#[test]
fn a_node_reads_its_file_again_when_it_is_told() {
    let mut machine = Machine::new();
    let file = machine.file("hostpipe/node.yaml", "version: 1\nnodeName: vk-again\nlabels: {rack: a}\n");
    machine.start_node(&[]);
    assert!(
        machine.says(&["config", "diff", "--kubelet-port", "0", "--kubeconfig", "node.kubeconfig"]).code != UNREACHABLE
    );
    let again = |machine: &mut Machine, text: &str, words: &str| {
        std::fs::write(&file, text).unwrap();
        let pid = machine.pid();
        kill(pid, Signal::SIGHUP).unwrap();
        machine.until(words, |machine| machine.log().contains(words));
    };
    again(
        &mut machine,
        "version: 1\nnodeName: vk-again\nlabels: {rack: b}\nmaxPods: 7\nlog: debug\n",
        "now in force: labels.rack, maxPods, log",
    );
    let value = machine.says(&["status", "-o", "json"]).json();
    assert_eq!(value["node"]["log"], "debug");
    again(
        &mut machine,
        "version: 1\nnodeName: vk-again\nlabels: {rack: b}\nmaxPods: 7\nlog: debug\naddress: 10.0.0.7\n",
        "with the next start only: address",
    );
    again(&mut machine, "version: 1\nmaxPod: 7\n", "did you mean \"maxPods\"?");
    // What it said before is in force, and what waits is not.
    let shown = machine.says(&["status", "-o", "json"]).json();
    assert_eq!(shown["node"]["log"], "debug");
    machine.says(&["stop", "--keep-jobs"]).with(FINE);
}
