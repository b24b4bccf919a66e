//! Everything that the operator decides, and nothing that it does: no clock, no network, no randomness. Facts and the
//! time come in as arguments; steps and statuses come out as values.
//!
//! One reconcile goes through the modules in this order:
//! [`mod@validate`] reads the CmdJob, [`seen`] reads its pods and its node, [`attempts`] joins what is recorded with what is
//! seen, [`mod@plan`] decides, [`pod`] builds what is to be created, [`status`] says what has become of it, and [`patch`] finds
//! the smallest write that makes the API server say so too. Beside them, [`csr`] decides which certificate requests of
//! nodes are approved.

pub mod attempts;
pub mod backoff;
pub mod csr;
pub mod patch;
pub mod plan;
pub mod pod;
pub mod seen;
pub mod status;
pub mod validate;
mod words;

pub use plan::{Plan, Step, plan};
pub use seen::{NodeSeen, PodSeen, Seen, Sight};
pub use validate::{Invalid, ValidJob, validate};
