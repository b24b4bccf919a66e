//! Connections that the host makes for a pod. The tasks here run this very program, which listens for them.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use vk_pipe::{ClientError, StreamEvent, StreamHandle};
use vk_site::audit::Event;
use vk_task::stream::{DialRequest, DialTarget, StreamEnd};
use vk_task::{ApiError, ErrorReason, TaskSpec};

use crate::Test;
use crate::audit;
use crate::pods::name;
use crate::streams::all;
use crate::support::{Host, block_on, eventually, exec, id, script};

pub(crate) const TESTS: &[Test] = &[
    ("a_forwarded_connection_is_byte_exact_and_half_closes", echo),
    ("a_forwarded_connection_waits_for_whoever_is_slow", slow),
    ("a_forwarded_connection_ends_when_the_caller_hangs_up", hang_up),
    ("only_the_pods_own_ports_are_forwarded", own),
    ("a_site_may_forward_all_ports_or_none", rules),
    ("a_probe_goes_where_the_pod_says", probe),
    ("garbage_on_a_dialled_connection_harms_nothing", garbage),
];

/// What `<this program> listen <address> <file> <what>` does: it writes its port to the file, and then with each
/// connection does what it is told.
pub(crate) fn listen(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut next = || args.next().unwrap().into_string().unwrap();
    let (address, file, what) = (next(), PathBuf::from(next()), next());
    let listener = TcpListener::bind((address.as_str(), 0)).unwrap();
    let new = file.with_extension("new");
    fs::write(&new, listener.local_addr().unwrap().port().to_string()).unwrap();
    fs::rename(new, &file).unwrap();
    for connection in listener.incoming() {
        let (mut connection, what, file) = (connection.unwrap(), what.clone(), file.clone());
        std::thread::spawn(move || match what.as_str() {
            // All that came, and then that it ended.
            "echo" => {
                io::copy(&mut connection.try_clone().unwrap(), &mut connection).unwrap();
                connection.write_all(b"|end").unwrap();
            }
            // The end at once; then what came.
            "deaf" => {
                connection.shutdown(Shutdown::Write).unwrap();
                let mut text = String::new();
                connection.read_to_string(&mut text).unwrap();
                fs::write(file.with_extension("got"), text).unwrap();
            }
            "pour" => {
                let mut n: u64 = 0;
                while n < POURED && connection.write_all(&n.to_be_bytes()).is_ok() {
                    n += 1;
                    if n.is_multiple_of(1024) {
                        fs::write(file.with_extension("poured"), n.to_string()).unwrap();
                    }
                }
                let mut rest = Vec::new();
                let _ = connection.read_to_end(&mut rest);
                fs::write(file.with_extension("left"), "").unwrap();
            }
            other => panic!("{other}"),
        });
    }
    ExitCode::SUCCESS
}

/// So many numbers of 8 bytes.
const POURED: u64 = 4 << 20;

fn listener(host: &Host, address: &str, what: &str) -> TaskSpec {
    let program = std::env::current_exe().unwrap();
    exec(&[program.to_str().unwrap(), "listen", address, host.file("port").to_str().unwrap(), what])
}

/// Starts a task that listens; gives its port.
async fn listening(host: &Host, address: &str, what: &str) -> u16 {
    host.client.start(&id("t"), &listener(host, address, what)).await.unwrap();
    eventually("it listens", || host.file("port").exists()).await;
    host.running(&id("t")).await;
    host.read("port").parse().unwrap()
}

async fn dial(host: &Host, pod: &str, target: DialTarget) -> StreamHandle {
    host.client.dial(&DialRequest { pod: name(pod), target }).await.unwrap()
}

async fn forward(host: &Host, port: u16) -> StreamHandle {
    dial(host, "u", DialTarget::Forward { port, user: "jane".into() }).await
}

/// That it is connected, and what comes after `text` was sent and its end said.
async fn answer(handle: StreamHandle, text: &str) -> Result<String, ApiError> {
    let (mut input, mut output) = handle.split();
    // One that is refused may be gone already.
    let _ = input.write(Bytes::copy_from_slice(text.as_bytes())).await;
    let _ = input.close().await;
    let got = all(&mut output).await;
    match got.end.clone().unwrap() {
        StreamEnd::Closed => Ok(got.text()),
        StreamEnd::Failed { error } => Err(error),
        StreamEnd::Ended { end } => panic!("{end:?}"),
    }
}

