//! The command line: `vk-node join | run | pipe | shim`.
//!
//! ```text
//!   vk-node join   makes of a fleet's join token what `vk-node run` needs
//!      │ node.yaml, bootstrap.kubeconfig
//!   vk-node run    the node: registers with the API server, decides about pods, serves the kubelet's API
//!      │ vk-cmd.sock
//!   vk-node pipe   the host side: holds the records, starts the shims
//!      │ fork
//!   vk-node shim   one for each task: holds its output, waits for it, writes down how it ended
//! ```
//!
//! `shim` is not told apart here: see `main`.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use vk_cmd_crds::NodeName;
use vk_node_core::config::{
    self, CertificateSettings, ConfigError, EndSettings, MemberSettings, NO_HOME, Names, PipeOwner, RelayAddresses,
    RelaySettings, Resources, Settings, TunnelSettings, home_pipe,
};
use vk_node_core::ending::{self, OnTerm, Warning};
use vk_node_core::tunnel::{Bind, Destination};
use vk_task::CgroupChoice;

use crate::{join, node};

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
    Run(Box<Run>),
    /// Joins a fleet: checks a join token, and writes what `vk-node run` needs. The token is read from a file, from $VK_NODE_JOIN
    /// or from standard input.
    Join(Box<Join>),
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
    /// none [default: auto].
    #[arg(long, env = "VK_NODE_CGROUP", value_name = "DIR|auto|off")]
    cgroup: Option<CgroupChoice>,
    /// What the site allows [default: /etc/vk-cmd/site.yaml, or else site.yaml in the pipe's directory, if there].
    #[arg(long, env = "VK_NODE_SITE", value_name = "FILE")]
    site: Option<PathBuf>,
}

/// The settings that are wanted most; the file of `--config` has all of them. See docs/node.md.
#[derive(Debug, Args)]
struct Run {
    /// The file with the node's settings: docs/node.md. What is given here stands over it.
    #[arg(long, env = "VK_NODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's name: `vk-` and then lower-case letters, digits, dashes and dots.
    #[arg(long, env = "JOBNAME", value_name = "NAME", value_parser = |text: &str| NodeName::parse(text))]
    node_name: Option<NodeName>,
    /// Many nodes in this process, named PREFIX0, PREFIX1 and so on.
    #[arg(long, value_name = "PREFIX=COUNT", value_parser = numbered)]
    nodes: Option<Names>,
    /// The kubeconfig by which the API server is reached [default: as kubectl finds it].
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Who runs the pipe [default: node].
    #[arg(long, value_enum)]
    pipe: Option<Owner>,
    #[command(flatten)]
    own_pipe: Pipe,
    /// The address at which the API server reaches this node [default: the one used to reach the API server].
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The address that the node listens on [default: the address].
    #[arg(long, value_name = "IP")]
    listen_address: Option<IpAddr>,
    /// The port of the kubelet's API; 0 takes any that is free [default: 10250].
    #[arg(long, value_name = "PORT")]
    kubelet_port: Option<u16>,
    /// The certificate authority whose clients may ask the kubelet's API [default: that of the kubeconfig].
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    #[command(flatten)]
    certificates: Certificates,
    #[command(flatten)]
    tunnel: TunnelFlags,
    #[command(flatten)]
    relay: Relay,
    #[command(flatten)]
    end: End,
    /// How many pods this node takes [default: 250].
    #[arg(long, value_name = "N")]
    max_pods: Option<u32>,
    /// More labels for the node.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// More resources that the node offers and the scheduler counts: `nvidia.com/gpu=4`, say.
    #[arg(long = "resource", value_name = "NAME=COUNT", value_parser = resource)]
    resources: Vec<(String, u64)>,
}

/// How to join. The token is never an argument: everybody on the machine can read those.
#[derive(Debug, Args)]
struct Join {
    /// The file with the join token [default: $VK_NODE_JOIN, or else standard input].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The node's name [default: what the fleet's names and this machine's make].
    #[arg(long, env = "JOBNAME", value_name = "NAME", value_parser = |text: &str| NodeName::parse(text))]
    node_name: Option<NodeName>,
    /// The directory by which the pipe is reached, in which what is written is kept [default: $HOME/hostpipe].
    #[arg(long, env = "VK_NODE_HOSTPIPE", value_name = "DIR")]
    hostpipe: Option<PathBuf>,
    /// Do not ask the API server whether it takes the token: it is reached by a tunnel only, say.
    #[arg(long)]
    offline: bool,
    /// Go on with `vk-node run`.
    #[arg(long)]
    run: bool,
    /// What `vk-node run` is started with besides, after `--`.
    #[arg(last = true, requires = "run", value_name = "FLAGS")]
    flags: Vec<OsString>,
}

