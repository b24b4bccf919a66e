//! Frames come back, and what makes no sense is refused.

use proptest::prelude::*;

use super::*;

fn frame() -> impl Strategy<Value = Frame> {
    let id = || 1_u32..0x8000_0000;
    let headers = || proptest::collection::btree_map("[a-z]{1,10}", "[ -~]{0,30}", 0..5).prop_map(Headers::from_iter);
    let bytes = proptest::collection::vec(any::<u8>(), 0..2000).prop_map(Bytes::from);
    prop_oneof![
        (id(), headers(), any::<bool>()).prop_map(|(id, headers, fin)| Frame::SynStream { id, headers, fin }),
        (id(), headers(), any::<bool>()).prop_map(|(id, headers, fin)| Frame::SynReply { id, headers, fin }),
        (id(), headers(), any::<bool>()).prop_map(|(id, headers, fin)| Frame::Headers { id, headers, fin }),
        (id(), any::<u32>()).prop_map(|(id, status)| Frame::Reset { id, status: ResetStatus(status) }),
        (id(), any::<u32>()).prop_map(|(id, delta)| Frame::WindowUpdate { id, delta }),
        (id(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
        (1..u32::MAX).prop_map(|id| Frame::Ping { id }),
        Just(Frame::Settings),
        (id(), bytes, any::<bool>()).prop_map(|(id, bytes, fin)| Frame::Data { id, bytes, fin }),
    ]
}

/// All frames that come when `bytes` come in pieces of `size`; data that came in pieces as one again.
fn read(bytes: &[u8], size: usize) -> Result<Vec<Frame>, Malformed> {
    let (mut codec, mut buffer, mut frames) = (Codec::default(), BytesMut::new(), Vec::new());
    let mut unfinished = false;
    for piece in bytes.chunks(size) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = codec.read(&mut buffer)? {
            match (frames.last_mut(), frame) {
                (Some(Frame::Data { bytes: known, fin, .. }), Frame::Data { bytes, fin: last, .. }) if unfinished => {
                    *known = [&**known, &*bytes].concat().into();
                    *fin = last;
                }
                (_, frame) => frames.push(frame),
            }
            unfinished = codec.coming.is_some();
        }
        assert!(buffer.len() <= MAX_CONTROL_BYTES + HEAD_BYTES + size);
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn frames_come_back_in_whatever_pieces(
        frames in proptest::collection::vec(frame(), 0..20),
        size in 1_usize..3000,
    ) {
        let (mut codec, mut bytes) = (Codec::default(), BytesMut::new());
        for frame in &frames {
            codec.write(frame.clone(), &mut bytes);
        }
        prop_assert_eq!(read(&bytes, size), Ok(frames));
    }

    #[test]
    fn garbage_is_an_error_or_waits_for_more(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        size in 1_usize..400,
    ) {
        let _ = read(&bytes, size);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let of = |bytes: &[u8]| read(bytes, 3).unwrap_err();
    assert_eq!(of(&[0x80, 2, 0, 1, 0, 0, 0, 0]), Malformed::Version(2));
    assert_eq!(of(&[0x80, 3, 0, 5, 0, 0, 0, 4, 0, 0, 0, 1]), Malformed::Kind(5));
    assert_eq!(of(&[0x80, 3, 0, 1, 0, 1, 0, 1]), Malformed::TooLong(0x1_0001));
    assert_eq!(of(&[0; 8]), Malformed::ZeroStream);
    assert_eq!(of(&[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]), Malformed::ZeroStream);
    assert_eq!(of(&[0x80, 3, 0, 3, 0, 0, 0, 4, 0, 0, 0, 1]), Malformed::Length { kind: 3, length: 4 });
    assert_eq!(of(&[0x80, 3, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1]), Malformed::Length { kind: 1, length: 4 });
}

#[test]
fn long_data_is_given_on_as_it_comes() {
    let mut codec = Codec::default();
    let mut buffer = BytesMut::from(&[0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 7][..]);
    let first = Frame::Data { id: 1, bytes: Bytes::from_static(&[7]), fin: false };
    assert_eq!(codec.read(&mut buffer), Ok(Some(first)));
    assert_eq!(codec.read(&mut buffer), Ok(None));
    buffer.extend_from_slice(&vec![0; MAX_PIECE_BYTES + 1]);
    let Ok(Some(Frame::Data { bytes, fin: false, .. })) = codec.read(&mut buffer) else { panic!("no piece") };
    assert_eq!(bytes.len(), MAX_PIECE_BYTES);
}
