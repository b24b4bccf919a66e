//! What the relay and the nodes behind it decide, and nothing that they do: no clock, no network, no randomness.
//!
//! ```text
//!   node ── dials, TLS 1.3, its client certificate ──▶ relay        who: is that a node, and which?
//!   node ◀── Welcome {address, port} ───────────────── relay        ports: which port is this name's?
//!   node ◀── a stream for each connection to the port ─ relay       protocol: what the two say to each other
//!   node ── dials again, later ───────────────────────▶ relay       redial: how much later? choice: which of several?
//! ```
//!
//! How all of it goes together, and what an attacker could do: docs/how-to/relay.md.

pub mod choice;
pub mod ports;
pub mod protocol;
pub mod redial;
pub mod who;

/// A number that follows from a name: FNV-1a, because it is to stay the same in all versions.
fn fnv(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