fn echo() {
    block_on(async {
        let host = Host::new().await;
        for (round, address) in ["127.0.0.1", "0.0.0.0", "::"].into_iter().enumerate() {
            let _ = fs::remove_file(host.file("port"));
            let task = id(&format!("t{round}"));
            host.client.start(&task, &listener(&host, address, "echo")).await.unwrap();
            eventually("it listens", || host.file("port").exists()).await;
            host.running(&task).await;
            let port = host.read("port").parse().unwrap();
            let (mut input, mut output) = forward(&host, port).await.split();
            // It is said that it is connected before anything else is.
            assert_eq!(output.next().await.unwrap(), StreamEvent::Stdout(Bytes::new()));
            let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
            let sent = async {
                input.write(bytes.clone().into()).await.unwrap();
                input.close().await.unwrap();
            };
            let ((), got) = tokio::join!(sent, all(&mut output));
            assert!(got.stdout == [&bytes, &b"|end"[..]].concat(), "{}", got.stdout.len());
            assert_eq!(got.end, Some(StreamEnd::Closed));
        }
        // The other side may be the first to have said all.
        let _ = fs::remove_file(host.file("port"));
        let port = listening(&host, "127.0.0.1", "deaf").await;
        let (mut input, mut output) = forward(&host, port).await.split();
        assert_eq!(output.next().await.unwrap(), StreamEvent::Stdout(Bytes::new()));
        assert!(matches!(output.next().await.unwrap(), StreamEvent::Closed(_)));
        input.write(Bytes::from_static(b"still here")).await.unwrap();
        input.close().await.unwrap();
        assert_eq!(output.next().await.unwrap(), StreamEvent::Ended(StreamEnd::Closed));
        eventually("it has come", || host.read("port.got") == "still here").await;
    });
}

