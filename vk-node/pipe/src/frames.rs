//! Frames of [`vk_task::stream`] on a connection, for the pipe and its client alike.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder};
use vk_task::stream::{Channel, Frame, HEAD_BYTES, Head, MAX_PAYLOAD_BYTES};

/// Reads and writes frames. It never holds more than one that has not come as a whole.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCodec;

impl Decoder for FrameCodec {
    type Item = Frame<Bytes>;
    type Error = io::Error;

    fn decode(&mut self, source: &mut BytesMut) -> io::Result<Option<Self::Item>> {
        let Some(head) = source.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let head = Head::parse(*head).map_err(invalid)?;
        if source.len() < HEAD_BYTES + head.len {
            source.reserve(HEAD_BYTES + head.len - source.len());
            return Ok(None);
        }
        source.advance(HEAD_BYTES);
        Ok(Some(Frame { channel: head.channel, payload: source.split_to(head.len).freeze() }))
    }
}

impl Encoder<Frame<Bytes>> for FrameCodec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame<Bytes>, target: &mut BytesMut) -> io::Result<()> {
        let head = Head::of(frame.channel, &frame.payload).map_err(invalid)?;
        target.reserve(HEAD_BYTES + frame.payload.len());
        target.put_slice(&head.bytes());
        target.put_slice(&frame.payload);
        Ok(())
    }
}

/// A frame with a message as JSON.
pub(crate) fn message(channel: Channel, message: &impl Serialize) -> io::Result<Frame<Bytes>> {
    Ok(Frame { channel, payload: serde_json::to_vec(message)?.into() })
}

/// The message of a frame.
pub(crate) fn read_message<T: DeserializeOwned>(frame: &Frame<Bytes>) -> io::Result<T> {
    serde_json::from_slice(&frame.payload).map_err(invalid)
}

/// That there will be nothing more on `channel`.
pub(crate) fn close(channel: Channel) -> Frame<Bytes> {
    Frame { channel: Channel::Close, payload: Bytes::copy_from_slice(&[channel as u8]) }
}

/// The channel that a frame says is at its end.
pub(crate) fn closed(frame: &Frame<Bytes>) -> Option<Channel> {
    match (frame.channel, &*frame.payload) {
        (Channel::Close, &[number]) => Channel::from_number(number),
        _ => None,
    }
}

/// Bytes of any number as frames that are not too long.
pub(crate) fn pieces(channel: Channel, mut bytes: Bytes) -> impl Iterator<Item = Frame<Bytes>> {
    std::iter::from_fn(move || {
        let n = bytes.len().min(MAX_PAYLOAD_BYTES);
        (n > 0).then(|| Frame { channel, payload: bytes.split_to(n) })
    })
}

fn invalid(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn channel() -> impl Strategy<Value = Channel> {
        prop_oneof![
            Just(Channel::Stdin),
            Just(Channel::Stdout),
            Just(Channel::Stderr),
            Just(Channel::Status),
            Just(Channel::Resize),
            Just(Channel::Request),
            Just(Channel::Close)
        ]
    }

    /// All frames that come when `bytes` come in pieces of `size`; and whether it ended in an error.
    fn decode(bytes: &[u8], size: usize) -> (Vec<Frame<Bytes>>, bool) {
        let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(size) {
            buffer.extend_from_slice(piece);
            loop {
                match FrameCodec.decode(&mut buffer) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(_) => return (frames, true),
                }
            }
            assert!(buffer.capacity() <= 4 * (MAX_PAYLOAD_BYTES + HEAD_BYTES + bytes.len()));
        }
        (frames, false)
    }

    proptest! {
        #[test]
        fn frames_come_back_in_whatever_pieces(
            frames in proptest::collection::vec((channel(), proptest::collection::vec(any::<u8>(), 0..300)), 0..20),
            size in 1_usize..400,
        ) {
            let frames: Vec<_> =
                frames.into_iter().map(|(channel, bytes)| Frame { channel, payload: Bytes::from(bytes) }).collect();
            let mut bytes = BytesMut::new();
            for frame in &frames {
                FrameCodec.encode(frame.clone(), &mut bytes).unwrap();
            }
            prop_assert_eq!(decode(&bytes, size), (frames, false));
        }

        #[test]
        fn garbage_is_an_error_or_waits_for_more(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            size in 1_usize..400,
        ) {
            decode(&bytes, size);
        }
    }

    #[test]
    fn long_output_is_cut_into_frames() {
        let frames: Vec<_> = pieces(Channel::Stdout, vec![7; MAX_PAYLOAD_BYTES + 1].into()).collect();
        assert_eq!(frames.iter().map(|f| f.payload.len()).collect::<Vec<_>>(), [MAX_PAYLOAD_BYTES, 1]);
        let too_long = Frame { channel: Channel::Stdin, payload: Bytes::from(vec![0; MAX_PAYLOAD_BYTES + 1]) };
        assert!(FrameCodec.encode(too_long, &mut BytesMut::new()).is_err());
    }

    #[test]
    fn an_end_names_its_channel() {
        assert_eq!(closed(&close(Channel::Stdin)), Some(Channel::Stdin));
        let odd = Frame { channel: Channel::Close, payload: Bytes::from_static(&[0, 0]) };
        assert_eq!(closed(&odd), None);
    }
}
