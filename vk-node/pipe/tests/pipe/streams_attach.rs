//! Taking part in a task's own input and output.

use std::time::{Duration, Instant};

use vk_pipe::{StreamInput, StreamOutput};
use vk_task::stream::TerminalSize;
use vk_task::{End, ErrorReason, LogQuery, Signal, Stdin, Stdio, TaskId, TaskSpec};

use crate::Test;
use crate::streams::{all, ended, exited, failure, until};
use crate::support::{Host, block_on, id, script, stop_in};

pub(crate) const TESTS: &[Test] = &[
    ("attach_sees_what_comes_after", after),
    ("attach_to_an_input_that_is_there_once", once),
    ("attach_to_an_input_that_stays_open", open),
    ("attach_without_input_is_refused_one", no_input),
    ("attach_sees_a_prompt_at_once", prompt),
    ("attach_loses_nothing_for_being_slow", slow),
    ("attach_twice", twice),
    ("attach_to_a_terminal", terminal),
    ("attach_ends_with_the_task", ends),
];

fn with_input(mut spec: TaskSpec, stdin: Stdin, terminal: bool) -> TaskSpec {
    spec.stdio = Stdio { stdin, terminal };
    spec
}

/// A host with a task that runs.
async fn with_task(text: &str, stdin: Stdin, terminal: bool) -> (Host, TaskId) {
    let host = Host::new().await;
    let id = id("main");
    host.client.start(&id, &with_input(script(text), stdin, terminal)).await.unwrap();
    host.running(&id).await;
    (host, id)
}

async fn attach(host: &Host, id: &TaskId, stdin: bool) -> (StreamInput, StreamOutput) {
    host.client.attach(id, stdin, true, true, "tester").await.unwrap().split()
}

/// Waits until the log has this text.
async fn logged(host: &Host, id: &TaskId, text: &str) {
    use futures::StreamExt;
    let mut stream = host.client.logs(id, &LogQuery { follow: true, ..LogQuery::default() }).await.unwrap();
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains(text) {
        got.extend_from_slice(&stream.next().await.unwrap().unwrap());
    }
}

fn after() {
    block_on(async {
        let text = "echo before; read x; echo \"after $x\"; echo error >&2; exit 3";
        let (host, id) = with_task(text, Stdin::Once, false).await;
        logged(&host, &id, "before\n").await;
        let (mut input, mut output) = attach(&host, &id, true).await;
        input.write("typed\n".into()).await.unwrap();
        let got = all(&mut output).await;
        assert_eq!((got.text().as_str(), got.stderr.as_slice()), ("after typed\n", &b"error\n"[..]));
        assert_eq!(got.end, exited(3));
    });
}

fn once() {
    block_on(async {
        let (host, id) = with_task("cat; echo end; read y; echo \"$?\"; sleep 1000", Stdin::Once, false).await;
        let (mut input, mut output) = attach(&host, &id, true).await;
        let big = "x".repeat(300_000);
        input.write(format!("{big}\n").into()).await.unwrap();
        input.close().await.unwrap();
        let got = until(&mut output, "1\n").await;
        assert!(got.text() == format!("{big}\nend\n1\n"));
        // It was there once.
        let (_input, mut output) = attach(&host, &id, true).await;
        let error = failure(all(&mut output).await.end);
        assert!(error.reason == ErrorReason::Conflict && error.message.contains("stdinOnce"), "{error:?}");
        // To hang up is to have done with it as well.
        let other = crate::support::id("other");
        host.client.start(&other, &with_input(script("cat; exit 5"), Stdin::Once, false)).await.unwrap();
        host.running(&other).await;
        let (mut input, mut output) = attach(&host, &other, true).await;
        input.write("some\n".into()).await.unwrap();
        until(&mut output, "some\n").await;
        drop((input, output));
        assert_eq!(host.ended(&other).await, End::Exited { code: 5 });
    });
}

fn open() {
    block_on(async {
        let (host, id) = with_task("while read x; do echo \"got $x\"; done; echo end", Stdin::Open, false).await;
        for word in ["one", "two"] {
            let (mut input, mut output) = attach(&host, &id, true).await;
            input.write(format!("{word}\n").into()).await.unwrap();
            input.close().await.unwrap();
            assert_eq!(until(&mut output, "\n").await.text(), format!("got {word}\n"));
        }
        // Across a pipe that was killed, too: it is the shim that holds it open.
        let mut host = host;
        host.kill_pipe();
        host.start_pipe().await;
        let (mut input, mut output) = attach(&host, &id, true).await;
        input.write("three\n".into()).await.unwrap();
        assert_eq!(until(&mut output, "\n").await.text(), "got three\n");
    });
}

