//! The demo's command line.

use std::path::PathBuf;

use clap::Parser;

/// Runs example CmdJobs on a real Kubernetes: a control plane is started, the chart installed, an operator and a node started.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo")]
pub(super) struct Cli {
    /// End when the example jobs have finished, with a non-zero exit code if one did not go as it should.
    #[arg(long)]
    pub(super) once: bool,
    /// Use the cluster of this kubeconfig, as its administrator, instead of starting a control plane. Its API server must be able
    /// to reach this machine.
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The node's name.
    #[arg(long, value_name = "NAME", default_value = "vk-demo")]
    pub(super) node_name: String,
    /// How long the example jobs may take altogether, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    pub(super) timeout: u64,
}
