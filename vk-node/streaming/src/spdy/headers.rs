//! Blocks of headers: names and values, compressed by zlib over the whole life of a connection.

use bytes::{BufMut, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;

/// The longest block of headers, before it is compressed. Those of Kubernetes' clients have some 100 bytes.
pub const MAX_HEADER_BYTES: usize = 64 << 10;
/// How much is decompressed at once.
const PIECE_BYTES: usize = 4 << 10;
/// The longest stored block of deflate.
const MAX_STORED_BYTES: usize = u16::MAX as usize;

/// Names, in lower case, and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a name; of several values the first one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value =
            self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())?;
        value.split('\0').next()
    }
}

impl<N: AsRef<str>, V: Into<String>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(all: I) -> Self {
        Self(all.into_iter().map(|(name, value)| (name.as_ref().to_ascii_lowercase(), value.into())).collect())
    }
}

/// A block that makes no sense. Nothing that comes after it on the connection can be read, for it is compressed with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedHeaders {
    /// It cannot be decompressed.
    #[error("the headers cannot be decompressed")]
    Compression,
    /// It is too long.
    #[error("the headers are longer than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// It ends before it should, or goes on after it should have ended.
    #[error("the lengths in the headers do not add up")]
    Length,
    /// A name is empty, not in lower case, or there twice; or a name or value is no UTF-8.
    #[error("the name or value of a header is not allowed")]
    Name,
}

/// Reads the blocks of one direction of a connection, in their order.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Reads a block.
    pub(super) fn read(&mut self, mut compressed: &[u8]) -> Result<Headers, MalformedHeaders> {
        let mut block = Vec::new();
        let mut piece = [0; PIECE_BYTES];
        loop {
            let (read, written) = (self.0.total_in(), self.0.total_out());
            let status = match self.0.decompress(compressed, &mut piece, FlushDecompress::Sync) {
                Ok(status) => Some(status),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(DICTIONARY).map_err(|_| MalformedHeaders::Compression)?;
                    None
                }
                Err(_) => return Err(MalformedHeaders::Compression),
            };
            let since = |before: u64, now: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
            let (read, written) = (since(read, self.0.total_in()), since(written, self.0.total_out()));
            compressed = compressed.get(read..).ok_or(MalformedHeaders::Compression)?;
            block.extend_from_slice(piece.get(..written).ok_or(MalformedHeaders::Compression)?);
            if block.len() > MAX_HEADER_BYTES {
                return Err(MalformedHeaders::TooLong);
            }
            match status {
                // It goes on over all blocks: none is its end.
                Some(Status::StreamEnd) => return Err(MalformedHeaders::Compression),
                None => {}
                Some(Status::Ok | Status::BufError) if written == piece.len() => {}
                Some(Status::Ok | Status::BufError) if compressed.is_empty() => return parse(&block),
                Some(Status::Ok | Status::BufError) if read == 0 && written == 0 => {
                    return Err(MalformedHeaders::Compression);
                }
                Some(Status::Ok | Status::BufError) => {}
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, MalformedHeaders> {
    let count = number(&mut block)?;
    let mut all: Vec<(String, String)> = Vec::new();
    for _ in 0..count {
        let (name, value) = (text(&mut block)?, text(&mut block)?);
        if name.is_empty() || name != name.to_lowercase() || all.iter().any(|(known, _)| *known == name) {
            return Err(MalformedHeaders::Name);
        }
        all.push((name, value));
    }
    if block.is_empty() { Ok(Headers(all)) } else { Err(MalformedHeaders::Length) }
}

fn number(block: &mut &[u8]) -> Result<usize, MalformedHeaders> {
    let (number, rest) = block.split_first_chunk().ok_or(MalformedHeaders::Length)?;
    *block = rest;
    Ok(usize::try_from(u32::from_be_bytes(*number)).unwrap_or(usize::MAX))
}

fn text(block: &mut &[u8]) -> Result<String, MalformedHeaders> {
    let length = number(block)?;
    let (text, rest) = block.split_at_checked(length).ok_or(MalformedHeaders::Length)?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| MalformedHeaders::Name)
}

/// Writes the blocks of one direction of a connection. They are a zlib stream of stored blocks: what we send has next to no
/// headers, and so there is nothing to be gained by real compression and its memory.
#[derive(Debug, Default)]
pub(super) struct Deflater {
    begun: bool,
}

impl Deflater {
    /// Writes a block.
    pub(super) fn write(&mut self, headers: &Headers, target: &mut BytesMut) {
        /// Deflate with a window of 32 KiB, no dictionary, and the check of these two bytes: RFC 1950.
        const ZLIB_HEAD: [u8; 2] = [0x78, 0x01];
        if !std::mem::replace(&mut self.begun, true) {
            target.put_slice(&ZLIB_HEAD);
        }
        let mut block = BytesMut::new();
        put_length(headers.0.len(), &mut block);
        for part in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            put_length(part.len(), &mut block);
            block.put_slice(part.as_bytes());
        }
        for piece in block.chunks(MAX_STORED_BYTES) {
            put_stored(piece, target);
        }
        // An empty one is how deflate says that what was written so far is to be read now.
        put_stored(&[], target);
    }
}

