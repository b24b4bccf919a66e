//! Frames of SPDY/3: from bytes and to bytes. Pure.
//!
//! ```text
//!   ┌─┬────────────────┬────────────────┐   ┌─┬─────────────────────────────────┐
//!   │1│ version 3 (15) │ kind (16)      │   │0│ stream (31)                     │
//!   ├─┴──────┬─────────┴────────────────┤   ├─┴──────┬──────────────────────────┤
//!   │ flags  │ length (24)              │   │ flags  │ length (24)              │
//!   ├────────┴──────────────────────────┤   ├────────┴──────────────────────────┤
//!   │ of its kind …                     │   │ data …                            │
//! ```
//!
//! A control frame is read when it is there as a whole; data is given on in pieces as it comes, so that a frame of 16 MiB,
//! which the protocol allows, needs no such memory.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::headers::{Deflater, Headers, Inflater, MalformedHeaders};

/// The longest control frame that is taken. Those of Kubernetes' clients have some 100 bytes.
pub const MAX_CONTROL_BYTES: usize = 64 << 10;
/// The longest piece of data that is read or written at once.
pub const MAX_PIECE_BYTES: usize = 64 << 10;
const VERSION: u16 = 3;
const FIN: u8 = 1;
/// The bytes before a frame's content.
const HEAD_BYTES: usize = 8;

/// The number of a stream, below 2³¹.
pub type StreamId = u32;

/// A frame, or a piece of one with data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A stream begins. Its priority is not looked at.
    SynStream {
        /// The stream.
        id: StreamId,
        /// What it says of itself.
        headers: Headers,
        /// Its beginner sends no data.
        fin: bool,
    },
    /// The other side has taken the stream.
    SynReply {
        /// The stream.
        id: StreamId,
        /// What there is to say.
        headers: Headers,
        /// Whoever replies sends no data.
        fin: bool,
    },
    /// The stream is over in both directions.
    Reset {
        /// The stream.
        id: StreamId,
        /// Why.
        status: ResetStatus,
    },
    /// Settings; there is none that is kept to.
    Settings,
    /// To be sent back by the other side.
    Ping {
        /// Even if it comes from a server, odd if it comes from a client.
        id: u32,
    },
    /// No more streams are taken.
    GoAway {
        /// The last stream that was.
        last: StreamId,
        /// Why.
        status: u32,
    },
    /// More headers.
    Headers {
        /// The stream.
        id: StreamId,
        /// What there is to say.
        headers: Headers,
        /// It was the last of its sender.
        fin: bool,
    },
    /// More may be sent; not kept to.
    WindowUpdate {
        /// The stream.
        id: StreamId,
        /// By how much.
        delta: u32,
    },
    /// Data, or a piece of it.
    Data {
        /// The stream.
        id: StreamId,
        /// The bytes.
        bytes: Bytes,
        /// It was the last of its sender.
        fin: bool,
    },
}

/// Why a stream was reset: the numbers of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetStatus(pub u32);

impl ResetStatus {
    /// The stream should not have been begun like that.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// There is no such stream.
    pub const INVALID_STREAM: Self = Self(2);
    /// The stream is not taken.
    pub const REFUSED_STREAM: Self = Self(3);
    /// Nobody wants it any more.
    pub const CANCEL: Self = Self(5);
}

/// Bytes that are no frame. There is no way to find the next frame after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is of another version of SPDY.
    #[error("a frame of SPDY version {0}")]
    Version(u16),
    /// There is no such kind of control frame.
    #[error("a control frame of the unknown kind {0}")]
    Kind(u16),
    /// A control frame is longer than it may be.
    #[error("a control frame of {0} bytes: {MAX_CONTROL_BYTES} is the most")]
    TooLong(usize),
    /// A control frame's length is not that of its kind.
    #[error("a control frame of kind {kind} with {length} bytes")]
    Length {
        /// The kind.
        kind: u16,
        /// The length.
        length: usize,
    },
    /// Stream 0.
    #[error("a frame for stream 0")]
    ZeroStream,
    /// Its headers make no sense.
    #[error("a frame with headers that make no sense")]
    Headers(#[from] MalformedHeaders),
}

/// Why frames could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[from] std::io::Error),
    /// What came is no SPDY.
    #[error("what came is not SPDY/3")]
    Malformed(#[from] Malformed),
}

/// Data of which a part has yet to come.
#[derive(Clone, Copy, Debug)]
struct Coming {
    id: StreamId,
    left: usize,
    fin: bool,
}

/// Reads and writes the frames of one connection.
#[derive(Debug)]
pub struct Codec {
    inflater: Inflater,
    deflater: Deflater,
    coming: Option<Coming>,
}

impl Default for Codec {
    fn default() -> Self {
        Self { inflater: Inflater::new(), deflater: Deflater::default(), coming: None }
    }
}

