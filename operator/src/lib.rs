//! The operator: it turns CmdJobs into pods and what becomes of the pods into the CmdJobs' status.
//!
//! Everything is decided in `vk-operator-core`, the order of effects too. This crate acts: [`cache`] watches, [`reconcile`] has a
//! CmdJob looked at, [`apply`] makes the calls.
//! [`events`] tells people, [`log`] and [`metrics`] whoever runs it. [`approver`] approves the certificates of nodes; [`fleet`] keeps fleets, [`mod@cordon`] has their nodes take nothing more, and [`drain`] empties them; [`join`] makes the tokens by which nodes come to them; [`nodes`] cordons those that end, and removes those that left; [`tolerance`] keeps a mistake that one object brings out from the others; [`election`] sees to it that one of several operators acts.
//! Beside all that, [`relay`] is a program of its own, and [`check`] tries the whole way.

pub mod api;
pub mod apply;
pub mod approver;
pub mod cache;
pub mod check;
pub mod cli;
pub mod cordon;
pub mod drain;
pub mod election;
pub mod events;
pub mod fleet;
pub mod health;
pub mod join;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod nodes;
pub mod pilots;
pub mod reconcile;
pub mod relay;
pub mod run;
pub mod strays;
pub mod tolerance;
