//! The audit log: each start, refusal and end is in it at least once, whoever is killed when.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use vk_pipe::ClientError;
use vk_record::points::VARIABLE;
use vk_site::audit::{Entry, Event};
use vk_task::{End, ErrorReason, Origin, Signal, TaskId};

use crate::Test;
use crate::support::{Host, block_on, eventually, exec, id, script};

pub(crate) const TESTS: &[Test] = &[
    ("what_is_asked_and_how_it_ends_is_in_the_audit_log", told),
    ("an_end_is_in_the_audit_log_whenever_the_pipe_is_killed", ends),
    ("a_task_is_in_the_audit_log_before_it_is_started", starts),
    ("what_cannot_be_written_down_is_not_started_and_its_end_is_told", unwritable),
];

fn entries_in(path: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A line that is being written has no end yet.
    text.split_inclusive('\n').filter(|l| l.ends_with('\n')).map(|l| serde_json::from_str(l).unwrap()).collect()
}

pub(crate) fn entries(host: &Host) -> Vec<Entry> {
    entries_in(&host.directory().join("audit.log"))
}

/// The kinds of a task's entries, in order.
fn story(host: &Host, id: &TaskId) -> Vec<&'static str> {
    let word = |entry: Entry| match entry.event {
        Event::Accepted { again: false, .. } => "accepted",
        Event::Accepted { again: true, .. } => "accepted again",
        Event::Denied { .. } => "denied",
        Event::Ended { .. } => "ended",
        Event::Unknown { .. } => "unknown",
        Event::Stream { .. } => "stream",
    };
    entries(host).into_iter().filter(|entry| entry.task == *id).map(word).collect()
}

async fn until_story(host: &Host, id: &TaskId, wanted: &[&str]) {
    eventually(&format!("{wanted:?}"), || story(host, id) == wanted).await;
}

fn is_marked(host: &Host, id: &TaskId) -> bool {
    host.directory().join("tasks").join(id.as_str()).join("audited").exists()
}

