//! A tunnel by ssh: what is decided about it. What runs ssh is in the crate `vk-node`.
//!
//! ```text
//!   site                                          │ control plane
//!                                                 │
//!   vk-node ──▶ api.sock ──┐                      │                   ┌──▶ API server
//!                          ├──▶ ssh ══ one connection ══▶ sshd ───────┤
//!   kubelet's API ◀────────┘                      │                   └──◀ address:port of the Node
//! ```
//!
//! The system's own `ssh` makes the connection, so that its config, its keys and agents, jumps over other hosts and second
//! factors are what they are for the user anyhow. vk-node has it listen for orders (ControlMaster) and orders the forwards
//! one by one, so that each is granted or refused by itself, with its own reason, and one more can be had at any time.
//!
//! - [`address`]: where the tunnel leads to, and what the far end is to listen on
//! - [`argv`]: the command lines
//! - [`words`]: what ssh says, and what it means
//! - [`course`]: when a connection is begun, given up, and begun again
//! - [`forward`]: which port is asked for, and what became of it

pub mod address;
pub mod argv;
pub mod course;
pub mod forward;
pub mod words;

#[cfg(test)]
mod tests;

pub use self::address::{Bind, Destination};
pub use self::course::{Course, Seen, Step};
pub use self::forward::{Forward, Granted, Port, Refused};
pub use self::words::Trouble;
