//! What `kubectl cmdjob` decides and says. Pure: no clock, no network, no files, no environment; all of that comes in as arguments.
//!
//! ```text
//!   command line ──┐
//!   #CMDJOB lines ─┼──▶ Wish (the later over the earlier) ──▶ CmdJob, or all that is wrong with it
//!   #SBATCH lines ─┘
//!
//!   CmdJob, pods, events, nodes ──▶ rows, progress, a timeline, an exit code
//! ```

pub mod age;
pub mod args;
pub mod cancel;
pub mod completion;
pub mod dashboard;
pub mod doctor;
pub mod exit;
pub mod explain;
pub mod headers;
pub mod hold;
pub mod interrupt;
pub mod job;
pub mod list;
pub mod logs;
pub mod nodes;
pub mod output;
pub mod plain;
pub mod progress;
pub mod refusals;
pub mod sbatch;
pub mod script;
pub mod table;
pub mod top;
pub mod tries;
pub mod values;
pub mod wish;
