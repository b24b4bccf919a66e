//! Connections of SPDY, whatever is on them.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use vk_streaming::spdy::{Connection, Frame, Received, ResetStatus};

use crate::client::{Spdy, connection};

#[tokio::test]
async fn streams_are_numbered_as_the_protocol_has_it() {
    let (ours, theirs) = connection();
    let mut server = Connection::new(theirs);
    let mut client = Spdy::new(ours);
    for (id, is_taken) in [(2, false), (3, true), (3, false), (1, false), (5, true)] {
        client.begin(id, &[]).await;
        if is_taken {
            let stream = server.next().await.unwrap();
            assert_eq!(stream.id(), id);
            drop(stream.accept().await.unwrap());
            client.replied(id).await;
        } else {
            let reset = Frame::Reset { id, status: ResetStatus::PROTOCOL_ERROR };
            assert_eq!(client.next().await, Some(reset));
        }
    }
    server.take_no_more();
    client.begin(7, &[]).await;
    assert_eq!(client.next().await, Some(Frame::Reset { id: 7, status: ResetStatus::REFUSED_STREAM }));
    // What is for streams that are not there, or that nobody reads, does no harm.
    client.write(9, b"x", true).await;
    client.write(3, &vec![0; 1 << 20], true).await;
    client.send(Frame::Reset { id: 11, status: ResetStatus::CANCEL }).await;
    client.send(Frame::Settings).await;
    client.send(Frame::WindowUpdate { id: 3, delta: 1 }).await;
    client.send(Frame::Ping { id: 1 }).await;
    assert_eq!(client.next().await, Some(Frame::Ping { id: 1 }));
    let (close, last) = tokio::join!(server.close(), client.next());
    assert_eq!(((), last), (close, Some(Frame::GoAway { last: 0, status: 0 })));
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn each_direction_has_an_end_of_its_own_and_a_reset_ends_both() {
    let (ours, theirs) = connection();
    let mut server = Connection::new(theirs);
    let mut client = Spdy::new(ours);
    client.begin(1, &[]).await;
    let (mut input, mut output) = server.next().await.unwrap().accept().await.unwrap();
    client.replied(1).await;
    client.write(1, b"in", true).await;
    assert_eq!(input.next().await, Ok(Received::Bytes(Bytes::from_static(b"in"))));
    assert_eq!(input.next().await, Ok(Received::End));
    output.write(Bytes::from_static(b"out")).await.unwrap();
    assert_eq!(client.data().await, (1, Bytes::from_static(b"out"), false));
    client.send(Frame::Reset { id: 1, status: ResetStatus::CANCEL }).await;
    input.over().await;
    assert_eq!(input.next().await, Ok(Received::Reset));
    assert!(output.write(Bytes::from_static(b"x")).await.is_err());
}

#[tokio::test]
async fn what_is_no_spdy_ends_the_connection() {
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x80, 3, 0, 1, 0, 0, 0, 20], &[0; 8]] {
        let (mut ours, theirs) = connection();
        let mut server = Connection::new(theirs);
        ours.write_all(garbage).await.unwrap();
        ours.shutdown().await.unwrap();
        assert!(server.next().await.is_none());
    }
}
