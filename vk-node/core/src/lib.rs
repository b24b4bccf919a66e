//! What a vk-node decides, without doing any of it.
//!
//! ```text
//!  Pod ──▶ admit ──▶ command ──▶ TaskSpec ──▶ (pipe)
//!            │                                   │
//!            └────▶ life ◀── tasks as seen ◀─────┘
//!                    │
//!                    └──▶ steps: start, stop, publish, remove
//! ```
//!
//! Everything here is a function of its arguments: no clock, no network, no file, no randomness. The crate's
//! dependencies keep it so. What acts on these decisions is the crate `vk-node`.

pub mod admit;
pub mod authz;
pub mod certificates;
pub mod command;
pub mod config;
pub mod doctor;
pub mod downward;
pub mod ending;
pub mod env_files;
mod environment;
pub mod events;
pub mod evict;
mod expand;
pub mod facts;
pub mod files;
pub mod images;
pub mod jobs;
pub mod join;
pub mod lease;
pub mod life;
mod look;
pub mod meant;
pub mod node;
pub mod probe;
pub mod profile;
pub mod report;
pub mod room;
mod runs;
pub mod scrub;
pub mod service;
pub mod services;
pub mod sources;
pub mod stats;
mod status;
pub mod tokens;
pub mod trouble;
pub mod tunnel;
