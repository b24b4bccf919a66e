//! What `vk-node` says to somebody who starts it wrongly.

#![allow(clippy::unwrap_used, reason = "a test says so that it failed")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What it says on standard error when it is started like this, with nothing else in its environment.
fn complaint(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vk-node"));
    let output = command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_node_needs_a_name_and_takes_it_from_the_flag_or_the_original_variable() {
    assert!(complaint(&["run"], &[]).contains("--node-name"));
    assert!(complaint(&["run", "--node-name", "node-1"], &[]).contains("does not begin with \"vk-\""));
    assert!(complaint(&["run"], &[("JOBNAME", "node-2")]).contains("\"node-2\" does not begin with \"vk-\""));
}

/// All at once, each with its line, and nothing is started.
#[test]
fn a_wrong_file_or_variable_is_told_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.yaml");
    std::fs::write(&file, "version: 1\nmaxPod: 3\nport: -1\n").unwrap();
    let said = complaint(&["run", "--config", file.to_str().unwrap()], &[]);
    assert!(said.contains("line 2") && said.contains("did you mean \"maxPods\"?") && said.contains("line 3"), "{said}");
    let said = complaint(&["run"], &[("NODENAME", "node-3"), ("JIRIAF_WALLTIME", "1h"), ("HOME", "/")]);
    assert!(said.contains("$NODENAME: \"node-3\"") && said.contains("$JIRIAF_WALLTIME"), "{said}");
    assert!(complaint(&["run", "--config", "/no/such/file"], &[]).contains("/no/such/file"));
}

#[test]
fn a_missing_home_or_kubeconfig_is_named() {
    let relative = complaint(&["pipe"], &[("HOME", "not/absolute")]);
    assert!(relative.contains("--hostpipe"), "{relative}");
    let directory = tempfile::tempdir().unwrap();
    let hostpipe = directory.path().join("hostpipe");
    let arguments = ["run", "--node-name", "vk-a", "--kubeconfig", "/no/such/file", "--hostpipe"];
    let said = complaint(&[&arguments[..], &[hostpipe.to_str().unwrap()]].concat(), &[("PATH", "/usr/bin:/bin")]);
    assert!(said.contains("/no/such/file"), "{said}");
}

/// Also while it still waits for somebody: as the first process of a container, nothing but its own handler ends it.
#[test]
fn a_node_that_waits_for_its_pipe_can_be_ended() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vk-node"));
    command.args(["run", "--node-name", "vk-a", "--pipe", "external", "--hostpipe"]).arg(directory.path());
    let mut node = command.env_clear().stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(node.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(log.any(|line| line.contains("no pipe answers")), "it has ended by itself");
    kill(Pid::from_raw(node.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(log.any(|line| line.contains("told to end")));
    assert!(node.wait().unwrap().success());
}

/// The points and faults of the crash tests are in no program but those tests.
#[test]
fn what_only_tests_need_is_in_tests_only() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--package", "vk-node", "--edges", "normal,build", "--format", "{p} {f}"]);
    let output = cargo.args(["--prefix", "none"]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let records: Vec<_> = text.lines().filter(|line| line.starts_with("vk-record ")).collect();
    assert!(!records.is_empty() && !records.iter().any(|line| line.contains("testing")), "{records:?}");
}

#[test]
fn a_wrong_log_filter_is_named() {
    assert!(complaint(&["--log", "vk_node=loud", "pipe"], &[]).contains("vk_node=loud"));
}