fn no_input() {
    block_on(async {
        let (host, id) = with_task("cat; echo end; sleep 1000", Stdin::Null, false).await;
        logged(&host, &id, "end\n").await;
        let (_input, mut output) = attach(&host, &id, true).await;
        let error = failure(all(&mut output).await.end);
        assert!(error.reason == ErrorReason::Conflict && error.message.contains("standard input"), "{error:?}");
        let (_input, mut output) = host.client.attach(&id, false, false, false, "").await.unwrap().split();
        assert_eq!(failure(all(&mut output).await.end).reason, ErrorReason::Invalid);
    });
}

fn prompt() {
    block_on(async {
        let (host, id) = with_task("while read x; do printf '%s? ' \"$x\"; done", Stdin::Open, false).await;
        let (mut input, mut output) = attach(&host, &id, true).await;
        let begin = Instant::now();
        for n in 0..50 {
            input.write(format!("{n}\n").into()).await.unwrap();
            until(&mut output, &format!("{n}? ")).await;
        }
        // Nobody looks on: each would be held back for a tenth of a second.
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    });
}

fn slow() {
    block_on(async {
        let (host, id) = with_task("read x; seq 1 300000; exit 2", Stdin::Open, false).await;
        let (mut input, mut output) = attach(&host, &id, true).await;
        input.write("go\n".into()).await.unwrap();
        // The task does not wait for those who look on.
        assert_eq!(host.ended(&id).await, End::Exited { code: 2 });
        let got = all(&mut output).await;
        assert!(got.text() == (1..=300_000).map(|n| format!("{n}\n")).collect::<String>());
        assert_eq!(got.end, exited(2));
    });
}

fn twice() {
    block_on(async {
        let (host, id) = with_task("while read x; do echo \"got $x\"; done", Stdin::Open, false).await;
        let (mut first_input, mut first) = attach(&host, &id, true).await;
        let (mut second_input, mut second) = attach(&host, &id, true).await;
        // So that both are there.
        first_input.write("a\n".into()).await.unwrap();
        until(&mut first, "got a\n").await;
        second_input.write("b\n".into()).await.unwrap();
        until(&mut second, "got b\n").await;
        until(&mut first, "got b\n").await;
        first_input.write("c\n".into()).await.unwrap();
        until(&mut second, "got c\n").await;
        drop((first_input, first));
        second_input.write("d\n".into()).await.unwrap();
        until(&mut second, "got d\n").await;
    });
}

fn terminal() {
    block_on(async {
        let text = "test -t 0 && test -t 1 && test -t 2 && echo tty; read x; stty size; trap 'echo int; exit 4' INT; \
                    echo ready; while :; do sleep 0.01; done";
        let (host, id) = with_task(text, Stdin::Once, true).await;
        logged(&host, &id, "tty\r\n").await;
        let (mut input, mut output) = attach(&host, &id, true).await;
        input.resize(TerminalSize { width: 90, height: 33 }).await.unwrap();
        input.write("go\n".into()).await.unwrap();
        let got = until(&mut output, "ready\r\n").await;
        assert_eq!(got.text(), "go\r\n33 90\r\nready\r\n");
        input.write(bytes::Bytes::from_static(&[3])).await.unwrap();
        let got = all(&mut output).await;
        assert_eq!((got.text().as_str(), got.end), ("^Cint\r\n", exited(4)));
        // The end of its input is typed when the first has done with it.
        let other = crate::support::id("other");
        host.client.start(&other, &with_input(script("cat; exit 6"), Stdin::Once, true)).await.unwrap();
        host.running(&other).await;
        let (mut input, mut output) = attach(&host, &other, true).await;
        input.write("line\n".into()).await.unwrap();
        until(&mut output, "line\r\nline\r\n").await;
        input.close().await.unwrap();
        assert_eq!(all(&mut output).await.end, exited(6));
    });
}

fn ends() {
    block_on(async {
        let (host, id) = with_task("sleep 1000", Stdin::Null, false).await;
        let (_input, mut output) = attach(&host, &id, false).await;
        host.client.stop(&id, &stop_in(Duration::ZERO)).await.unwrap();
        let killed = ended(End::Signaled { signal: Signal(9), core_dumped: false });
        assert_eq!(all(&mut output).await.end, killed);
    });
}
