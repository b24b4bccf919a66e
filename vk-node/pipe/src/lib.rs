//! The pipe: the host-side executor of tasks, and the client that the node reaches it by.
//!
//! ```text
//!   vk-node ── client ──▶ vk-cmd.sock ─┐                       ┌── start, ring ──▶ shim ── program
//!   echo … > vk-cmd ─────▶ FIFO ───────┼──▶ table ── keepers ──┤                     │
//!   kubectl logs ── … ───▶ logs ───────┘      │                └── records ◀──────────┘
//!                                             ▼                      ▲ events.sock: "read them again"
//!                                           watch
//! ```
//!
//! The pipe may die at any moment: all it knows is on disk, the shims go on, and the next pipe reads the records. See
//! [`vk_record`] for what stands there, and [`server`] for who does what.

pub mod client;
mod frames;
pub mod server;
mod stream_client;

pub use client::{ClientError, PipeClient};
pub use server::PipeOptions;
pub use stream_client::{StreamEvent, StreamHandle, StreamInput, StreamOutput};
