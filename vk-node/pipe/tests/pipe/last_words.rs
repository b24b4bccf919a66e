//! Last words: the file for them, and what stands in where it is empty.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use vk_task::{End, ErrorReason, MountNamespaces, Origin, TaskSpec, TaskState, TaskView, TerminationMessage};

use crate::Test;
use crate::pods::{mount, name, put, refusal};
use crate::support::{Host, block_on, id, script};

pub(crate) const TESTS: &[Test] = &[
    ("last_words_are_there_with_the_end_and_outlive_the_pipe", file),
    ("last_words_are_no_more_than_may_be", long),
    ("the_end_of_the_output_stands_in_for_last_words", fallback),
    ("what_is_no_file_of_last_words_is_not_read", hostile),
    ("last_words_at_a_relative_path", relative),
    ("last_words_at_an_absolute_path", absolute),
];

fn asking(path: &str, fallback_to_logs: bool, text: &str) -> TaskSpec {
    let termination_message = Some(TerminationMessage { path: path.into(), fallback_to_logs });
    TaskSpec { own_directory: true, termination_message, ..script(text) }
}

fn usual(text: &str) -> TaskSpec {
    asking(TerminationMessage::DEFAULT_PATH, false, text)
}

/// Runs it to its end; gives what is known of it the very moment it is final.
async fn end(host: &Host, name: &str, spec: &TaskSpec) -> TaskView {
    host.client.start(&id(name), spec).await.unwrap();
    host.until(&id(name), TaskState::is_final).await
}

async fn said(host: &Host, name: &str, spec: &TaskSpec) -> Option<String> {
    end(host, name, spec).await.termination_message
}

fn file() {
    block_on(async {
        let mut host = Host::new().await;
        let mut spec = usual("printf 'last\nwords' > $VK_CMD_TERMINATION_LOG; exit 3");
        let view = end(&host, "t0", &spec).await;
        assert_eq!(view.termination_message.as_deref(), Some("last\nwords"));
        let file = host.pod().join("containers/main/termination-log");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o666);
        // The next run has nothing of it, and takes nothing from it.
        if let Origin::Pod(run) = &mut spec.origin {
            run.restart = 1;
        }
        spec.program = usual("test -e $VK_CMD_TERMINATION_LOG && ! test -s $VK_CMD_TERMINATION_LOG").program;
        let second = end(&host, "t1", &spec).await;
        assert!(matches!(second.state, TaskState::Ended { end: End::Exited { code: 0 }, .. }), "{second:?}");
        assert_eq!(second.termination_message, None);
        // While the pipe is away the shim reads them.
        let text = "until test -e $HOME/go; do sleep 0.01; done; echo later > $VK_CMD_TERMINATION_LOG";
        host.client.start(&id("t2"), &usual(text)).await.unwrap();
        host.running(&id("t2")).await;
        host.kill_pipe();
        fs::write(host.file("go"), "").unwrap();
        host.start_pipe().await;
        let third = host.until(&id("t2"), TaskState::is_final).await;
        assert_eq!(third.termination_message.as_deref(), Some("later\n"));
        host.client.remove_pod(&name("u")).await.unwrap();
        host.kill_pipe();
        host.start_pipe().await;
        assert_eq!(host.client.get(&id("t0")).await.unwrap(), view);
    });
}

fn long() {
    block_on(async {
        let host = Host::new().await;
        let text = "(yes 0123456789 | head -c 100000; echo end) > $VK_CMD_TERMINATION_LOG";
        let message = said(&host, "t", &usual(text)).await.unwrap();
        assert!(message.len() == 4096 && message.ends_with("end\n"), "{message}");
        let text = "i=0; while [ $i -lt 3000 ]; do printf ü; i=$((i+1)); done > $VK_CMD_TERMINATION_LOG; \
                    printf x >> $VK_CMD_TERMINATION_LOG";
        let message = said(&host, "u", &usual(text)).await.unwrap();
        assert_eq!(message, format!("{}x", "ü".repeat(2047)));
    });
}

