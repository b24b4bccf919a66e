//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{ArgAction, Args, Parser, Subcommand};
use jiff::SignedDuration;
use tracing_subscriber::EnvFilter;
use vk_operator_core::lease::Times;

use crate::approver::Approvals;
use crate::check::CheckArgs;
use crate::join::JoinTokenArgs;
use crate::log;
use crate::relay::{self, RelayArgs};
use crate::run::{self, Options};

/// How it ends: `vk-operator --help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  it was told to end, or what was asked for is done
  1  it could not be done, or (check) the CmdJob has not run to its end; standard error says why
  2  the command line makes no sense";

/// Turns CmdJobs into pods on vk-cmd nodes, and reports what becomes of them.
#[derive(Debug, Parser)]
#[command(name = "vk-operator", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT.
    Run(Box<RunArgs>),
    /// Make a token by which machines join a fleet, and print the line for it; or list or revoke such tokens.
    JoinToken(Box<JoinTokenArgs>),
    /// Run a relay, which nodes dial that nobody can dial, until SIGTERM or SIGINT.
    Relay(Box<RelayArgs>),
    /// Have a CmdJob run on a vk-node, and wait for its end: the whole way and back, as `helm test` tries it.
    Check(Box<CheckArgs>),
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

    /// Whether to approve the serving certificates of vk-nodes, for the names and addresses that their Nodes have.
    #[arg(
        long, env = "VK_OPERATOR_APPROVE_SERVING_CERTIFICATES", value_name = "BOOL", default_value_t = true,
        num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set,
    )]
    pub approve_serving_certificates: bool,

    /// Whether to approve the client certificates of vk-nodes too: the first ones, which bootstrap tokens of the group
    /// system:bootstrappers:vk-cmd ask for, and the next ones, which the nodes ask for themselves.
    #[arg(
        long, env = "VK_OPERATOR_APPROVE_CLIENT_CERTIFICATES", value_name = "BOOL", default_value_t = false,
        num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set,
    )]
    pub approve_client_certificates: bool,

    /// Whether several operators may run, of which one acts: the one that holds the Lease vk-operator.
    #[arg(
        long, env = "VK_OPERATOR_LEADER_ELECT", value_name = "BOOL", default_value_t = false,
        num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set,
    )]
    pub leader_elect: bool,

    /// The namespace of that Lease. Without it: that of the pod, or of the kubeconfig.
    #[arg(long, env = "VK_OPERATOR_LEADER_ELECT_NAMESPACE", value_name = "NAMESPACE")]
    pub leader_elect_namespace: Option<String>,

    /// How long that Lease lasts if it is not renewed: the longest until another operator goes on when one was killed. Whole
    /// seconds, as those who wait read it from the Lease.
    #[arg(
        long, env = "VK_OPERATOR_LEADER_ELECT_LEASE_DURATION", value_name = "DURATION", default_value = "15s",
        value_parser = duration,
    )]
    pub leader_elect_lease_duration: Duration,

    /// How long after its last renewal the operator that leads acts no more, and ends: at least a second before the end of the
    /// Lease.
    #[arg(
        long, env = "VK_OPERATOR_LEADER_ELECT_RENEW_DEADLINE", value_name = "DURATION", default_value = "10s",
        value_parser = duration,
    )]
    pub leader_elect_renew_deadline: Duration,

    /// How often the Lease is renewed, and looked at by those who wait. Each look is a request.
    #[arg(
        long, env = "VK_OPERATOR_LEADER_ELECT_RETRY_PERIOD", value_name = "DURATION", default_value = "2s",
        value_parser = duration,
    )]
    pub leader_elect_retry_period: Duration,

    /// How long a node whose end (vk-cmd.io/ends-at) has passed is not heard from before its Node object is removed: whoever has
    /// died so long after that does not come back.
    #[arg(
        long, env = "VK_OPERATOR_DEAD_NODE_AFTER", value_name = "DURATION", default_value = "10m", value_parser = duration,
    )]
    pub dead_node_after: Duration,

    /// What to log, as tracing's EnvFilter: error, warn, info, debug, trace, or by module.
    #[arg(long, env = "VK_OPERATOR_LOG", value_name = "FILTER", default_value = "info")]
    pub log_level: EnvFilter,

    /// A file with such a filter, which counts for more, and may change while the operator runs: a ConfigMap that is mounted,
    /// say. Where it is missing or empty, --log-level counts.
    #[arg(long, env = "VK_OPERATOR_LOG_FILTER_FILE", value_name = "FILE")]
    pub log_filter_file: Option<PathBuf>,
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

/// A length of time as in Go and in jiff's friendly form: 15s, 1m30s, 500ms.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("not a length of time such as 15s or 500ms: {error}");
    let parsed: SignedDuration = text.parse().map_err(|error| wrong(&error))?;
    Duration::try_from(parsed).map_err(|error| wrong(&error))
}

impl RunArgs {
    /// The times of the election.
    fn times(&self) -> anyhow::Result<Times> {
        Times::new(
            self.leader_elect_lease_duration,
            self.leader_elect_renew_deadline,
            self.leader_elect_retry_period,
        )
        .context("--leader-elect-lease-duration, --leader-elect-renew-deadline and --leader-elect-retry-period do not fit together")
    }
}

impl Cli {
    /// Does what the command line says.
    pub async fn run(self) -> anyhow::Result<()> {
        let args = match self.command {
            Command::Run(args) => args,
            Command::JoinToken(args) => return args.run().await,
            Command::Relay(args) => return relay::run(*args).await,
            Command::Check(args) => return args.run().await,
        };
        let times = args.times()?;
        let log = log::begin(&args.log_level, args.log_filter_file).context("cannot begin to log")?;
        let config = run::kube_config(args.kubeconfig.as_deref()).await?;
        let approvals =
            Approvals { serving: args.approve_serving_certificates, clients: args.approve_client_certificates };
        let namespace = args.leader_elect_namespace.unwrap_or_else(|| config.default_namespace.clone());
        let options = Options {
            health_address: args.health_address.0,
            approvals,
            election: args.leader_elect.then_some((namespace, times)),
            dead_after: SignedDuration::try_from(args.dead_node_after).unwrap_or(SignedDuration::MAX),
        };
        let ended = tokio::select! {
            ended = Box::pin(run::run(config, options)) => ended,
            // Cancel-safe: it only reads. It goes on for ever.
            () = log.run() => Ok(()),
        };
        ended.context("the operator has stopped")
    }
}
