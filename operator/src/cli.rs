//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::run;

/// Turns CmdJobs into pods on vk-cmd nodes, and reports what becomes of them.
#[derive(Debug, Parser)]
#[command(name = "vk-operator", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT.
    Run(RunArgs),
}

/// The arguments of `vk-operator run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The kubeconfig to use. Without it: $KUBECONFIG, ~/.kube/config, or the pod's own ServiceAccount, in this order.
    #[arg(long, env = "VK_OPERATOR_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Where to serve /livez and /readyz, e.g. 0.0.0.0:8080. Empty: nowhere.
    #[arg(long, env = "VK_OPERATOR_HEALTH_ADDRESS", value_name = "ADDRESS:PORT", default_value = "")]
    pub health_address: HealthAddress,

    /// What to log, as tracing's EnvFilter: error, warn, info, debug, trace, or by module.
    #[arg(long, env = "VK_OPERATOR_LOG", value_name = "FILTER", default_value = "info")]
    pub log_level: EnvFilter,
}

/// Where to serve health, or nowhere.
#[derive(Clone, Copy, Debug)]
pub struct HealthAddress(pub Option<SocketAddr>);

impl std::str::FromStr for HealthAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(None)) } else { text.parse().map(|address| Self(Some(address))) }
    }
}

impl Cli {
    /// Does what the command line says.
    pub async fn run(self) -> anyhow::Result<()> {
        let Command::Run(args) = self.command;
        tracing_subscriber::fmt().with_env_filter(args.log_level).with_writer(std::io::stderr).with_ansi(false).init();
        let config = run::kube_config(args.kubeconfig.as_deref()).await?;
        run::run(config, args.health_address.0).await.context("the operator has stopped")
    }
}
