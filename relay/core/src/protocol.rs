//! What relay and node say to each other: HTTP/2 with the roles reversed. The node dials, and is the server of that
//! connection; the relay is its client.
//!
//! ```text
//!   CONNECT kubelet                  one connection of the API server, byte for byte, with an end for each direction
//!   POST    /v1/message   Message    something that the node is to know
//! ```
//!
//! HTTP/2 has all that a multiplexer needs: streams with a window each and one for all of them, ends of one direction,
//! resets, PING, and an orderly end (GOAWAY). Its version is agreed on in the TLS handshake (ALPN), so that a later one
//! can differ.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"vk-relay/1";
/// Where messages go.
pub const MESSAGE_PATH: &str = "/v1/message";
/// What a stream is opened to.
pub const KUBELET: &str = "kubelet:10250";
/// The header of a stream in which the relay says who has connected to the node's port, for people to read.
pub const PEER_HEADER: &str = "vk-relay-peer";
/// How much of one stream the receiver takes before it has passed it on, in bytes: what a reader that stops costs.
pub const STREAM_WINDOW: u32 = 256 << 10;
/// How much of one stream the sender keeps that has not left yet, in bytes.
pub const SEND_BUFFER: usize = 64 << 10;
/// How many streams a node takes at a time. The relay has a limit of its own, which is lower.
pub const NODE_STREAMS: u32 = 1024;
/// How long a connection may be silent before it is asked whether it is there, in seconds. Both sides ask.
pub const PING_AFTER_SECONDS: u64 = 10;
/// How long the answer may take, in seconds: after that the connection is dead.
pub const PING_TIMEOUT_SECONDS: u64 = 20;
/// The longest message, in bytes.
pub const MESSAGE_MAX: usize = 64 << 10;

/// Something that the node is to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Message {
    /// The node has been let in.
    #[serde(rename_all = "camelCase")]
    Welcome {
        /// The name in its certificate.
        node: String,
        /// The relay's address, where the API server reaches it.
        address: IpAddr,
        /// The port of that address that is this node's.
        port: u16,
    },
    /// The node has not been let in, and the connection is about to be closed.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// Why, and what to do about it, for people.
        why: String,
    },
    /// No more streams will come by this connection; those that there are go on. The node is to dial again.
    #[serde(rename_all = "camelCase")]
    Leave {
        /// Why.
        why: Leave,
        /// Within how many seconds, at a random moment: so that not all nodes come at once.
        within_seconds: u32,
    },
}

/// Why a connection is not used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leave {
    /// The relay is about to end.
    Stopping,
    /// The same node has dialled again since: the newest connection is the one that counts.
    Replaced,
}

impl Message {
    /// As it is sent.
    ///
    /// # Errors
    /// Never for what can be made.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// As it was received.
    ///
    /// # Errors
    /// When it is none that this version knows.
    pub fn of_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_these() {
        for (message, json) in [
            (
                Message::Welcome { node: "vk-a".into(), address: [10, 0, 0, 9].into(), port: 20_001 },
                r#"{"kind":"welcome","node":"vk-a","address":"10.0.0.9","port":20001}"#,
            ),
            (Message::Refused { why: "no".into() }, r#"{"kind":"refused","why":"no"}"#),
            (
                Message::Leave { why: Leave::Stopping, within_seconds: 10 },
                r#"{"kind":"leave","why":"stopping","withinSeconds":10}"#,
            ),
        ] {
            assert_eq!(String::from_utf8(message.to_json().unwrap()).unwrap(), json);
            assert_eq!(Message::of_json(json.as_bytes()).unwrap(), message);
        }
        // A later relay may say more.
        assert!(Message::of_json(br#"{"kind":"refused","why":"no","code":7}"#).is_ok());
        assert!(Message::of_json(br#"{"kind":"other"}"#).is_err());
    }
}
