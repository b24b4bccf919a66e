//! The plugin as kubectl finds it: on the PATH, with completion and manual pages.

use std::process::Command;
use std::time::{Duration, Instant};

use vk_cmd_e2e::exec;
use vk_cmd_e2e::scratch::Scratch;

use super::Plugin;
use crate::fixture::SOON;
use crate::ground::room;

/// The longest that it may take to start.
const START: Duration = Duration::from_millis(50);

#[tokio::test]
async fn kubectl_runs_it_and_completes_its_words() {
    let room = room("cli-kubectl").await;
    let plugin = Plugin::of(&room).await;
    plugin.says(&["run", "-w", "vk-cli-nobody", "--name", "waits-for-ever", "--", "true"]).await;
    room.created("waits-for-ever").until("to be looked at", |status| status.state.is_some()).await;
    let scratch = Scratch::new("vk-cli-").unwrap();
    for name in ["kubectl-cmdjob", "kubectl_complete-cmdjob"] {
        std::os::unix::fs::symlink(&plugin.program, scratch.path().join(name)).unwrap();
    }
    let usual = std::env::var_os("PATH").unwrap();
    let path = std::iter::once(scratch.path().to_owned()).chain(std::env::split_paths(&usual));
    let path = std::env::join_paths(path).unwrap();
    let kubectl = |words: &[&str]| {
        let mut kubectl = Command::new(room.ground.plane.cluster().kubectl_path());
        kubectl.args(words).env("PATH", &path).env("KUBECONFIG", room.ground.plane.kubeconfig());
        exec::text(kubectl, SOON)
    };
    assert!(kubectl(&["cmdjob", "version"]).await.unwrap().starts_with("kubectl-cmdjob "));
    let listed = kubectl(&["cmdjob", "list", "-n", "cli-kubectl"]).await.unwrap();
    assert!(listed.contains("waits-for-ever   Waiting") && listed.contains("no vk-cmd node has the name"), "{listed}");
    for (words, expected) in [
        (vec!["lo"], "logs\t"),
        (vec!["logs", "-n", "cli-kubectl", ""], "waits-for-ever\tWaiting: no vk-cmd node"),
        (vec!["logs", "-n", "cli-kubectl", "waits"], "waits-for-ever\t"),
        (vec!["run", "--no"], "--node"),
        (vec!["list", "-o", ""], "yaml\t"),
        (vec!["list", "-n", "cli-kub"], "cli-kubectl"),
    ] {
        let found = kubectl(&[&["__complete", "cmdjob"][..], &words[..]].concat()).await.unwrap();
        assert!(found.contains(expected) && found.trim_end().ends_with(":4"), "{words:?}: {found}");
    }
    // Who cannot be asked completes nothing, and says nothing.
    let mut alone = Command::new(scratch.path().join("kubectl_complete-cmdjob"));
    alone.args(["logs", "--kubeconfig", "/does/not/exist", ""]);
    let nothing = exec::output(alone, SOON).await.unwrap();
    assert!(nothing.stderr.is_empty() && nothing.stdout.ends_with(b":4\n"), "{nothing:?}");
}

#[tokio::test]
async fn it_starts_at_once_and_asks_nobody() {
    let program = vk_cmd_e2e::binaries::plugin().await.unwrap();
    for words in [["--help", "--"], ["version", "--kubeconfig=/does/not/exist"]] {
        let mut shortest = Duration::MAX;
        for _ in 0..20 {
            let mut command = Command::new(program);
            command
                .args(words.iter().filter(|word| **word != "--"))
                .env("KUBECONFIG", "/does/not/exist")
                .env("HOME", "/does/not/exist");
            let begun = Instant::now();
            let output = command.output().unwrap();
            shortest = shortest.min(begun.elapsed());
            assert!(output.status.success(), "{words:?}: {output:?}");
        }
        // The shortest of several: the machine is busy with other tests.
        println!("kubectl-cmdjob {}: {shortest:?}", words[0]);
        assert!(shortest < START, "{words:?} took {shortest:?}");
    }
}

#[tokio::test]
async fn manual_pages_are_written_for_every_command() {
    let program = vk_cmd_e2e::binaries::plugin().await.unwrap();
    let scratch = Scratch::new("vk-cli-").unwrap();
    let mut command = Command::new(program);
    command.arg("man").arg(scratch.path());
    exec::text(command, SOON).await.unwrap();
    for page in ["kubectl-cmdjob.1", "kubectl-cmdjob-run.1", "kubectl-cmdjob-doctor.1", "kubectl-cmdjob-requeue.1"] {
        let text = std::fs::read_to_string(scratch.path().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
}
