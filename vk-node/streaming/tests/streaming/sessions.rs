//! Sessions of exec and attach.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::io::DuplexStream;
use vk_streaming::negotiate::RemoteCommand;
use vk_streaming::session::{InputEvent, NoSession, Session, TerminalSize, Wanted};
use vk_streaming::status::Status;

use crate::client::{Spdy, Web, command_by_spdy, command_by_websocket, connection};
use vk_streaming::spdy::{Frame, ResetStatus};

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, terminal: false };
const STREAMS: [&str; 4] = ["error", "stdin", "stdout", "stderr"];

/// A program that sends back what it gets, and ends when that does.
async fn echo(connection: DuplexStream, agreed: RemoteCommand, wanted: Wanted, code: i32) {
    let mut session = Session::open(connection, agreed, wanted).await.unwrap();
    loop {
        match session.input.next().await.unwrap() {
            InputEvent::Stdin(bytes) => session.output.stdout(bytes).await.unwrap(),
            InputEvent::Resize(size) => {
                session.output.stdout(format!("{}x{}", size.width, size.height).into()).await.unwrap();
            }
            InputEvent::StdinEnd => break,
        }
    }
    session.output.stderr(Bytes::from_static(b"bye")).await.unwrap();
    session.finish(&Status::exited(code, "exit status")).await;
}

async fn begin(client: &mut Spdy, streams: &[&str]) {
    for (n, kind) in (0..).zip(streams) {
        client.begin(2 * n + 1, &[("streamType", kind)]).await;
    }
    for (n, _) in (0..).zip(streams) {
        client.replied(2 * n + 1).await;
    }
}

#[tokio::test]
async fn a_session_by_spdy() {
    let (ours, theirs) = connection();
    let server = tokio::spawn(echo(theirs, command_by_spdy("v4.channel.k8s.io"), ALL, 3));
    let mut client = Spdy::new(ours);
    begin(&mut client, &STREAMS).await;
    client.write(3, b"hello", false).await;
    assert_eq!(client.data().await, (5, Bytes::from_static(b"hello"), false));
    client.send(Frame::Ping { id: 7 }).await;
    assert_eq!(client.next().await, Some(Frame::Ping { id: 7 }));
    client.write(3, b"last", true).await;
    assert_eq!(client.data().await, (5, Bytes::from_static(b"last"), false));
    assert_eq!(client.data().await, (7, Bytes::from_static(b"bye"), false));
    let (id, status, _) = client.data().await;
    assert_eq!((id, serde_json::from_slice::<Status>(&status).unwrap()), (1, Status::exited(3, "exit status")));
    assert_eq!(client.next().await, Some(Frame::Reset { id: 3, status: ResetStatus::CANCEL }));
    for id in [5, 7, 1] {
        assert_eq!(client.data().await, (id, Bytes::new(), true));
    }
    // It waits for the client, which closes the connection.
    tokio::task::yield_now().await;
    assert!(!server.is_finished());
    drop(client);
    server.await.unwrap();
}

