//! The words everyone speaks: the resources `CmdJob` and `CmdFleet`, their status, and the labels, annotations, taints and names by which
//! the operator, the node, the command line and the tests find each other's work.
//!
//! Nothing here acts: no clock, no network, no files. The binary `crdgen` beside this library writes the
//! CustomResourceDefinitions for `kubectl apply` and for the chart out of the types below.

pub mod amounts;
pub mod certificates;
pub mod cmdfleet;
pub mod cmdjob;
pub mod crd;
pub mod fleet_status;
pub mod join;
pub mod labels;
pub mod launcher;
pub mod names;
pub mod policy;
pub mod quantity;
pub mod reason;
pub mod resources;
pub mod status;
pub mod volumes;

pub use cmdfleet::{CmdFleet, CmdFleetSpec, Scheduling};
pub use cmdjob::{CmdJob, CmdJobSpec, Target};
pub use fleet_status::{CmdFleetStatus, FleetCondition, FleetReason};
pub use launcher::{Launcher, PilotState, PilotStatus, PilotsStatus};
pub use names::{NameError, NodeName};
pub use policy::{
    After, CompletionMode, ExitCodeOperator, OnExitCodes, OnPodCondition, OnUnknown, PodFailurePolicy,
    PodFailurePolicyAction, PodFailurePolicyRule, SuccessPolicy, SuccessPolicyRule, When,
};
pub use reason::{ConditionType, Reason};
pub use resources::Resources;
pub use status::{Attempt, AttemptState, CmdJobStatus, Ledger, State};
pub use volumes::Volume;
