//! Everything the end-to-end tests, the demo and the benchmarks need: a real Kubernetes control plane on this machine, the
//! project's own programs, and sites (a `$HOME` with a vk-node in it) to run them against. Nothing here imitates Kubernetes.
//!
//! - [`tools`] finds kube-apiserver and friends, or builds them once from Go modules
//! - [`control_plane`] runs them
//! - [`binaries`] builds and finds `vk-operator` and `vk-node`
//! - [`site`], [`operator`] and [`relay`] run those, and can kill and restart them
//! - [`slurm`] is a real batch system
//! - [`audit`] tells who has asked the API server for what
//! - [`cluster`] is what tests do with any cluster: kubectl, helm, a client, credentials
//! - [`chart`] installs the project's chart, [`node_certificate`] gets a node's credentials from any cluster
//! - [`demo`] is `cargo demo`, [`mod@bench`] is `cargo bench`
//! - [`history`] finds what a watch of pods has seen that goes backwards
//! - [`kubelet`] asks a node's own API, with any credentials
//! - [`loopback`] asks a server of this machine
//! - [`proxy`] is a way to a server that can be closed, [`sshd`] one that begins with a login, [`mod@http_proxy`] one that many sites have
//! - [`bare`] is a machine that nobody has prepared
//! - [`network`] is a site behind a firewall, at the end of a bad wire
//! - [`browser`] looks at pages as a person does
//! - [`docs`] reads the documentation, so that its commands can be run
//! - [`process`], [`exec`], [`wait`], [`scratch`], [`janitor`] are what the others stand on

pub mod audit;
pub mod bare;
pub mod bench;
pub mod binaries;
pub mod browser;
pub mod chart;
pub mod cluster;
pub mod control_plane;
pub mod demo;
pub mod docs;
pub mod exec;
pub mod history;
pub mod http_proxy;
pub mod janitor;
mod kubeconfig;
pub mod kubelet;
pub mod loopback;
pub mod network;
pub mod node_certificate;
pub mod operator;
mod packages;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod runtimes;
pub mod scratch;
pub mod site;
pub mod slurm;
pub mod sshd;
pub mod tools;
pub mod wait;
