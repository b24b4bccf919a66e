//! The arguments of all commands but `run`.

use clap::{ArgAction, Args, ValueEnum, ValueHint};

use super::{OutputFlag, Which};

/// `list`.
#[derive(Debug, Args)]
pub struct List {
    /// The jobs; all, if none are named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Of all namespaces.
    #[arg(long, short = 'A', conflicts_with = "names")]
    pub all_namespaces: bool,
    /// Those with these labels.
    #[arg(long, short = 'l', value_name = "LABELS", conflicts_with = "names")]
    pub selector: Option<String>,
    /// Only those that have not ended, as squeue.
    #[arg(long)]
    pub active: bool,
    /// Go on, with a line for each job that changes.
    #[arg(long, short = 'w')]
    pub watch: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// The job.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Go on until the job has ended.
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Only of these tasks of an array: 3, or 0,2-4.
    #[arg(long, short = 'i', value_name = "TASKS")]
    pub index: Option<String>,
    /// Of earlier attempts too, not only of the last one.
    #[arg(long)]
    pub all_attempts: bool,
    /// The last lines only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    pub tail: Option<i64>,
    /// What was written in this time only: 5m.
    #[arg(long, value_name = "TIME", value_parser = crate::values::seconds)]
    pub since: Option<i64>,
    /// With the time of each line.
    #[arg(long)]
    pub timestamps: bool,
    /// With the index before each line; of an array it is there anyway.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, action = ArgAction::Set, value_name = "BOOL")]
    pub prefix: Option<bool>,
    /// Do not wait for a job that has not begun.
    #[arg(long)]
    pub no_wait: bool,
    /// json: an object for each line.
    #[arg(long, short = 'o', value_name = "FORMAT", value_parser = ["json"])]
    pub output: Option<String>,
}

/// `cancel`.
#[derive(Debug, Args)]
pub struct Cancel {
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flags")]
    pub which: Which,
    /// Return when it is asked for; it happens all the same.
    #[arg(long)]
    pub no_wait: bool,
    /// The longest to wait; then return 124, and it happens all the same.
    #[arg(long, value_name = "TIME", value_parser = crate::values::seconds)]
    pub timeout: Option<i64>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `wait`.
#[derive(Debug, Args)]
pub struct Wait {
    /// The jobs.
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
    /// What to wait for.
    #[arg(long = "for", value_name = "WHAT", default_value = "end")]
    pub until: Until,
    /// The longest to wait; then return 124.
    #[arg(long, value_name = "TIME", value_parser = crate::values::seconds)]
    pub timeout: Option<i64>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// Its end.
    #[default]
    End,
    /// Its process runs, or has run.
    Running,
}

/// `hold`.
#[derive(Debug, Args)]
pub struct Hold {
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flags")]
    pub which: Which,
    /// Also of a job that runs, whose processes are then ended; they start anew when it is released.
    #[arg(long)]
    pub end_running: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `release`.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flags")]
    pub which: Which,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `requeue`.
#[derive(Debug, Args)]
pub struct Requeue {
    /// The job.
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Make another job of this name instead, with the same spec: for one that has ended.
    #[arg(long = "to", value_name = "NEW")]
    pub new: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `nodes`.
#[derive(Debug, Args)]
pub struct Nodes {
    /// The nodes; all vk-nodes, if none are named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Those of this fleet.
    #[arg(long, short = 'p', visible_alias = "partition", value_name = "NAME")]
    pub fleet: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `fleets`.
#[derive(Debug, Args)]
pub struct Fleets {
    /// The fleets; all, if none are named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The job.
    #[arg(value_name = "NAME")]
    pub name: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `top`.
#[derive(Debug, Args)]
pub struct Top {
    /// The jobs; all, if none are named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `dashboard`.
#[derive(Debug, Args)]
#[command(
    after_help = "It prints the address, which is on this machine alone and has a token in it, and serves until Ctrl-C."
)]
pub struct Dashboard {
    /// The jobs of all namespaces.
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// The port. 0: one that is free.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Also make a job that is held, see that the operator takes it up, and delete it. Nothing is run.
    #[arg(long = "try")]
    pub attempt: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `version`.
#[derive(Debug, Args)]
pub struct Version {
    #[command(flatten)]
    #[allow(missing_docs, reason = "said at the flag")]
    pub output: OutputFlag,
}

/// `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Where to.
    #[arg(value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub directory: std::path::PathBuf,
}
