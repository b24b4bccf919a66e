//! What the administrator of a site asks of `vk-node`, as programs on this machine: no API server is needed for it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so that it failed"
)]

mod bundle;
mod doctor;
mod files;
mod forms;
mod jobs;
mod node;
mod support;
