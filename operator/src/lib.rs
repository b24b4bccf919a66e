//! The operator: it turns CmdJobs into pods and what becomes of the pods into the CmdJobs' status.
//!
//! Everything is decided in `vk-operator-core`. This crate acts: [`cache`] watches, [`reconcile`] goes through the five
//! steps, [`observe`] asks the API server what only it can know, [`apply`] and [`report`] write.
//! [`approver`] approves the certificates of nodes; [`election`] sees to it that one of several operators acts.

pub mod api;
pub mod apply;
pub mod approver;
pub mod cache;
pub mod cli;
pub mod election;
pub mod health;
pub mod memory;
pub mod metrics;
pub mod observe;
pub mod reconcile;
pub mod report;
pub mod run;
pub mod strays;
