//! Free TCP ports for servers that must be told their number beforehand.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Below where Linux takes ports for outgoing connections from (32768 on), so that none is lost to a client between our look and the
/// server's start, nor while a stopped API server's port has to wait for its return.
const FIRST: u64 = 20_000;
const COUNT: u64 = 12_000;

/// `N` different ports of 127.0.0.1 on which nobody listens now.
pub(crate) fn free<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = any_free()?;
        *port = listener.local_addr()?.port();
        held.push(listener); // until all are found: the next look must not find it again
    }
    Ok(ports)
}

fn any_free() -> Result<TcpListener> {
    // Two control planes that start at the same moment must not try the same ports in the same order.
    let random = RandomState::new();
    let candidates = (0_u32..200).filter_map(|attempt| u16::try_from(FIRST + random.hash_one(attempt) % COUNT).ok());
    for port in candidates {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(listener);
        }
    }
    bail!("found no free port between {FIRST} and {} on 127.0.0.1; `ss -tln` shows who listens there", FIRST + COUNT)
}