/// A tunnel by ssh, for a site that nobody can connect to: docs/tunnel.md.
#[derive(Debug, Args)]
struct TunnelFlags {
    /// Reach the API server, and be reached, through a connection of this machine's ssh: ssh:USER@HOST or ssh:NAME.
    #[arg(long, env = "VK_NODE_TUNNEL", value_name = "ssh:USER@HOST", value_parser = |text: &str| text.parse::<Destination>())]
    tunnel: Option<Destination>,
    /// What its far end listens on for this node, an address or * [default: the node's address, which is 127.0.0.1 then].
    #[arg(long, value_name = "IP", value_parser = |text: &str| text.parse::<Bind>())]
    tunnel_bind: Option<Bind>,
    /// The config that ssh reads instead of ~/.ssh/config.
    #[arg(long, value_name = "FILE")]
    tunnel_ssh_config: Option<PathBuf>,
}

/// The relay that the node dials where nobody can dial it: docs/relay.md.
#[derive(Debug, Args)]
struct Relay {
    /// The relay by which the API server reaches this node; several with commas between them: the node is on one of them, and goes
    /// to the next when that is away. The node listens on no port then.
    #[arg(long, env = "VK_NODE_RELAY", value_name = "HOST:PORT", value_parser = |text: &str| text.parse::<RelayAddresses>())]
    relay: Option<RelayAddresses>,
    /// The certificate authority that the relay's certificate is of, or several of them.
    #[arg(long, env = "VK_NODE_RELAY_CA_FILE", value_name = "FILE")]
    relay_ca_file: Option<PathBuf>,
}

/// The end of the node: docs/walltime.md.
#[derive(Debug, Args)]
struct End {
    /// How long the node is there, D-HH:MM:SS as sbatch --time takes it, or 2h30m; 0s: it has no end [default: what the batch
    /// system says of its job, or $JIRIAF_WALLTIME].
    #[arg(long, env = "VK_NODE_WALLTIME", value_name = "TIME", value_parser = |text: &str| ending::length(text))]
    walltime: Option<Duration>,
    /// The signal by which tasks are warned of the end, and how many seconds before it, as sbatch --signal takes it: USR1@120.
    /// Pods may name another by the annotation vk-cmd.io/warning-signal [default: none].
    #[arg(long, env = "VK_NODE_WARNING_SIGNAL", value_name = "SIGNAL[@SECONDS]", value_parser = |text: &str| text.parse::<Warning>())]
    warning_signal: Option<Warning>,
    /// What SIGTERM and SIGINT mean: `keep` ends this process only, and the next start goes on with the tasks; `end` ends the
    /// tasks too; `auto` is `end` in a job of a batch system [default: auto].
    #[arg(long, env = "VK_NODE_ON_TERM", value_name = "auto|keep|end", value_parser = on_term)]
    on_term: Option<OnTerm>,
    /// How many seconds after its SIGTERM the batch system sends SIGKILL: Slurm's KillWait [default: 30].
    #[arg(long, env = "VK_NODE_KILL_WAIT", value_name = "SECONDS")]
    kill_wait: Option<u64>,
}

/// The node's own certificates: docs/identity.md.
#[derive(Debug, Args)]
struct Certificates {
    /// The kubeconfig of a bootstrap token, with which a node asks for its first certificate. It is not read any more once
    /// there is one; --kubeconfig is not read at all.
    #[arg(long, env = "VK_NODE_BOOTSTRAP_KUBECONFIG", value_name = "FILE")]
    bootstrap_kubeconfig: Option<PathBuf>,
    /// Where certificates are kept, each node's in a directory of its name [default: pki in the pipe's directory].
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Whether to ask the cluster for a serving certificate too; until there is one, or without, the node makes one itself
    /// [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    server_tls_bootstrap: Option<bool>,
    /// How many seconds certificates are asked for. For tests.
    #[arg(long, value_name = "SECONDS", hide = true)]
    cert_lifetime: Option<u64>,
    /// After how many seconds a certificate is replaced. For tests.
    #[arg(long, value_name = "SECONDS", hide = true)]
    cert_rotate_after: Option<u64>,
}

/// Who runs the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Owner {
    /// The node starts one where none answers.
    Node,
    /// Somebody else starts it: the node is in a container, the pipe is on the host.
    External,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is no label: write KEY=VALUE"))?;
    config::label_problem(key, value).map_or_else(|| Ok((key.to_owned(), value.to_owned())), Err)
}

fn resource(text: &str) -> Result<(String, u64), String> {
    let wrong =
        || format!("{text:?} is no resource: write the name of an extended resource and how many, nvidia.com/gpu=4");
    let (name, count) = text.split_once('=').filter(|(name, _)| name.contains('/')).ok_or_else(wrong)?;
    Ok((name.to_owned(), count.parse().map_err(|_| wrong())?))
}

fn on_term(text: &str) -> Result<OnTerm, String> {
    let known = OnTerm::WORDS.into_iter().find(|(word, _)| *word == text);
    known.map(|(_, meant)| meant).ok_or_else(|| format!("{text:?} is none of auto, keep, end"))
}