#[tokio::test]
async fn a_session_by_websocket() {
    let (ours, theirs) = connection();
    let wanted = Wanted { terminal: true, ..ALL };
    let server = tokio::spawn(echo(theirs, command_by_websocket("v5.channel.k8s.io"), wanted, 0));
    let mut client = Web::new(ours).await;
    assert_eq!(client.next().await.unwrap(), [1][..]);
    client.send(b"\0hello").await;
    assert_eq!(client.next().await.unwrap(), b"\x01hello"[..]);
    client.send(br#"{"Width":80,"Height":24}"#).await;
    client.send(b"\x04{\"Width\":80,\"Height\":24}").await;
    assert_eq!(client.next().await.unwrap(), b"\x0180x24"[..]);
    client.send(b"\xff\x00").await;
    assert_eq!(client.next().await.unwrap(), b"\x02bye"[..]);
    assert_eq!(client.next().await.unwrap(), b"\x03{\"metadata\":{},\"status\":\"Success\"}"[..]);
    assert_eq!(client.next().await, None);
    drop(client);
    server.await.unwrap();
}

#[tokio::test]
async fn older_protocols_say_it_in_their_ways() {
    // No half-close: 255 is a channel that nobody has.
    let (ours, theirs) = connection();
    let mut client = Web::new(ours).await;
    let mut session = {
        let open = Session::open(theirs, command_by_websocket("v4.base64.channel.k8s.io"), ALL);
        let (session, hello) = tokio::join!(open, client.next());
        assert_eq!(hello.unwrap(), b"1"[..]);
        session.unwrap()
    };
    client.send_text("0aGVsbG8=").await;
    client.send_text("nonsense").await;
    client.send_text("0!").await;
    client.send_text("0aGVsbG8=").await;
    for _ in 0..2 {
        assert_eq!(session.input.next().await, Ok(InputEvent::Stdin(Bytes::from_static(b"hello"))));
    }
    session.output.stdout(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(client.next().await.unwrap(), b"1aGVsbG8="[..]);

    let (ours, theirs) = connection();
    let mut client = Web::new(ours).await;
    let open = Session::open(theirs, command_by_websocket("channel.k8s.io"), ALL);
    let (session, _) = tokio::join!(open, client.next());
    let server = tokio::spawn(async move { session.unwrap().finish(&Status::internal_error("no")).await });
    assert_eq!(client.next().await.unwrap(), b"\x03Internal error occurred: no"[..]);
    assert_eq!(client.next().await, None);
    drop(client);
    server.await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_is_noticed() {
    let (ours, theirs) = connection();
    let mut client = Spdy::new(ours);
    let (session, ()) =
        tokio::join!(Session::open(theirs, command_by_spdy("v4.channel.k8s.io"), ALL), begin(&mut client, &STREAMS));
    let mut session = session.unwrap();
    drop(client);
    assert!(session.input.next().await.is_err());
    assert!(session.output.stdout(Bytes::from_static(b"x")).await.is_err());

    let (ours, theirs) = connection();
    let mut client = Web::new(ours).await;
    let open = Session::open(theirs, command_by_websocket("v5.channel.k8s.io"), ALL);
    let (session, _) = tokio::join!(open, client.next());
    let mut session = session.unwrap();
    // A half-close of what is no channel is nothing that can be gone on after.
    client.send(b"\xff\x09").await;
    assert!(session.input.next().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn streams_that_do_not_come_are_not_waited_for_for_ever() {
    let (ours, theirs) = connection();
    let mut client = Spdy::new(ours);
    client.begin(1, &[("streamType", "error")]).await;
    client.begin(3, &[("streamType", "error")]).await;
    client.begin(5, &[("streamType", "nonsense")]).await;
    let opened = Session::open(theirs, command_by_spdy("v4.channel.k8s.io"), ALL).await;
    assert!(matches!(opened, Err(NoSession::TimedOut)));
    client.replied(1).await;
    for id in [3, 5] {
        assert_eq!(client.next().await, Some(Frame::Reset { id, status: ResetStatus::REFUSED_STREAM }));
    }
    assert_eq!(client.next().await, None);
}

/// Lets everything in memory run until nothing can go on any more.
async fn settle() {
    for _ in 0..100_000 {
        tokio::task::yield_now().await;
    }
}

/// More than all on the way may hold.
const MUCH: usize = 8 << 20;
/// All that may be on the way.
const BOUND: usize = 3 << 20;

#[tokio::test]
async fn a_client_that_does_not_read_makes_the_program_wait() {
    for by_spdy in [true, false] {
        let (ours, theirs) = connection();
        let agreed =
            if by_spdy { command_by_spdy("v4.channel.k8s.io") } else { command_by_websocket("v5.channel.k8s.io") };
        let written = Arc::new(AtomicUsize::new(0));
        let program = tokio::spawn({
            let written = written.clone();
            async move {
                let mut session = Session::open(theirs, agreed, ALL).await.unwrap();
                while written.load(Ordering::Relaxed) < MUCH {
                    session.output.stdout(Bytes::from(vec![7; 32 << 10])).await.unwrap();
                    written.fetch_add(32 << 10, Ordering::Relaxed);
                }
                session.finish(&Status::success()).await;
            }
        });
        let mut read = 0;
        if by_spdy {
            let mut client = Spdy::new(ours);
            begin(&mut client, &STREAMS).await;
            settle().await;
            assert!((1..BOUND).contains(&written.load(Ordering::Relaxed)), "{written:?}");
            loop {
                match client.data().await {
                    (5, _, true) => break,
                    (5, bytes, false) => read += bytes.len(),
                    (_, status, _) => assert!(status.starts_with(b"{")),
                }
                if read == MUCH {
                    break;
                }
            }
        } else {
            let mut client = Web::new(ours).await;
            assert_eq!(client.next().await.unwrap(), [1][..]);
            settle().await;
            assert!((1..BOUND).contains(&written.load(Ordering::Relaxed)), "{written:?}");
            while let Some(message) = client.next().await {
                read += if message[0] == 1 { message.len() - 1 } else { 0 };
            }
        }
        assert_eq!(read, MUCH);
        program.await.unwrap();
    }
}

#[tokio::test]
async fn a_program_that_does_not_read_makes_the_client_wait() {
    for by_spdy in [true, false] {
        let (ours, theirs) = connection();
        let agreed =
            if by_spdy { command_by_spdy("v4.channel.k8s.io") } else { command_by_websocket("v5.channel.k8s.io") };
        let sent = Arc::new(AtomicUsize::new(0));
        let client = tokio::spawn({
            let sent = sent.clone();
            async move {
                let piece = vec![7; 32 << 10];
                if by_spdy {
                    let mut client = Spdy::new(ours);
                    begin(&mut client, &STREAMS).await;
                    while sent.load(Ordering::Relaxed) < MUCH {
                        client.write(3, &piece, false).await;
                        sent.fetch_add(piece.len(), Ordering::Relaxed);
                    }
                    client.write(3, b"", true).await;
                    while client.next().await.is_some() {}
                } else {
                    let mut client = Web::new(ours).await;
                    client.next().await.unwrap();
                    while sent.load(Ordering::Relaxed) < MUCH {
                        client.send(&[&[0], &*piece].concat()).await;
                        sent.fetch_add(piece.len(), Ordering::Relaxed);
                    }
                    client.send(b"\xff\x00").await;
                    while client.next().await.is_some() {}
                }
            }
        });
        let mut session = Session::open(theirs, agreed, ALL).await.unwrap();
        settle().await;
        assert!((1..BOUND).contains(&sent.load(Ordering::Relaxed)), "{sent:?}");
        let mut read = 0;
        while let InputEvent::Stdin(bytes) = session.input.next().await.unwrap() {
            read += bytes.len();
        }
        assert_eq!(read, MUCH);
        drop(session);
        client.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_of_which_nobody_reads_is_kept_alive() {
    let (ours, theirs) = connection();
    let mut client = Web::new(ours).await;
    let open = Session::open(theirs, command_by_websocket("v5.channel.k8s.io"), ALL);
    let (session, _) = tokio::join!(open, client.next());
    let _session = session.unwrap();
    let mut socket = client.into_inner();
    // Neither a ping of ours has been seen, nor anything else.
    let mut next = async || futures::StreamExt::next(&mut socket).await.unwrap().unwrap();
    assert!(next().await.is_ping());
    assert!(next().await.is_pong());
}

#[tokio::test]
async fn the_last_size_is_the_one_that_matters() {
    let (ours, theirs) = connection();
    let wanted = Wanted { stdin: false, stdout: true, stderr: false, terminal: true };
    let mut client = Spdy::new(ours);
    let (session, ()) = tokio::join!(
        Session::open(theirs, command_by_spdy("v3.channel.k8s.io"), wanted),
        begin(&mut client, &["error", "stdout", "resize"])
    );
    client.write(5, b"{\"Width\":1,\"Height\":2}\n{\"Width\":3,\"Height\":4}\n", false).await;
    let size = TerminalSize { width: 3, height: 4 };
    assert_eq!(session.unwrap().input.next().await, Ok(InputEvent::Resize(size)));
}