fn slow() {
    block_on(async {
        let host = Host::new().await;
        let port = listening(&host, "127.0.0.1", "pour").await;
        let (_input, mut output) = forward(&host, port).await.split();
        assert_eq!(output.next().await.unwrap(), StreamEvent::Stdout(Bytes::new()));
        // It comes to a stop, for nobody takes it.
        let poured = || host.read("port.poured").parse::<u64>().unwrap_or_default();
        let mut before = u64::MAX;
        while poured() == 0 || poured() != before {
            before = poured();
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
        assert!(before < POURED, "{before}");
        let mut got: Vec<u8> = Vec::new();
        while got.len() < usize::try_from(POURED).unwrap() * 8 {
            match output.next().await.unwrap() {
                StreamEvent::Stdout(bytes) => got.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
        }
        let is_next = |(n, chunk): (usize, &[u8])| chunk == u64::try_from(n).unwrap().to_be_bytes();
        assert!(got.chunks(8).enumerate().all(is_next));
    });
}

fn hang_up() {
    block_on(async {
        let host = Host::new().await;
        let port = listening(&host, "127.0.0.1", "pour").await;
        let (_input, mut output) = forward(&host, port).await.split();
        assert_eq!(output.next().await.unwrap(), StreamEvent::Stdout(Bytes::new()));
        drop((_input, output));
        eventually("the other side is told", || host.file("port.left").exists()).await;
    });
}

fn own() {
    block_on(async {
        let host = Host::new().await;
        host.client.start(&id("idle"), &script("exec sleep 1000")).await.unwrap();
        host.running(&id("idle")).await;
        // A service of the host.
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let e = answer(forward(&host, port).await, "").await.unwrap_err();
        assert_eq!(e.reason, ErrorReason::Denied);
        let why = format!("port {port} is not the pod's: another process of this host listens there");
        assert_eq!(e.message, format!("this site does not run it: {why}"));
        drop(other);
        let e = answer(forward(&host, port).await, "").await.unwrap_err();
        assert_eq!(e.reason, ErrorReason::Conflict);
        assert_eq!(e.message, format!("connection refused: nothing listens on port {port}"));
        // A process that its task has left in the background, in a session of its own.
        let listener = format!(
            "setsid '{}' listen 127.0.0.1 $HOME/port echo & exec sleep 1000",
            std::env::current_exe().unwrap().display()
        );
        host.client.start(&id("t"), &script(&listener)).await.unwrap();
        eventually("it listens", || host.file("port").exists()).await;
        let own = host.read("port").parse().unwrap();
        assert_eq!(answer(forward(&host, own).await, "hi").await.unwrap(), "hi|end");
        // It is that pod's and no other's; and a pod that is not here has none.
        let target = DialTarget::Forward { port: own, user: "jane".into() };
        let e = answer(dial(&host, "other", target).await, "").await.unwrap_err();
        assert_eq!(e.reason, ErrorReason::Conflict);
        assert!(e.message.contains("no task of pod other runs here"), "{e}");
        let streams: Vec<_> = audit::entries(&host)
            .into_iter()
            .filter_map(|entry| match entry.event {
                Event::Stream { kind, user, port, denied, .. } => Some((kind, user, port, denied)),
                _ => None,
            })
            .collect();
        let said =
            |port, denied: &[String]| ("port-forward".to_owned(), "jane".to_owned(), Some(port), denied.to_vec());
        assert_eq!(streams, [said(port, &[why]), said(port, &[]), said(own, &[])]);
    });
}

fn rules() {
    block_on(async {
        let mut host = Host::of_site("policy: {portForward: any}");
        host.start_pipe().await;
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listening(&host, "127.0.0.1", "echo").await;
        let (_input, mut output) = forward(&host, other.local_addr().unwrap().port()).await.split();
        assert_eq!(output.next().await.unwrap(), StreamEvent::Stdout(Bytes::new()));
        host.write_site("policy: {portForward: false}");
        let e = answer(forward(&host, port).await, "").await.unwrap_err();
        assert_eq!(e.reason, ErrorReason::Denied);
        assert!(e.message.ends_with("port-forward is not allowed"), "{e}");
        host.write_site("policy: {namespaces: {deny: [default]}}");
        let e = answer(forward(&host, port).await, "").await.unwrap_err();
        assert_eq!(e.reason, ErrorReason::Denied);
    });
}

fn probe() {
    block_on(async {
        let mut host = Host::of_site("policy: {portForward: false}");
        host.start_pipe().await;
        let other = TcpListener::bind("127.0.0.2:0").unwrap();
        let there = other.local_addr().unwrap().port();
        let port = listening(&host, "127.0.0.1", "echo").await;
        let probe = async |pod, of: Option<&str>, port| {
            let target = DialTarget::Probe { host: of.map(str::to_owned), port };
            answer(dial(&host, pod, target).await, "x").await
        };
        for of in [None, Some("127.0.0.1"), Some("localhost")] {
            assert_eq!(probe("u", of, port).await.unwrap(), "x|end", "{of:?}");
        }
        // Without a host, each of the host's own addresses will do.
        let target = DialTarget::Probe { host: None, port: there };
        let (_input, mut output) = dial(&host, "u", target).await.split();
        assert_eq!(output.next().await.unwrap(), StreamEvent::Stdout(Bytes::new()));
        let e = probe("u", Some("127.0.0.1"), there).await.unwrap_err();
        assert_eq!(e.message, format!("dial tcp 127.0.0.1:{there}: connect: connection refused"));
        assert_eq!(probe("u", Some("no such host"), 1).await.unwrap_err().reason, ErrorReason::NotFound);
        assert_eq!(probe("other", None, port).await.unwrap_err().reason, ErrorReason::Conflict);
    });
}

fn garbage() {
    block_on(async {
        let host = Host::new().await;
        let port = listening(&host, "127.0.0.1", "echo").await;
        let (mut input, mut output) = forward(&host, port).await.split();
        input.resize(vk_task::stream::TerminalSize { width: 1, height: 1 }).await.unwrap();
        match all(&mut output).await.end {
            Some(StreamEnd::Failed { error }) => assert_eq!(error.reason, ErrorReason::Invalid),
            other => panic!("{other:?}"),
        }
        // An exec is no dial.
        let request =
            vk_task::stream::StreamRequest::Attach { stdin: false, stdout: true, stderr: true, user: "".into() };
        match host.client.stream(&id("missing"), &request).await {
            Err(ClientError::Refused(e)) => assert_eq!(e.reason, ErrorReason::NotFound),
            other => panic!("{other:?}"),
        }
        assert_eq!(answer(forward(&host, port).await, "hi").await.unwrap(), "hi|end");
        // It is still there, for others too.
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    });
}
