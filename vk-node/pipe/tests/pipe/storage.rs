//! A pipe's directory on a file system that other hosts share, and records elsewhere.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use vk_task::End;

use crate::Test;
use crate::support::{FILE_SYSTEM_VARIABLE, Host, RECORDS_VARIABLE, block_on, eventually, id, script};

pub(crate) const TESTS: &[Test] = &[
    ("on_a_shared_file_system_the_records_go_to_local_disk", moved),
    ("records_go_where_they_are_told_to_and_are_not_forgotten_there", named),
    ("a_directory_that_another_host_has_is_not_taken", other_host),
    ("a_directory_that_everybody_may_replace_is_refused", open_parent),
];

fn shared(host: &Host) -> Command {
    let mut command = host.pipe_command();
    command.env(FILE_SYSTEM_VARIABLE, "shared");
    command
}

/// What a pipe says that does not start.
fn refusal(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

fn moved() {
    block_on(async {
        let mut host = Host::without_pipe();
        host.spawn_pipe_as(shared(&host));
        host.wait_for_pipe().await;
        let place = host.client.info().await.unwrap().records;
        assert_eq!(place.moved_off.as_deref(), Some("nfs"));
        let uid = rustix::process::geteuid().as_raw();
        assert!(place.directory.starts_with(format!("/var/tmp/vk-cmd-{uid}")), "{place:?}");
        assert_eq!(host.run("a", "echo said").await, End::Exited { code: 0 });
        fs::OpenOptions::new()
            .write(true)
            .open(host.directory().join("vk-cmd"))
            .and_then(|mut fifo| std::io::Write::write_all(&mut fifo, b"touch $HOME/line; echo word\n"))
            .unwrap();
        eventually("a line has run", || host.file("line").exists()).await;
        // What people look at where they always have.
        let log = fs::read_to_string(host.directory().join("tasks/a/log")).unwrap();
        assert!(log.contains("said"), "{log}");
        eventually("what lines write is there", || {
            fs::read_to_string(host.directory().join("pipeline.out")).is_ok_and(|text| text.contains("word"))
        })
        .await;
        for name in ["tasks/a/exit.json", "trash", "audit.log", "pipe.lock"] {
            assert!(place.directory.join(name).exists(), "{name}");
        }
        assert!(!host.directory().join("audit.log").exists());
        // The next pipe finds them, and one that is told nothing of it does not begin anew unasked.
        host.kill_pipe();
        let words = refusal(host.pipe_command());
        assert!(words.contains("--records"), "{words}");
        host.spawn_pipe_as(shared(&host));
        host.wait_for_pipe().await;
        assert_eq!(host.ended(&id("a")).await, End::Exited { code: 0 });
        host.kill_pipe();
        fs::remove_dir_all(place.directory).unwrap();
    });
}

fn named() {
    block_on(async {
        let mut host = Host::without_pipe();
        let records = host.file("records");
        let mut command = host.pipe_command();
        command.env(RECORDS_VARIABLE, &records);
        host.spawn_pipe_as(command);
        host.wait_for_pipe().await;
        assert_eq!(host.client.info().await.unwrap().records.moved_off, None);
        host.client.start(&id("a"), &script("exit 3")).await.unwrap();
        assert_eq!(host.ended(&id("a")).await, End::Exited { code: 3 });
        assert!(records.join("tasks/a/exit.json").exists());
    });
}

fn other_host() {
    block_on(async {
        let mut host = Host::without_pipe();
        fs::create_dir(host.directory()).unwrap();
        let claim = host.directory().join("pipe.host");
        fs::write(&claim, r#"{"host":"elsewhere","bootId":"b","pid":7}"#).unwrap();
        let words = refusal(shared(&host));
        assert!(words.contains("pipe of host elsewhere, process 7, has it"), "{words}");
        assert!(!host.directory().join("vk-cmd").exists());
        // One that has been silent for long is gone.
        let file = fs::File::options().write(true).open(&claim).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(100)).unwrap();
        host.spawn_pipe_as(shared(&host));
        host.wait_for_pipe().await;
        let now = fs::read_to_string(&claim).unwrap();
        assert!(now.contains(&host.client.info().await.unwrap().hostname), "{now}");
        let place = host.client.info().await.unwrap().records.directory;
        host.kill_pipe();
        // A pipe of this host that was killed is no obstacle.
        host.spawn_pipe_as(shared(&host));
        host.wait_for_pipe().await;
        host.kill_pipe();
        fs::remove_dir_all(place).unwrap();
    });
}

fn open_parent() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::without_pipe();
    let parent = host.file("open");
    fs::create_dir(&parent).unwrap();
    fs::set_permissions(&parent, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("pipe").arg(parent.join("hostpipe")).env("HOME", host.home());
    let words = refusal(command);
    assert!(words.contains("can be written to by everybody"), "{words}");
}