fn numbered(text: &str) -> Result<Names, String> {
    let count = |(prefix, count): (&str, &str)| Some((prefix.to_owned(), count.parse().ok().filter(|n| *n > 0)?));
    let (prefix, count) = text.split_once('=').and_then(count).ok_or_else(|| {
        format!("{text:?} names no nodes: write what their names begin with, and how many there are, vk-gw-=20")
    })?;
    Ok(Names::Numbered { prefix, count })
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
        Part::Run(run) => runtime.block_on(node::run(settings(*run)?.finish(std::env::home_dir())?)),
        Part::Join(join) => {
            let (run, flags) = (join.run, join.flags);
            let hostpipe = join.hostpipe.or_else(|| home_pipe(std::env::home_dir())).context(NO_HOME)?;
            let wanted = join::Join {
                token_file: join.token_file,
                node_name: join.node_name,
                hostpipe: hostpipe.clone(),
                offline: join.offline,
            };
            let joined = runtime.block_on(join::join(wanted)).context("this machine has not joined")?;
            let started = [
                OsStr::new("run"),
                OsStr::new("--config"),
                joined.config.as_os_str(),
                OsStr::new("--hostpipe"),
                hostpipe.as_os_str(),
            ];
            if !run {
                let line: Vec<_> = started.iter().map(|word| word.to_string_lossy()).collect();
                println!(
                    "{} belongs to the fleet {} now. Start it with\n\n  vk-node {}",
                    joined.name,
                    joined.fleet,
                    line.join(" ")
                );
                return Ok(());
            }
            // In place of this process, so that its environment, in which the token may be, is nobody's any more: tasks inherit it.
            drop(runtime);
            let program = std::env::current_exe().context("cannot tell where this program is")?;
            let failed = Command::new(program).args(started).args(flags).env_remove(join::VARIABLE).exec();
            Err(failed).context("cannot start vk-node run")
        }
        Part::Pipe(pipe) => {
            let hostpipe = pipe.hostpipe.or_else(|| home_pipe(std::env::home_dir()));
            let mut options = vk_pipe::server::PipeOptions::new(hostpipe.context(NO_HOME)?)?;
            options.records = pipe.records;
            options.site_file = pipe.site;
            options.cgroup = pipe.cgroup.unwrap_or_default();
            runtime.block_on(async { vk_pipe::server::run(options, node::shutdown_signal()?).await })
        }
        Part::Shim => anyhow::bail!("the shim is started by the pipe: run `vk-node pipe`"),
    }
}

/// All that the node is started with: flags and their variables over the original's variables over the file.
fn settings(run: Run) -> anyhow::Result<Settings> {
    let file = match &run.config {
        Some(path) => read_file(path)?,
        None => Settings::default(),
    };
    let variables = config::from_environment(|name| std::env::var(name).ok()).map_err(ConfigError)?;
    Ok(given(run).over(variables).over(file))
}

fn read_file(path: &Path) -> anyhow::Result<Settings> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the file of --config, {name}"))?;
    let path = std::path::absolute(path).with_context(|| format!("cannot tell where {name} is"))?;
    let directory = path.parent().unwrap_or(&path);
    config::read(&text, directory).with_context(|| format!("the file of --config, {name}, makes no sense"))
}

/// What flags and their variables say.
fn given(run: Run) -> Settings {
    let Pipe { hostpipe, records, cgroup, site } = run.own_pipe;
    Settings {
        names: run.nodes.or(run.node_name.map(Names::One)),
        member: MemberSettings {
            kubeconfig: run.kubeconfig,
            address: run.address,
            listen_address: run.listen_address,
            port: run.kubelet_port,
            max_pods: run.max_pods,
            labels: run.labels.into_iter().collect(),
            capacity: Resources(run.resources.into_iter().collect()),
            walltime: run.end.walltime,
            ..MemberSettings::default()
        },
        tunnel: TunnelSettings {
            to: run.tunnel.tunnel,
            bind: run.tunnel.tunnel_bind,
            config_file: run.tunnel.tunnel_ssh_config,
            ..TunnelSettings::default()
        },
        relay: RelaySettings { addresses: run.relay.relay, ca_file: run.relay.relay_ca_file },
        ending: EndSettings {
            warning: run.end.warning_signal,
            on_term: run.end.on_term,
            kill_wait: run.end.kill_wait.map(Duration::from_secs),
            ..EndSettings::default()
        },
        client_ca_file: run.client_ca_file,
        certificates: CertificateSettings {
            bootstrap_kubeconfig: run.certificates.bootstrap_kubeconfig,
            directory: run.certificates.cert_dir,
            serving: run.certificates.server_tls_bootstrap,
            lifetime: run.certificates.cert_lifetime.map(Duration::from_secs),
            rotate_after: run.certificates.cert_rotate_after.map(Duration::from_secs),
        },
        pipe_owner: run.pipe.map(|owner| match owner {
            Owner::Node => PipeOwner::Node,
            Owner::External => PipeOwner::External,
        }),
        hostpipe,
        records,
        cgroup,
        site_file: site,
        ..Settings::default()
    }
}
