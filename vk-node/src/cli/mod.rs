//! The command line: what `vk-node` is asked for, and by which part of it that is done.
//!
//! ```text
//!   vk-node init, join           make of a profile or of a fleet's token what `vk-node run` needs
//!      │ node.yaml, site.yaml, bootstrap.kubeconfig
//!   vk-node run                  the node: registers with the API server, decides about pods, serves the kubelet's API
//!      │ vk-cmd.sock    ▲ node.sock
//!      │                └─────── vk-node status, drain, stop, config diff
//!   vk-node pipe                 the host side: holds the records, starts the shims
//!      │ fork           ▲ vk-cmd.sock
//!      │                └─────── vk-node jobs, logs
//!   vk-node shim                 one for each task: holds its output, waits for it, writes down how it ended
//! ```
//!
//! `shim` is not told apart here: see `main`. What an administrator asks for is in [`crate::admin`].

mod join;
mod load;
mod run;
mod sources;
mod values;

use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use vk_api_client::chain;
use vk_node_core::config::{LOG, NO_HOME, home_pipe};

use self::join::Join;
pub(crate) use self::load::{Loaded, load};
use self::run::Pipe;
pub(crate) use self::run::Run;
pub(crate) use self::sources::Sources;
pub use self::sources::settings;
use crate::admin::{self, Code, Format};
use crate::logging::Logging;
use crate::node;

/// Makes this machine a Kubernetes node whose pods are commands on the host.
#[derive(Debug, Parser)]
#[command(version, about, after_help = admin::EXIT_CODES)]
struct Cli {
    /// What is logged, as a tracing filter: `info`, `debug`, `vk_node=trace` [default: info; warn for what only asks].
    #[arg(long, env = "VK_NODE_LOG", global = true)]
    log: Option<String>,
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Writes the files that a node of this site needs, from a ready-made profile. It overwrites nothing.
    Init(admin::Init),
    /// Joins a fleet: checks a join token, and writes what `vk-node run` needs. The token is read from a file, from $VK_NODE_JOIN
    /// or from standard input.
    Join(Box<Join>),
    /// Registers this machine as a node and runs its pods.
    Run(Box<Run>),
    /// Tells how the node on this machine is. It needs no API server.
    Status(admin::Status),
    /// Shows what runs here.
    Jobs(admin::Jobs),
    /// Shows what a job here has written.
    Logs(admin::Logs),
    /// Looks for what keeps a node from working here, and says what to do about it.
    Doctor(Box<admin::Doctor>),
    /// Has the node here take nothing new, and waits until its jobs have ended.
    Drain(admin::Drain),
    /// Ends the node here, and its jobs as at the end of its walltime; or without them.
    Stop(admin::Stop),
    /// Checks and shows the settings of a node.
    #[command(subcommand)]
    Config(Box<admin::Config>),
    /// Writes a tar.gz with what others need to see what is wrong here. Secrets are left out.
    SupportBundle(admin::Bundle),
    /// Makes a unit of the user's systemd that keeps the node running.
    Service(admin::Service),
    /// Runs the host side only, for a node that sits in a container.
    Pipe(Pipe),
    /// Stands beside one task. The pipe starts it; people do not.
    #[command(hide = true)]
    Shim,
}

impl Part {
    /// What is logged where nothing is said: a program that stays tells what it does, one that answers only what is wrong.
    fn log(&self) -> &'static str {
        match self {
            Self::Join(_) | Self::Run(_) | Self::Pipe(_) | Self::Shim => LOG,
            Self::Init(_)
            | Self::Status(_)
            | Self::Jobs(_)
            | Self::Logs(_)
            | Self::Doctor(_)
            | Self::Drain(_)
            | Self::Stop(_)
            | Self::Config(_)
            | Self::SupportBundle(_)
            | Self::Service(_) => "warn",
        }
    }

    /// In what form it answers.
    fn format(&self) -> Format {
        match self {
            Self::Init(part) => part.format(),
            Self::Join(part) => part.format(),
            Self::Status(part) => part.format(),
            Self::Jobs(part) => part.format(),
            Self::Doctor(part) => part.format(),
            Self::Drain(part) => part.format(),
            Self::Stop(part) => part.format(),
            Self::Config(part) => part.format(),
            Self::SupportBundle(part) => part.format(),
            Self::Service(part) => part.format(),
            Self::Run(_) | Self::Logs(_) | Self::Pipe(_) | Self::Shim => Format::Text,
        }
    }
}

/// The command line, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the part that the command line names.
pub(crate) fn main() -> ExitCode {
    let mut command = Cli::command();
    // A command line that makes no sense ends the process here, with 2.
    let matches = command.get_matches_mut();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let sources = Sources::of(&command, &matches);
    let logging = match Logging::start(cli.log.as_deref().unwrap_or(cli.part.log())) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("vk-node: {}", chain(&*error));
            return Code::Usage.into();
        }
    };
    let format = cli.part.format();
    match start(cli, sources, logging) {
        Ok(code) => code.into(),
        Err(error) => admin::fail(format, &error).into(),
    }
}

fn start(cli: Cli, sources: Sources, logging: Logging) -> anyhow::Result<Code> {
    // One thread is enough for what waits most of the time, and the smallest to keep.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the async runtime")?;
    match cli.part {
        Part::Init(init) => init.act(),
        Part::Join(join) => join.act(runtime).map(|()| Code::Fine),
        Part::Run(run) => {
            let log = cli.log;
            let again = move || {
                let loaded = load(&run, log.as_deref(), &sources)?;
                let (shown, log) = (loaded.shown.clone(), loaded.log().to_owned());
                Ok(node::Launch { config: loaded.config()?, shown, log })
            };
            let launch = again()?;
            logging.set(&launch.log)?;
            runtime.block_on(node::run(launch, node::Again { load: Box::new(again), logging })).map(|()| Code::Fine)
        }
        Part::Status(status) => runtime.block_on(status.act()),
        Part::Jobs(jobs) => runtime.block_on(jobs.act()),
        Part::Logs(logs) => runtime.block_on(logs.act()),
        Part::Doctor(doctor) => {
            let code = runtime.block_on(doctor.act(cli.log.as_deref(), &sources));
            // A name that nobody resolves keeps its thread for longer than anybody waits.
            runtime.shutdown_background();
            code
        }
        Part::Drain(drain) => runtime.block_on(drain.act()),
        Part::Stop(stop) => runtime.block_on(stop.act()),
        Part::Config(config) => runtime.block_on(config.act(cli.log.as_deref(), &sources)),
        Part::SupportBundle(bundle) => {
            let code = runtime.block_on(bundle.act());
            runtime.shutdown_background();
            code
        }
        Part::Service(service) => service.act(),
        Part::Pipe(pipe) => {
            let hostpipe = pipe.hostpipe.or_else(|| home_pipe(std::env::home_dir()));
            let mut options = vk_pipe::server::PipeOptions::new(hostpipe.context(NO_HOME)?)?;
            options.records = pipe.records;
            options.site_file = pipe.site;
            options.cgroup = pipe.cgroup.unwrap_or_default();
            runtime
                .block_on(async { vk_pipe::server::run(options, node::shutdown_signal()?).await })
                .map(|()| Code::Fine)
        }
        Part::Shim => anyhow::bail!("the shim is started by the pipe: run `vk-node pipe`"),
    }
}
