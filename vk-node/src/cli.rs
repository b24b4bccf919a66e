//! The command line: `vk-node run | pipe | shim`.
//!
//! ```text
//!   vk-node run    the node: registers with the API server, decides about pods, serves the kubelet's API
//!      │ vk-cmd.sock
//!   vk-node pipe   the host side: holds the records, starts the shims
//!      │ fork
//!   vk-node shim   one for each task: holds its output, waits for it, writes down how it ended
//! ```
//!
//! `shim` is not told apart here: see `main`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use vk_cmd_crds::NodeName;
use vk_pipe::server::CgroupChoice;

use crate::node;

/// Makes this machine a Kubernetes node whose pods are commands on the host.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// What is logged, as a tracing filter: `info`, `debug`, `vk_node=trace`.
    #[arg(long, env = "VK_NODE_LOG", default_value = "info", global = true)]
    log: String,
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Registers this machine as a node and runs its pods.
    Run(Run),
    /// Runs the host side only, for a node that sits in a container.
    Pipe(Pipe),
    /// Stands beside one task. The pipe starts it; people do not.
    #[command(hide = true)]
    Shim,
}

/// What the pipe is started with; a node passes it on to the pipe that it starts.
#[derive(Debug, Args)]
struct Pipe {
    /// The directory by which the pipe is reached [default: $HOME/hostpipe].
    #[arg(long, env = "VK_NODE_HOSTPIPE", value_name = "DIR")]
    hostpipe: Option<PathBuf>,
    /// Where records and logs of tasks go, on a disk of this host [default: the pipe's directory, or where that is on a
    /// shared file system the first local one of /var/tmp, /tmp, $TMPDIR].
    #[arg(long, env = "VK_NODE_RECORDS", value_name = "DIR")]
    records: Option<PathBuf>,
    /// The cgroup (version 2) that is delegated for tasks: `auto` takes the pipe's own if it is delegated, `off` takes
    /// none.
    #[arg(long, env = "VK_NODE_CGROUP", value_name = "DIR|auto|off", default_value_t = CgroupChoice::Auto)]
    cgroup: CgroupChoice,
    /// What the site allows [default: /etc/vk-cmd/site.yaml, or else site.yaml in the pipe's directory, if there].
    #[arg(long, env = "VK_NODE_SITE", value_name = "FILE")]
    site: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Run {
    /// The node's name: `vk-` and then lower-case letters, digits and dashes.
    #[arg(long, env = "JOBNAME", value_name = "NAME", value_parser = |text: &str| NodeName::parse(text))]
    node_name: NodeName,
    /// The kubeconfig by which the API server is reached [default: as kubectl finds it].
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Who runs the pipe.
    #[arg(long, value_enum, default_value_t = PipeOwner::Node)]
    pipe: PipeOwner,
    #[command(flatten)]
    own_pipe: Pipe,
    /// The address at which the API server reaches this node [default: the one used to reach the API server].
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The port of the kubelet's API; 0 takes any that is free.
    #[arg(long, value_name = "PORT", default_value_t = 10250)]
    kubelet_port: u16,
    /// The certificate authority whose clients may ask the kubelet's API [default: that of the kubeconfig].
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// How many pods this node takes.
    #[arg(long, value_name = "N", default_value_t = 250)]
    max_pods: u32,
    /// More labels for the node.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// More resources that the node offers and the scheduler counts: `nvidia.com/gpu=4`, say.
    #[arg(long = "resource", value_name = "NAME=COUNT", value_parser = resource)]
    resources: Vec<(String, u64)>,
}

/// Who runs the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PipeOwner {
    /// The node starts one where none answers.
    Node,
    /// Somebody else starts it: the node is in a container, the pipe is on the host.
    External,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no label: write KEY=VALUE")),
    }
}

fn resource(text: &str) -> Result<(String, u64), String> {
    let wrong =
        || format!("{text:?} is no resource: write the name of an extended resource and how many, nvidia.com/gpu=4");
    let (name, count) = text.split_once('=').filter(|(name, _)| name.contains('/')).ok_or_else(wrong)?;
    Ok((name.to_owned(), count.parse().map_err(|_| wrong())?))
}

/// Runs the part that the command line names.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = match EnvFilter::try_new(&cli.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("vk-node: --log {:?}: {error}: write a level, or module=level", cli.log);
            return ExitCode::from(2);
        }
    };
    // What cannot be logged, on a full disk for one, is not worth a panic: that is what complaining of it would come to.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false).init();
    match start(cli.part) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vk-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(part: Part) -> anyhow::Result<()> {
    // One thread is enough for what waits most of the time, and the smallest to keep.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the async runtime")?;
    match part {
        Part::Run(run) => runtime.block_on(node::run(options(run)?)),
        Part::Pipe(pipe) => {
            let mut options = vk_pipe::server::PipeOptions::new(hostpipe(pipe.hostpipe)?)?;
            options.records = pipe.records;
            options.site_file = pipe.site;
            options.cgroup = pipe.cgroup;
            runtime.block_on(async { vk_pipe::server::run(options, node::shutdown_signal()?).await })
        }
        Part::Shim => anyhow::bail!("the shim is started by the pipe: run `vk-node pipe`"),
    }
}

fn options(run: Run) -> anyhow::Result<node::Options> {
    Ok(node::Options {
        name: run.node_name,
        kubeconfig: run.kubeconfig,
        hostpipe: hostpipe(run.own_pipe.hostpipe)?,
        starts_pipe: run.pipe == PipeOwner::Node,
        records: run.own_pipe.records,
        site_file: run.own_pipe.site,
        cgroup: run.own_pipe.cgroup,
        address: run.address,
        kubelet_port: run.kubelet_port,
        client_ca_file: run.client_ca_file,
        max_pods: run.max_pods,
        labels: BTreeMap::from_iter(run.labels),
        resources: BTreeMap::from_iter(run.resources),
    })
}

/// `$HOME/hostpipe`, where the original had it, unless another directory is named.
fn hostpipe(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    match given {
        Some(directory) => Ok(directory),
        None => Ok(std::env::home_dir()
            .filter(|home| home.is_absolute())
            .context("there is no home directory for the pipe: set $HOME, or name a directory with --hostpipe")?
            .join("hostpipe")),
    }
}
