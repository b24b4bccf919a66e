//! Everything that the operator decides, and nothing that it does: no clock, no network, no randomness. Facts and the
//! time come in as arguments; steps and statuses come out as values.
//!
//! One reconcile goes through the modules in this order, which is [`mod@look`], and what it does to the world on the way are [`effects`]:
//! [`mod@validate`] reads the CmdJob, [`seen`] reads its pods (of which [`pods`] keeps all) and the jobs that it waits for ([`dependencies`]), [`ledger`] reads what has been counted, `survey` counts what has
//! ended since, by what [`judge`] makes of it, [`mod@plan`] decides, [`floor`] finds nodes for what is to start ([`place`]) when it is its turn, [`pod`] builds
//! it, in the job's [`trace`], [`status`] says what has become of it, in [`attempts`] for the last ones one by one, and [`patch`] finds the smallest
//! write that makes the API server say so too; [`events`] tells people of it. Beside them, [`interests`] says whom a change concerns, [`csr`] decides which certificate requests of nodes are approved, [`fleet`] how it is with the fleets, [`pilots`] how they come to their nodes, [`cordon`] which nodes take no pods, [`nodes`] what becomes of those that end, and [`lease`] which of several operators acts.

pub mod attempts;
pub mod backoff;
pub mod cordon;
pub mod csr;
pub mod dependencies;
pub mod effects;
pub mod events;
pub mod fleet;
pub mod floor;
pub mod indexes;
pub mod interests;
pub mod join;
pub mod judge;
pub mod lease;
pub mod ledger;
pub mod look;
pub mod memory;
pub mod nodes;
pub mod object;
pub mod patch;
pub mod pilots;
pub mod place;
pub mod plan;
pub mod pod;
pub mod pods;
pub mod seen;
mod shared;
pub mod status;
mod survey;
pub mod trace;
pub mod validate;
mod words;
mod work;

pub use object::Object;
pub use plan::{Leave, Plan, Start, Step, leave, plan};
pub use seen::{Absence, Dependency, PodSeen, Seen, Sight};
pub use validate::{Invalid, ValidJob, validate};
