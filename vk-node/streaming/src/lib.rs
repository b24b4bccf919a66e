//! The protocols by which a kubelet's clients exec, attach and forward ports. It knows neither pods nor tasks: who serves
//! gets a [`Session`](session::Session) or the [`Forward`](forward::Forward)s of a connection, whatever the client speaks.
//!
//! ```text
//!                    ┌ SPDY/3.1 ──────────────── spdy::Connection ─┐
//!   client ─upgrade──┤                                             ├──▶ Session: stdin, resize ▸ stdout, stderr, status
//!                    └ WebSocket v4, v5 ──────── websocket ────────┘
//!
//!                    ┌ SPDY/3.1 ──────────────── spdy::Connection ─┐
//!   client ─upgrade──┤ WebSocket ▸ SPDY/3.1 ──── tunnel ▸ spdy ────┼──▶ Forward, one for each forwarded connection
//!                    └ WebSocket v4 ──────────── websocket ────────┘
//! ```
//!
//! Nothing is read much ahead of the one who takes it, and nothing is written ahead of the client: a few hundred KB for each
//! stream, and then whoever sends waits. What waits with it on the same connection is told in [`spdy::Connection`].

pub mod forward;
pub mod negotiate;
pub mod session;
mod sizes;
pub mod spdy;
pub mod status;
mod tunnel;
mod watch;
mod websocket;

/// The client is not there any more, or has sent what makes no sense: there is nobody to be told anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Gone;
