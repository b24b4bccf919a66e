//! Forwarded connections.

use bytes::Bytes;
use vk_streaming::forward::{Forward, Forwards, HalfClose};
use vk_streaming::spdy::{Frame, ResetStatus};

use crate::client::{Spdy, Web, connection, forward_by_spdy, forward_by_websocket};

async fn pair(client: &mut Spdy, first: u32, request: &str, port: &str) {
    for (id, kind) in [(first, "error"), (first + 2, "data")] {
        client.begin(id, &[("streamType", kind), ("port", port), ("requestID", request)]).await;
    }
}

#[tokio::test]
async fn pairs_of_streams_are_connections() {
    let (ours, theirs) = connection();
    let mut forwards = Forwards::open(theirs, forward_by_spdy()).await.unwrap();
    let mut client = Spdy::new(ours);
    // The streams of two come mixed.
    for (id, kind, request) in [(1, "data", "0"), (3, "data", "1"), (5, "error", "1"), (7, "error", "0")] {
        client.begin(id, &[("streamType", kind), ("port", "80"), ("requestID", request)]).await;
    }
    let Forward { port, mut input, mut output } = forwards.next().await.unwrap();
    for id in [1, 3, 5] {
        client.replied(id).await;
    }
    client.write(3, b"ping", true).await;
    assert_eq!((port, input.next().await), (80, Ok(Some(Bytes::from_static(b"ping")))));
    assert_eq!(input.next().await, Ok(None));
    output.write(Bytes::from_static(b"pong")).await.unwrap();
    assert_eq!(client.data().await, (3, Bytes::from_static(b"pong"), false));
    assert_eq!(output.end().await, Ok(HalfClose::Said));
    assert_eq!(client.data().await, (3, Bytes::new(), true));
    // A client that has had all resets the data, and waits for the end of the errors.
    client.send(Frame::Reset { id: 3, status: ResetStatus::CANCEL }).await;
    input.gone().await;
    output.finish(Ok(())).await.unwrap();
    assert_eq!(client.data().await, (5, Bytes::new(), true));

    let other = forwards.next().await.unwrap();
    client.replied(7).await;
    other.output.finish(Err("nobody listens".into())).await.unwrap();
    assert_eq!(client.data().await, (7, Bytes::from_static(b"nobody listens"), false));
    assert_eq!(client.data().await, (7, Bytes::new(), true));
    assert_eq!(client.next().await, Some(Frame::Reset { id: 1, status: ResetStatus::CANCEL }));
    drop(client);
    assert!(forwards.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn halves_are_not_waited_for_for_ever_and_nonsense_is_refused() {
    let (ours, theirs) = connection();
    let mut forwards = Forwards::open(theirs, forward_by_spdy()).await.unwrap();
    let mut client = Spdy::new(ours);
    for (id, headers) in [
        (1, &[("streamType", "data"), ("port", "0")][..]),
        (3, &[("streamType", "stdin"), ("port", "80")]),
        (5, &[("streamType", "data")]),
        (7, &[("streamType", "error"), ("port", "80"), ("requestID", "1")]),
        (9, &[("streamType", "error"), ("port", "80"), ("requestID", "1")]),
    ] {
        client.begin(id, headers).await;
    }
    let server = tokio::spawn(async move { forwards.next().await.is_none() });
    for id in [1, 3, 5] {
        assert_eq!(client.next().await, Some(Frame::Reset { id, status: ResetStatus::REFUSED_STREAM }));
    }
    client.replied(7).await;
    assert_eq!(client.next().await, Some(Frame::Reset { id: 9, status: ResetStatus::REFUSED_STREAM }));
    assert_eq!(client.data().await, (7, Bytes::from_static(b"timed out waiting for streams"), false));
    assert_eq!(client.data().await, (7, Bytes::new(), true));
    drop(client);
    assert!(server.await.unwrap());
}

#[tokio::test]
async fn spdy_goes_through_a_websocket() {
    let (ours, theirs) = connection();
    let mut forwards = Forwards::open(theirs, forward_by_websocket("SPDY/3.1+portforward.k8s.io", "")).await.unwrap();
    let mut web = Web::new(ours).await;
    // The client's SPDY is in messages of whatever size.
    let (inside, mut outside) = tokio::io::duplex(1 << 20);
    let mut client = Spdy::new(inside);
    pair(&mut client, 1, "0", "81").await;
    client.write(3, &vec![5; 100_000], false).await;
    let pump = async |web: &mut Web, outside: &mut tokio::io::DuplexStream| {
        let mut buffer = [0; 777];
        loop {
            tokio::select! {
                n = tokio::io::AsyncReadExt::read(outside, &mut buffer) => web.send(&buffer[..n.unwrap()]).await,
                message = web.next() => match message {
                    Some(bytes) => tokio::io::AsyncWriteExt::write_all(outside, &bytes).await.unwrap(),
                    None => return,
                },
            }
        }
    };
    let server = async {
        let Forward { port, mut input, mut output } = forwards.next().await.unwrap();
        assert_eq!(port, 81);
        let mut read = 0;
        while read < 100_000 {
            read += input.next().await.unwrap().unwrap().len();
        }
        output.write(Bytes::from_static(b"done")).await.unwrap();
        output.finish(Ok(())).await.unwrap();
    };
    tokio::select! {
        () = pump(&mut web, &mut outside) => panic!("it ended"),
        ((), ()) = async {
            tokio::join!(server, async {
                client.replied(1).await;
                client.replied(3).await;
                assert_eq!(client.data().await, (3, Bytes::from_static(b"done"), false));
                assert_eq!(client.data().await, (3, Bytes::new(), true));
                assert_eq!(client.data().await, (1, Bytes::new(), true));
            })
        } => {}
    }
}

#[tokio::test]
async fn the_old_websocket_protocol_has_two_channels_for_each_port() {
    let (ours, theirs) = connection();
    let mut web = Web::new(ours).await;
    let open = Forwards::open(theirs, forward_by_websocket("v4.channel.k8s.io", "80,81"));
    let (forwards, ()) = tokio::join!(open, async {
        for wanted in [[0, 80, 0], [1, 80, 0], [2, 81, 0], [3, 81, 0]] {
            assert_eq!(web.next().await.unwrap(), wanted[..]);
        }
    });
    let mut forwards = forwards.unwrap();
    let (mut first, second) = (forwards.next().await.unwrap(), forwards.next().await.unwrap());
    assert_eq!((first.port, second.port), (80, 81));
    web.send(b"\x00ping").await;
    assert_eq!(first.input.next().await, Ok(Some(Bytes::from_static(b"ping"))));
    first.output.write(Bytes::from_static(b"pong")).await.unwrap();
    assert_eq!(web.next().await.unwrap(), b"\x00pong"[..]);
    assert_eq!(first.output.end().await, Ok(HalfClose::Unknown));
    first.output.finish(Ok(())).await.unwrap();
    // What comes for one that is over does no harm.
    web.send(b"\x00more").await;
    second.output.finish(Err("nobody listens".into())).await.unwrap();
    assert_eq!(web.next().await.unwrap(), b"\x03nobody listens"[..]);
    let over = tokio::spawn(async move { forwards.next().await.is_none() });
    assert_eq!(web.next().await, None);
    drop(web);
    assert!(over.await.unwrap());
}
