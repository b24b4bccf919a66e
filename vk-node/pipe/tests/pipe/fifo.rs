//! The FIFO of the original.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::Command;

use vk_task::{End, Origin, TaskState, TaskView};

use crate::Test;
use crate::support::{Host, block_on, eventually};

pub(crate) const TESTS: &[Test] = &[
    ("a_line_runs_as_it_did_in_the_original", original),
    ("lines_are_isolated_and_parallel", isolated),
    ("a_line_that_is_garbage_spoils_no_other", garbage),
    ("a_file_in_place_of_the_fifo_is_refused", no_fifo),
];

fn write(host: &Host, bytes: &[u8]) {
    OpenOptions::new().write(true).open(host.directory().join("vk-cmd")).unwrap().write_all(bytes).unwrap();
}

/// All tasks of the FIFO, when there are so many and all have ended.
async fn ended(host: &Host, wanted: usize) -> Vec<TaskView> {
    loop {
        let mut tasks = host.client.list().await.unwrap();
        tasks.retain(|t| matches!(t.origin, Origin::Fifo { .. }) && t.state.is_final());
        if tasks.len() >= wanted {
            return tasks;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn original() {
    block_on(async {
        let host = Host::new().await;
        // As a pod's command does it, shell and all.
        let text = "echo 'echo hello > $HOME/out.txt && ls -l $HOME/out.txt' > $HOME/hostpipe/vk-cmd";
        assert_eq!(host.run("writer", text).await, End::Exited { code: 0 });
        let tasks = ended(&host, 1).await;
        assert!(matches!(&tasks[0].state, TaskState::Ended { end: End::Exited { code: 0 }, .. }), "{tasks:?}");
        assert_eq!(fs::read_to_string(host.file("out.txt")).unwrap(), "hello\n");
        let log = fs::read_to_string(host.directory().join("tasks").join(tasks[0].id.as_str()).join("log")).unwrap();
        assert!(log.contains("out.txt"), "{log}");
    });
}

fn isolated() {
    block_on(async {
        let host = Host::new().await;
        // The first waits for the second: one after the other they would never end.
        write(&host, b"cd /; export A=b; while [ ! -e $HOME/second ]; do sleep 0.01; done; exit 3\n");
        write(
            &host,
            b"pwd > $HOME/pwd; echo \"A=$A\" > $HOME/env; touch $HOME/second\n(sleep 0.1; touch $HOME/late) &\n",
        );
        let mut codes: Vec<_> = ended(&host, 3)
            .await
            .into_iter()
            .map(|t| match t.state {
                TaskState::Ended { end, .. } => end.exit_code(),
                other => panic!("{other:?}"),
            })
            .collect();
        codes.sort_unstable();
        assert_eq!(codes, [0, 0, 3]);
        assert_eq!(fs::read_to_string(host.file("pwd")).unwrap().trim(), host.home().to_str().unwrap());
        assert_eq!(fs::read_to_string(host.file("env")).unwrap(), "A=\n");
        // The task went on until the last of its processes had ended.
        assert!(host.file("late").exists());
    });
}

fn garbage() {
    block_on(async {
        let host = Host::new().await;
        write(&host, b"\xff\xfe\n\n   \n");
        write(&host, &[b'x'; (1 << 20) + 4096]);
        write(&host, b"\ntouch $HOME/fine\n");
        eventually("the good line has run", || host.file("fine").exists()).await;
        assert_eq!(ended(&host, 1).await.len(), 1);
    });
}

fn no_fifo() {
    let host = Host::without_pipe();
    fs::create_dir(host.directory()).unwrap();
    fs::write(host.directory().join("vk-cmd"), "").unwrap();
    let run = |mut command: Command| command.output().unwrap();
    let output = run(host.pipe_command());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains("is no FIFO"), "{words}");
}