fn told() {
    block_on(async {
        let mut host = Host::of_site("policy: {namespaces: {deny: [bad]}, dropEnv: [X]}");
        host.start_pipe().await;
        let mut asked = crate::support::with_env(script("# first\nkill -TERM $$"), "X", "1");
        host.client.start(&id("t"), &asked).await.unwrap();
        // It is there as soon as the start is answered.
        assert_eq!(story(&host, &id("t"))[0], "accepted");
        host.ended(&id("t")).await;
        until_story(&host, &id("t"), &["accepted", "ended"]).await;
        let Origin::Pod(run) = &mut asked.origin else { panic!() };
        run.namespace = "bad".into();
        host.client.start(&id("u"), &asked).await.unwrap_err();
        assert_eq!(story(&host, &id("u")), ["denied"]);

        let all = entries(&host);
        let Event::Accepted { what, told, .. } = &all[0].event else { panic!("{all:?}") };
        assert_eq!((what.argv[0].as_str(), what.script.as_ref().unwrap().first_line.as_str()), ("/bin/sh", "# first"));
        assert_eq!(told, &["the variable X is not passed: the site's file drops it"]);
        assert!(matches!(&all[0].by, Origin::Pod(run) if run.namespace == "default" && run.pod == "p"));
        let Event::Ended { end, .. } = &all[1].event else { panic!("{all:?}") };
        assert_eq!(*end, End::Signaled { signal: Signal(15), core_dumped: false });
        let Event::Denied { reasons, .. } = &all[2].event else { panic!("{all:?}") };
        assert_eq!(reasons, &["pods of the namespace bad are not allowed"]);
        let mode = fs::metadata(host.directory().join("audit.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    });
}

fn ends() {
    block_on(async {
        // Killed after the end has been told, and before it is in the log.
        let mut host = Host::without_pipe();
        fs::create_dir(host.file("points")).unwrap();
        let mut command = host.pipe_command();
        command.env(VARIABLE, format!("EndTold@{}", host.file("points").display()));
        host.spawn_pipe_as(command);
        host.wait_for_pipe().await;
        let told = id("told");
        host.client.start(&told, &exec(&["true"])).await.unwrap();
        eventually("the point", || host.file("points").join("EndTold").exists()).await;
        assert_eq!(story(&host, &told), ["accepted"]);
        host.kill_pipe();
        host.start_pipe().await;
        until_story(&host, &told, &["accepted", "ended"]).await;
        // Killed while the task ran.
        let ran = id("ran");
        host.client.start(&ran, &script("while [ ! -e $HOME/go ]; do sleep 0.01; done; exit 3")).await.unwrap();
        host.running(&ran).await;
        host.kill_pipe();
        fs::write(host.file("go"), "").unwrap();
        eventually("it ends", || host.directory().join("tasks/ran/exit.json").exists()).await;
        host.start_pipe().await;
        until_story(&host, &ran, &["accepted", "ended"]).await;
        // Once it is marked, nobody writes it again.
        eventually("the marks", || is_marked(&host, &told) && is_marked(&host, &ran)).await;
        for _ in 0..2 {
            host.kill_pipe();
            host.start_pipe().await;
            assert_eq!(host.run("after", "true").await, End::Exited { code: 0 });
            eventually("the next end", || story(&host, &id("after")).contains(&"ended")).await;
            host.client.remove(&id("after")).await.unwrap();
        }
        assert_eq!(story(&host, &told), ["accepted", "ended"]);
        assert_eq!(story(&host, &ran), ["accepted", "ended"]);
    });
}

fn starts() {
    block_on(async {
        let mut host = Host::without_pipe();
        fs::create_dir(host.file("points")).unwrap();
        let mut command = host.pipe_command();
        command.env(VARIABLE, format!("TaskDirDurable@{}", host.file("points").display()));
        host.spawn_pipe_as(command);
        host.wait_for_pipe().await;
        let (client, task) = (host.client.clone(), id("t"));
        let asking =
            tokio::spawn(
                async move { client.start(&id("t"), &script("cp $HOME/hostpipe/audit.log $HOME/seen")).await },
            );
        eventually("the point", || host.file("points").join("TaskDirDurable").exists()).await;
        assert_eq!(story(&host, &task), Vec::<&str>::new());
        host.kill_pipe();
        asking.await.unwrap().unwrap_err();
        host.start_pipe().await;
        assert_eq!(host.ended(&task).await, End::Exited { code: 0 });
        // What the task itself saw when it ran.
        assert!(entries_in(&host.file("seen")).iter().any(|entry| entry.task == task));
        until_story(&host, &task, &["accepted again", "ended"]).await;
    });
}

fn unwritable() {
    block_on(async {
        let mut host = Host::of_site("policy: {}");
        host.start_pipe().await;
        let task = id("t");
        host.client.start(&task, &script("while [ ! -e $HOME/go ]; do sleep 0.01; done")).await.unwrap();
        host.running(&task).await;
        let elsewhere = host.file("elsewhere");
        host.write_site(&format!("audit: {{file: {}/audit.log}}", elsewhere.display()));
        let refused = |answer| match answer {
            Err(ClientError::Refused(e)) => e,
            other => panic!("{other:?}"),
        };
        let e = refused(host.client.start(&id("u"), &script("touch $HOME/ran")).await.map(drop));
        assert!(e.message.contains("audit log"), "{e}");
        assert_eq!(fs::read_dir(host.directory().join("tasks")).unwrap().count(), 1);
        // The end is told all the same; only its records must stay.
        fs::write(host.file("go"), "").unwrap();
        assert_eq!(host.ended(&task).await, End::Exited { code: 0 });
        let e = refused(host.client.remove(&task).await.map(drop));
        assert_eq!(e.reason, ErrorReason::Conflict);
        assert!(e.message.contains("not in the audit log yet"), "{e}");
        fs::create_dir(&elsewhere).unwrap();
        host.client.remove(&task).await.unwrap();
        let all = entries_in(&elsewhere.join("audit.log"));
        assert!(matches!(&all[..], [Entry { event: Event::Ended { .. }, task: t, .. }] if *t == task), "{all:?}");
        assert!(!host.file("ran").exists());
        host.client.start(&id("u"), &script("touch $HOME/ran")).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), host.ended(&id("u"))).await.unwrap();
    });
}
