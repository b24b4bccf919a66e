//! The two messages of `grpc.health.v1.Health/Check`, in the encoding of Protocol Buffers: one field each, which is less
//! than what a generator would need.
//!
//! ```text
//!   message HealthCheckRequest  { string service = 1; }
//!   message HealthCheckResponse { ServingStatus status = 1; }   // UNKNOWN 0, SERVING 1, NOT_SERVING 2, SERVICE_UNKNOWN 3
//! ```

/// The first field, of a kind whose length is said: `1 << 3 | 2`.
const FIELD_1_BYTES: u8 = 0x0a;

/// A request for the health of a service.
pub(super) fn request(service: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(service.len() + 4);
    // A field that has its default is left out.
    if !service.is_empty() {
        bytes.push(FIELD_1_BYTES);
        let mut length = service.len();
        while length >= 0x80 {
            bytes.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        bytes.push(u8::try_from(length).unwrap_or_default());
        bytes.extend_from_slice(service.as_bytes());
    }
    bytes
}

/// The status in a response; `None` for bytes that are no message. Fields that are not known are skipped.
pub(super) fn status(mut bytes: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut bytes)?,
            (_, 0) => drop(varint(&mut bytes)?),
            (_, 1) => bytes = bytes.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                bytes = bytes.get(length..)?;
            }
            (_, 5) => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// The name of a status.
pub(super) fn name(status: u64) -> String {
    match status {
        0 => "UNKNOWN".into(),
        1 => "SERVING".into(),
        2 => "NOT_SERVING".into(),
        3 => "SERVICE_UNKNOWN".into(),
        other => other.to_string(),
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_the_encoding_says() {
        assert_eq!(request(""), b"");
        assert_eq!(request("ab"), [0x0a, 2, b'a', b'b']);
        assert_eq!(request(&"x".repeat(300)).get(..3), Some(&[0x0a, 0xac, 0x02][..]));
    }

    #[test]
    fn statuses_are_found_among_other_fields() {
        assert_eq!(status(&[]), Some(0));
        assert_eq!(status(&[8, 1]), Some(1));
        assert_eq!(status(&[0x12, 1, 9, 0x18, 5, 8, 2, 0x25, 0, 0, 0, 0, 0x29, 0, 0, 0, 0, 0, 0, 0, 0]), Some(2));
        for bad in [&[8][..], &[0x12, 5, 1], &[8, 0x80], &[0x0b], &[0xff; 11]] {
            assert_eq!(status(bad), None, "{bad:?}");
        }
    }
}
