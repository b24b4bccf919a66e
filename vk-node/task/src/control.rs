//! What goes over a task's control socket, between the pipe and the task's shim.
//!
//! It is a Unix socket that keeps packets apart (`SOCK_SEQPACKET`): each packet is one request or one answer, as JSON,
//! with descriptors beside it. The bytes of input and output never go through the shim: it hands out descriptors, or is
//! handed them.
//!
//! | request | descriptors | answers |
//! |---|---|---|
//! | [`ControlRequest::Signal`] | | `Done` |
//! | [`ControlRequest::Resize`] | | `Done` |
//! | [`ControlRequest::Eager`] | | `Done`; in force for as long as the connection is open |
//! | [`ControlRequest::Input`] | | `Input`, with a descriptor to write to; whoever asked has done with it when the connection closes |
//! | [`ControlRequest::Exec`] | terminal: its side of it; otherwise input (if any), output, errors | `Started`, then `Ended`; the program is ended when the connection closes |
//!
//! Any request may be answered by `Refused`.

use serde::{Deserialize, Serialize};

use crate::stream::TerminalSize;
use crate::{ApiError, End, Signal};

/// The longest packet.
pub const MAX_PACKET_BYTES: usize = 128 << 10;
/// How many descriptors a packet carries at most.
pub const MAX_DESCRIPTORS: usize = 3;

/// What is asked of a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ControlRequest {
    /// Send this signal to the task's main process.
    Signal {
        /// The signal.
        signal: Signal,
    },
    /// Give the task's terminal this size.
    Resize {
        /// The size.
        size: TerminalSize,
    },
    /// Write the beginnings of lines to the log at once, instead of waiting a moment for the rest: somebody looks on.
    Eager,
    /// Hand out the task's standard input.
    Input,
    /// Run a program beside the main one, in the same environment, working directory and limits.
    Exec {
        /// The program and its arguments; at least the program.
        argv: Vec<String>,
        /// Whether a descriptor of its standard input comes along.
        stdin: bool,
        /// Whether its input and outputs are a terminal: then that is the one descriptor that comes along.
        terminal: bool,
        /// Give it the environment of this process of the task instead of the main program's: where the main program is
        /// the client of a container runtime, that of a process in the container.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        environment_of: Option<i32>,
    },
}

/// What a shim answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ControlAnswer {
    /// It is done.
    Done,
    /// The task's standard input comes along.
    Input {
        /// Whether it is a terminal.
        terminal: bool,
    },
    /// The program's process has been made; whether it became the program is told by its end.
    Started,
    /// The program has ended.
    Ended {
        /// How.
        end: End,
    },
    /// It was not done.
    Refused {
        /// Why.
        error: ApiError,
    },
}
