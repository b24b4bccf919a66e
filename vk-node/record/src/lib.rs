//! What stands on disk of each task, and how it gets there.
//!
//! ```text
//! $HOME/hostpipe/            0700; everything beneath is the user's alone
//!   vk-cmd                   the FIFO of the original; .vk-cmd.* are those that somebody has open
//!   vk-cmd.sock              the structured way in
//!   events.sock              shims ring here after each durable change
//!   pipeline.out, .err       what the FIFO's lines write, besides their logs; added by their shims
//!   clock.json               the steps of the wall clock  written by the pipe; node-clock.json by the node
//!   node-stay.json           since when the node is there, and whether it was told to end   written by the node
//!   pipe.lock                held by the one pipe of this directory
//!   pipe.host                on a shared file system: which host has it; then the rest is on local disk
//!   tasks/<id>/
//!     intent.json            what was asked, and when       written by the pipe
//!     script                 the script's text              written by the pipe, before the intent
//!     lock                   held by the task's shim for as long as it lives
//!     start.json             {pid, start time, boot id}     written by the shim, before the gate opens
//!     stop.json              a request to end it            written by the pipe
//!     log                    the output, in CRI log format  written by the shim
//!     log.<number>           older output: see log_files    the same
//!     lingering.json         killed, and does not end       written by the shim, for as long as that is so
//!     control.sock           signals, input, exec           the shim listens here
//!     exit.json              how it ended                   written by the shim
//!     reported               its end has been told of       written by the pipe; only then may records be collected
//!     audited                its end is in the audit log    written by the pipe; only then may records go
//!     unknown.json           that nobody saw how it ended   written by the pipe, holding the lock
//!     shim.err               what the shim has to complain of
//!   pods/<uid>/              volumes and private directories of pods: see `vk_task`'s `pod`
//!   trash/                   records and pods' directories on their way out
//! ```
//!
//! What is there says where the task is; each arrow is one rename, durable before anything follows from it:
//!
//! ```text
//!   (directory) ──intent.json──▶ Accepted ──start.json──▶ Running ──exit.json───▶ Ended
//!                                    │                       └──unknown.json──▶ Unknown
//!                                    └──exit.json──▶ Ended (stopped, or could not be started)
//! ```
//!
//! - A directory without an intent is a creation that was interrupted: nothing was promised, its creator may go on.
//! - `start.json` is made exclusively, by the holder of `lock`. Past it nobody starts the task again.
//! - `exit.json` and `unknown.json` are final. If both were there, the exit would be believed: it is a fact.

pub mod cgroup;
pub mod clock;
pub mod control;
pub mod cri;
mod dir;
mod durable;
mod error;
#[cfg(feature = "testing")]
pub mod faults;
#[cfg(not(feature = "testing"))]
mod faults;
pub mod lingering;
mod lock;
mod log_files;
mod parents;
pub mod pods;
pub mod points;
pub mod process;
pub mod runtime;
mod shared_file;
mod spread;
mod task;
pub mod terminal;
mod version;

/// The word after a task's name by which its shim says that the end is on record and durable.
pub const END_IS_DURABLE: &str = "durable";

pub use dir::{Dir, MAX_PIPELINE_BYTES, names};
pub use error::{RecordError, chain};
pub use lock::{Lock, LockHolder};
pub use log_files::{LogFile, closed_end, closed_name};
pub use parents::{Parent, Weakness, weaknesses};
pub use shared_file::SharedFile;
pub use task::{Exit, Facts, Intent, IntentHead, LingeringProcesses, Lost, Start, Stop, TaskDir, state_of, view_of};
pub use version::Version;