fn fallback() {
    block_on(async {
        let host = Host::new().await;
        let path = TerminationMessage::DEFAULT_PATH;
        let asks = |text: &str| asking(path, true, text);
        let text = "seq 1000; echo wrong >&2; printf end; exit 1";
        let message = said(&host, "failed", &asks(text)).await.unwrap();
        assert!(message.contains("1000\n") && message.contains("wrong\n") && message.contains("end"), "{message}");
        assert!(message.lines().count() <= 80 && !message.contains("\n900\n"), "{message}");
        let message = said(&host, "wide", &asks("yes $(printf %0100d 7) | head -n 3000; kill -9 $$")).await.unwrap();
        assert!(message.len() == 2048 && message.ends_with("07\n"), "{message}");
        assert_eq!(said(&host, "well", &asks("echo text")).await, None);
        assert_eq!(said(&host, "silent", &asks("exit 1")).await, None);
        let own = asks("echo log; echo own > $VK_CMD_TERMINATION_LOG; exit 1");
        assert_eq!(said(&host, "own", &own).await.as_deref(), Some("own\n"));
        assert_eq!(
            said(&host, "gone", &asks("echo log; rm $VK_CMD_TERMINATION_LOG; exit 1")).await.as_deref(),
            Some("log\n")
        );
        assert_eq!(said(&host, "unasked", &usual("echo log; exit 1")).await, None);
        let missing = TaskSpec { program: crate::support::exec(&["/no/such/program"]).program, ..asks("") };
        let view = end(&host, "missing", &missing).await;
        assert!(matches!(view.state, TaskState::Ended { end: End::NotStarted { .. }, .. }), "{view:?}");
        assert_eq!(view.termination_message, None);
    });
}

fn hostile() {
    block_on(async {
        let host = Host::new().await;
        fs::write(host.file("secret"), "secret").unwrap();
        for (name, made) in [
            ("link", "ln -s $HOME/secret $VK_CMD_TERMINATION_LOG"),
            ("fifo", "mkfifo $VK_CMD_TERMINATION_LOG"),
            ("directory", "mkdir -p $VK_CMD_TERMINATION_LOG/deep && chmod 0 $VK_CMD_TERMINATION_LOG"),
        ] {
            let text = format!("rm $VK_CMD_TERMINATION_LOG && {made}");
            let message = said(&host, name, &usual(&text)).await.unwrap();
            assert!(message.starts_with("Error on reading termination log /"), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        // What it was made of is away before the next run.
        assert_eq!(
            said(&host, "after", &usual("echo fine > $VK_CMD_TERMINATION_LOG")).await.as_deref(),
            Some("fine\n")
        );
        assert_eq!(host.read("secret"), "secret");
    });
}

fn relative() {
    block_on(async {
        let host = Host::new().await;
        let spec = asking("logs/last", false, "echo here > logs/last");
        assert_eq!(said(&host, "t", &spec).await.as_deref(), Some("here\n"));
        let e = refusal(&host, &TaskSpec { own_directory: false, ..spec }).await;
        assert_eq!(e.reason, ErrorReason::Invalid);
        assert!(e.message.contains("no termination message at \"logs/last\""), "{e}");
    });
}

fn absolute() {
    block_on(async {
        let mut host = Host::of_site("policy: {mountNamespaces: false}");
        host.start_pipe().await;
        let spec = asking("/vk-logs/last", false, "echo there > /vk-logs/last");
        let e = refusal(&host, &spec).await;
        assert_eq!(e.reason, ErrorReason::Denied);
        assert!(e.message.contains("/vk-logs/last would need a mount namespace"), "{e}");
        host.write_site("policy: {}");
        if host.client.info().await.unwrap().mount_namespaces != MountNamespaces::Available {
            println!("left out: there are no mount namespaces here");
            return;
        }
        assert_eq!(said(&host, "t", &spec).await.as_deref(), Some("there\n"));
        // At the default path where there is a namespace anyway.
        put(&host, "v", &crate::pods::files(&[("a", "1")])).await;
        let text = "cat /vk-data/a > /dev/termination-log && echo x > /dev/null && ls /dev/fd > /dev/null";
        let spec = TaskSpec { mounts: vec![mount("v", "/vk-data")], ..usual(text) };
        let view = end(&host, "u", &spec).await;
        assert!(matches!(view.state, TaskState::Ended { end: End::Exited { code: 0 }, .. }), "{view:?}");
        assert_eq!(view.termination_message.as_deref(), Some("1"));
    });
}
