//! End-to-end tests, all against one real control plane.
//!
//! One program, so that the control plane is started once; the tests run in parallel on it, each in a namespace and on nodes of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so that it failed"
)]

mod admission;
mod asking;
mod attach;
mod cancel;
mod chart;
mod chart_works;
mod cli;
mod cluster_is_up;
mod cmdfleet;
mod crashes;
mod crds;
mod dead_nodes;
mod docs;
mod events;
mod evictions;
mod exec;
mod fifo;
mod fixture;
mod fleet;
mod given;
mod ground;
mod identity;
mod job_ends;
mod job_events;
mod job_volumes;
mod join;
mod kubelet_access;
mod kubelet_api;
mod last_words;
mod life;
mod like_job;
mod many;
mod names;
mod newcomers;
mod no_room;
mod node_object;
mod operator;
mod operator_alone;
mod operators;
mod output;
mod partition;
mod plain_pods;
mod pod_security;
mod port_forward;
mod probes;
mod queue;
mod relay;
mod rough;
mod same_name;
mod site_admin;
mod site_rules;
mod sites;
mod slurm;
mod stays;
mod steady;
mod top;
mod trace;
mod tunnel;
mod volumes;
mod walltime;
