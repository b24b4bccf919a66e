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

use crate::{ApiError, End};

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
    /// It was refused, or broke off.
    Failed {
        /// Why.
        error: ApiError,
    },
}
