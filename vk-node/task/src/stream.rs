//! What goes over an upgraded connection: `exec` and `attach`.
//!
//! After the answer `101 Switching Protocols` both sides send frames:
//!
//! ```text
//!   ┌─────────┬──────────────────────┬─────────┐
//!   │ channel │ length, big-endian   │ payload │
//!   │ 1 byte  │ 4 bytes              │         │
//!   └─────────┴──────────────────────┴─────────┘
//! ```
//!
//! The numbers of the channels are those of Kubernetes' WebSocket protocol v5, so that the kubelet's server only has to
//! pass on what it gets. The first frame is the caller's: channel [`Channel::Request`] with a [`StreamRequest`]. The last
//! one is the pipe's: channel [`Channel::Status`] with a [`StreamEnd`].

use serde::{Deserialize, Serialize};

use crate::{ApiError, DirName, End};

/// The value of the `Upgrade` header.
pub const UPGRADE: &str = "vk-stream.v1";
/// The longest payload of one frame; a longer one is an error of the sender.
pub const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// The bytes before a payload.
pub const HEAD_BYTES: usize = 5;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Bytes for standard input.
    Stdin = 0,
    /// Bytes of standard output, or of the terminal.
    Stdout = 1,
    /// Bytes of standard error.
    Stderr = 2,
    /// A [`StreamEnd`] as JSON; the pipe closes after it.
    Status = 3,
    /// A [`TerminalSize`] as JSON.
    Resize = 4,
    /// A [`StreamRequest`] as JSON.
    Request = 16,
    /// One byte, the channel that has come to its end: half-close.
    Close = 255,
}

impl Channel {
    /// The channel of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Status,
            4 => Self::Resize,
            16 => Self::Request,
            255 => Self::Close,
            _ => return None,
        })
    }
}

/// What is wanted of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StreamRequest {
    /// Run a program beside the task's own: in its environment, working directory, container and limits.
    Exec {
        /// The program and its arguments; at least the program.
        argv: Vec<String>,
        /// Whether its standard input comes over the stream; without, it is at its end from the beginning.
        stdin: bool,
        /// Whether it gets a terminal; what it shows then comes as standard output.
        terminal: bool,
        /// Who asks, for the audit log.
        #[serde(default)]
        user: String,
    },
    /// Take part in the task's own input and output, from now on.
    Attach {
        /// Whether to write to its standard input.
        stdin: bool,
        /// Whether to get its standard output.
        stdout: bool,
        /// Whether to get its standard error.
        stderr: bool,
        /// Who asks, for the audit log.
        #[serde(default)]
        user: String,
    },
}

/// What is dialled: the first frame of a connection to [`paths::DIAL`](crate::paths::DIAL). What comes and goes then is on
/// the channels [`Channel::Stdin`] and [`Channel::Stdout`], each with its own half-close. Once the host is connected the
/// pipe says so by an empty frame of [`Channel::Stdout`], before anything else: whoever probes a port need not wait for
/// its server to speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DialRequest {
    /// The pod for whose sake it is.
    pub pod: DirName,
    /// What is dialled.
    pub target: DialTarget,
}

/// What the host connects to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum DialTarget {
    /// A port of the host's loopback for somebody outside: `port-forward`. Unless the site says otherwise, a process of the
    /// pod must listen there: the host's other services are none of theirs.
    Forward {
        /// The port.
        port: u16,
        /// Who asks, for the audit log.
        #[serde(default)]
        user: String,
    },
    /// For one of the pod's own probes or hooks.
    Probe {
        /// A name or an address; the host's own, as pods know it, if it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// The port.
        port: u16,
    },
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    #[serde(rename = "Width")]
    pub width: u16,
    /// Rows.
    #[serde(rename = "Height")]
    pub height: u16,
}

/// How a stream came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum StreamEnd {
    /// The program of an `exec`, or the task that was attached to, has ended.
    Ended {
        /// How.
        end: End,
    },
    /// What was dialled has ended: both directions are at their ends.
    Closed,
    /// It was refused, or broke off.
    Failed {
        /// Why.
        error: ApiError,
    },
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<B> {
    /// What it carries.
    pub channel: Channel,
    /// The payload.
    pub payload: B,
}

/// The part of a frame before its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the frame carries.
    pub channel: Channel,
    /// How long the payload is.
    pub len: usize,
}

/// Bytes that are no frame. There is no way to find the next frame after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrame {
    /// There is no such channel.
    #[error("there is no channel {0}")]
    Channel(u8),
    /// The payload is longer than it may be.
    #[error("a frame of {0} bytes is announced; {MAX_PAYLOAD_BYTES} is the most")]
    TooLong(usize),
}

impl Head {
    /// Reads it.
    ///
    /// # Errors
    /// When the bytes are no head of a frame.
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Self, InvalidFrame> {
        let [number, length @ ..] = bytes;
        let channel = Channel::from_number(number).ok_or(InvalidFrame::Channel(number))?;
        let len = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if len > MAX_PAYLOAD_BYTES {
            return Err(InvalidFrame::TooLong(len));
        }
        Ok(Self { channel, len })
    }

    /// Of a frame with this payload.
    ///
    /// # Errors
    /// When the payload is too long.
    pub fn of(channel: Channel, payload: &[u8]) -> Result<Self, InvalidFrame> {
        let len = payload.len();
        if len > MAX_PAYLOAD_BYTES { Err(InvalidFrame::TooLong(len)) } else { Ok(Self { channel, len }) }
    }

    /// Writes it.
    #[must_use]
    pub fn bytes(self) -> [u8; HEAD_BYTES] {
        // `len` is no more than the longest payload.
        let [a, b, c, d] = u32::try_from(self.len).unwrap_or(u32::MAX).to_be_bytes();
        [self.channel as u8, a, b, c, d]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Channel; 7] = [
        Channel::Stdin,
        Channel::Stdout,
        Channel::Stderr,
        Channel::Status,
        Channel::Resize,
        Channel::Request,
        Channel::Close,
    ];

    #[test]
    fn heads_come_back() {
        for channel in ALL {
            let head = Head::of(channel, b"abc").unwrap();
            assert_eq!(Head::parse(head.bytes()), Ok(head));
        }
        assert_eq!(Head::of(Channel::Stdin, &[0; 256]).unwrap().bytes(), [0, 0, 0, 1, 0]);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for number in 0..=u8::MAX {
            let known = ALL.iter().any(|c| *c as u8 == number);
            assert_eq!(Head::parse([number, 0, 0, 0, 0]).is_ok(), known, "{number}");
        }
        assert!(Head::parse([0, 0, 16, 0, 0]).is_ok());
        assert_eq!(Head::parse([0, 0, 16, 0, 1]), Err(InvalidFrame::TooLong(MAX_PAYLOAD_BYTES + 1)));
        assert!(Head::parse([0, 255, 255, 255, 255]).is_err());
        assert!(Head::of(Channel::Stdin, &vec![0; MAX_PAYLOAD_BYTES + 1]).is_err());
    }
}