impl Codec {
    /// Takes a frame from the bytes; `None` where more of them are needed.
    ///
    /// # Errors
    /// When the bytes are no frame; then there is no way to go on.
    pub fn read(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
        if let Some(coming) = self.coming {
            return Ok(self.piece(coming, source));
        }
        let Some(head) = source.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [a, b, c, d, flags, x, y, z] = *head;
        let first = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(u32::from_be_bytes([0, x, y, z])).unwrap_or(usize::MAX);
        if first >> 31 == 0 {
            if first == 0 {
                return Err(Malformed::ZeroStream);
            }
            source.advance(HEAD_BYTES);
            return Ok(self.piece(Coming { id: first, left: length, fin: flags & FIN != 0 }, source));
        }
        let (version, kind) = (u16::from_be_bytes([a & 0x7f, b]), u16::from_be_bytes([c, d]));
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        if length > MAX_CONTROL_BYTES {
            return Err(Malformed::TooLong(length));
        }
        if source.len() < HEAD_BYTES + length {
            source.reserve(HEAD_BYTES + length - source.len());
            return Ok(None);
        }
        source.advance(HEAD_BYTES);
        let content = source.split_to(length);
        self.control(kind, flags & FIN != 0, &content).map(Some)
    }

    /// What has come of the data of a frame.
    fn piece(&mut self, coming: Coming, source: &mut BytesMut) -> Option<Frame> {
        let Coming { id, left, fin } = coming;
        let n = left.min(source.len()).min(MAX_PIECE_BYTES);
        self.coming = (n < left).then_some(Coming { left: left - n, ..coming });
        if n == 0 && left > 0 {
            return None;
        }
        Some(Frame::Data { id, bytes: source.split_to(n).freeze(), fin: fin && n == left })
    }

    fn control(&mut self, kind: u16, fin: bool, content: &[u8]) -> Result<Frame, Malformed> {
        let wrong = || Malformed::Length { kind, length: content.len() };
        let (first, rest) = content.split_first_chunk::<4>().ok_or_else(wrong)?;
        let first = u32::from_be_bytes(*first);
        let id = first & 0x7fff_ffff;
        if id == 0 && !matches!(kind, 4 | 7) {
            return Err(Malformed::ZeroStream);
        }
        let only = || rest.first_chunk().filter(|_| rest.len() == 4).map(|n| u32::from_be_bytes(*n)).ok_or_else(wrong);
        Ok(match kind {
            1 => {
                // The stream that it belongs to (4 bytes), priority and credential (1 byte each).
                let block = rest.get(6..).ok_or_else(wrong)?;
                Frame::SynStream { id, headers: self.inflater.read(block)?, fin }
            }
            2 => Frame::SynReply { id, headers: self.inflater.read(rest)?, fin },
            3 => Frame::Reset { id, status: ResetStatus(only()?) },
            4 => Frame::Settings,
            6 if rest.is_empty() => Frame::Ping { id: first },
            6 => return Err(wrong()),
            7 => Frame::GoAway { last: id, status: only()? },
            8 => Frame::Headers { id, headers: self.inflater.read(rest)?, fin },
            9 => Frame::WindowUpdate { id, delta: only()? },
            _ => return Err(Malformed::Kind(kind)),
        })
    }

    /// Writes a frame; data longer than [`MAX_PIECE_BYTES`] as several.
    pub fn write(&mut self, frame: Frame, target: &mut BytesMut) {
        match frame {
            Frame::Data { id, mut bytes, fin } => loop {
                let piece = bytes.split_to(bytes.len().min(MAX_PIECE_BYTES));
                target.put_u32(id);
                put_length(u8::from(fin && bytes.is_empty()), piece.len(), target);
                target.put_slice(&piece);
                if bytes.is_empty() {
                    return;
                }
            },
            Frame::SynStream { id, headers, fin } => {
                // It belongs to no other stream and has priority and credential 0.
                let mut content = numbers(&[id, 0]);
                content.put_u16(0);
                self.deflater.write(&headers, &mut content);
                put_control(1, fin, &content, target);
            }
            Frame::SynReply { id, headers, fin } => {
                let mut content = numbers(&[id]);
                self.deflater.write(&headers, &mut content);
                put_control(2, fin, &content, target);
            }
            Frame::Headers { id, headers, fin } => {
                let mut content = numbers(&[id]);
                self.deflater.write(&headers, &mut content);
                put_control(8, fin, &content, target);
            }
            Frame::Reset { id, status } => put_control(3, false, &numbers(&[id, status.0]), target),
            Frame::Settings => put_control(4, false, &numbers(&[0]), target),
            Frame::Ping { id } => put_control(6, false, &numbers(&[id]), target),
            Frame::GoAway { last, status } => put_control(7, false, &numbers(&[last, status]), target),
            Frame::WindowUpdate { id, delta } => put_control(9, false, &numbers(&[id, delta]), target),
        }
    }
}

fn numbers(all: &[u32]) -> BytesMut {
    let mut content = BytesMut::new();
    for number in all {
        content.put_u32(*number);
    }
    content
}

fn put_control(kind: u16, fin: bool, content: &[u8], target: &mut BytesMut) {
    target.put_u16(0x8000 | VERSION);
    target.put_u16(kind);
    put_length(u8::from(fin), content.len(), target);
    target.put_slice(content);
}

fn put_length(flags: u8, length: usize, target: &mut BytesMut) {
    // All that is written is far shorter than 2²⁴ bytes.
    target.put_u32(u32::from(flags) << 24 | u32::try_from(length).unwrap_or(0) & 0x00ff_ffff);
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = Broken;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, Broken> {
        Ok(self.read(source)?)
    }
}

impl Encoder<Frame> for Codec {
    type Error = Broken;

    fn encode(&mut self, frame: Frame, target: &mut BytesMut) -> Result<(), Broken> {
        self.write(frame, target);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
