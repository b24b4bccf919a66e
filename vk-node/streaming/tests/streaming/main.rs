//! The server's side of the protocols against clients that are written here, over connections in memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so that it failed"
)]

mod client;
mod forwards;
mod sessions;
mod spdy;