/// A stored block, which is not the last one: RFC 1951, section 3.2.4.
fn put_stored(piece: &[u8], target: &mut BytesMut) {
    let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
    target.put_u8(0);
    target.put_u16_le(length);
    target.put_u16_le(!length);
    target.put_slice(piece);
}

fn put_length(length: usize, target: &mut BytesMut) {
    target.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    /// A block as Kubernetes' clients send it: compressed as well as may be, with the dictionary.
    fn compressed(compress: &mut Compress, headers: &Headers) -> Vec<u8> {
        let mut block = BytesMut::new();
        put_length(headers.0.len(), &mut block);
        for part in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            put_length(part.len(), &mut block);
            block.put_slice(part.as_bytes());
        }
        let mut out = Vec::with_capacity(2 * block.len() + 100);
        compress.compress_vec(&block, &mut out, FlushCompress::Sync).unwrap();
        out
    }

    fn compressor() -> Compress {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(DICTIONARY).unwrap();
        compress
    }

    fn headers() -> impl Strategy<Value = Headers> {
        proptest::collection::btree_map("[a-z-]{1,20}", "[ -~]{0,200}", 0..20).prop_map(Headers::from_iter)
    }

    proptest! {
        #[test]
        fn headers_come_back(all in proptest::collection::vec(headers(), 1..10)) {
            let (mut theirs, mut ours) = (compressor(), Deflater::default());
            let (mut of_theirs, mut of_ours) = (Inflater::new(), Inflater::new());
            for headers in all {
                let read = of_theirs.read(&compressed(&mut theirs, &headers));
                prop_assert_eq!(read.as_ref(), Ok(&headers));
                let mut written = BytesMut::new();
                ours.write(&headers, &mut written);
                prop_assert_eq!(of_ours.read(&written), Ok(headers));
            }
        }

        #[test]
        fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let _ = Inflater::new().read(&bytes);
            let _ = parse(&bytes);
        }
    }

    #[test]
    fn names_are_found_in_whatever_case_and_values_are_lists() {
        let headers = Headers::from_iter([("streamType", "error"), ("port", "80\u{0}81")]);
        assert_eq!((headers.get("streamType"), headers.get("PORT")), (Some("error"), Some("80")));
        assert_eq!(headers.get("requestID"), None);
    }

    #[test]
    fn a_bomb_is_refused() {
        let headers = Headers::from_iter([("a", "x".repeat(10 << 20))]);
        let block = compressed(&mut compressor(), &headers);
        assert_eq!(Inflater::new().read(&block), Err(MalformedHeaders::TooLong));
    }

    #[test]
    fn lengths_and_names_are_checked() {
        let block = |parts: &[&[u8]]| parts.concat();
        let one = [0, 0, 0, 1];
        assert_eq!(parse(&block(&[&one])), Err(MalformedHeaders::Length));
        assert_eq!(parse(&block(&[&[0; 4], &[0]])), Err(MalformedHeaders::Length));
        assert_eq!(parse(&block(&[&one, &[255; 4]])), Err(MalformedHeaders::Length));
        assert_eq!(parse(&block(&[&one, &one, b"A", &one, b"b"])), Err(MalformedHeaders::Name));
        assert_eq!(parse(&block(&[&one, &one, &[0xff], &one, b"b"])), Err(MalformedHeaders::Name));
        let twice = block(&[&[0, 0, 0, 2], &one, b"a", &one, b"b", &one, b"a", &one, b"b"]);
        assert_eq!(parse(&twice), Err(MalformedHeaders::Name));
    }
}
