//! The command line, as words: nothing here reads anything else.

mod job;
mod others;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use job::JobFlags;
pub use others::{
    Cancel, Dashboard, Doctor, Explain, Fleets, Hold, List, Logs, Man, Nodes, Release, Requeue, Top, Until, Version,
    Wait,
};

use crate::output::Format;

/// Runs commands on machines that vk-cmd has made Kubernetes nodes, for people who know sbatch.
///
/// sbatch, squeue, scancel, sinfo and scontrol are run, list, cancel, nodes and fleets, and hold, release, requeue and explain.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-cmdjob",
    bin_name = "kubectl cmdjob",
    version,
    max_term_width = 120,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Which cluster.
    #[command(flatten)]
    pub cluster: ClusterFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Which cluster, and who we are there: kubectl's flags.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The cluster")]
pub struct ClusterFlags {
    /// The namespace. Without it: that of the kubeconfig's context.
    #[arg(long, short = 'n', global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// The kubeconfig. Without it: $KUBECONFIG, ~/.kube/config, or the pod's own ServiceAccount.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<std::path::PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The cluster of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub cluster: Option<String>,
    /// The user of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub user: Option<String>,
    /// Do it as this user.
    #[arg(long = "as", global = true, value_name = "USER", hide_short_help = true)]
    pub impersonate: Option<String>,
    /// Do it as a member of this group. May be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP", hide_short_help = true)]
    pub impersonate_group: Vec<String>,
    /// The longest that one request may take.
    #[arg(long, global = true, value_name = "TIME", default_value = "15s", value_parser = crate::values::seconds, hide_short_help = true)]
    pub request_timeout: i64,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Submit a script or a command. As sbatch; with -f as srun.
    Run(Box<Run>),
    /// List jobs, each with what it waits for or how it ended. As squeue.
    #[command(visible_alias = "ls")]
    List(List),
    /// Print what a job writes. Waits while it has not begun.
    Logs(Logs),
    /// End jobs and delete them; returns when their processes are gone. As scancel.
    Cancel(Cancel),
    /// Wait for the end of jobs, and return their exit code.
    Wait(Wait),
    /// Keep jobs from starting. As scontrol hold.
    Hold(Hold),
    /// Let jobs start that are held. As scontrol release.
    Release(Release),
    /// End what runs of jobs and start them anew, without its counting as failed. As scontrol requeue.
    Requeue(Requeue),
    /// List vk-nodes: what they have, what is used, how long they are there. As sinfo -N.
    Nodes(Nodes),
    /// List fleets. As sinfo.
    Fleets(Fleets),
    /// Tell the whole story of a job, from its submission to its report. As scontrol show job and sacct.
    Explain(Explain),
    /// Show what jobs use now. As sstat.
    Top(Top),
    /// Show jobs, nodes and fleets on a page in a browser. Read only, with your own rights.
    Dashboard(Dashboard),
    /// Look whether all is there that is needed, and say what to do where it is not.
    Doctor(Doctor),
    /// Print the version. Asks nobody.
    Version(Version),
    /// Say how to have words completed by the Tab key.
    Completion,
    /// Write the manual pages.
    #[command(hide = true)]
    Man(Man),
}

/// `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "A script's #SBATCH and #CMDJOB lines count, and flags count for more. What a header cannot have is an error.\n\
    Examples:\n  kubectl cmdjob run job.sh -p perlmutter\n  kubectl cmdjob run -w vk-a --wait -- hostname -f\n  \
    kubectl cmdjob run -f job.sh -- its arguments"
)]
pub struct Run {
    /// The script, or - for standard input.
    #[arg(value_name = "SCRIPT", value_hint = ValueHint::FilePath)]
    pub script: Option<String>,
    /// The command and its arguments; of a script, the arguments.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// A script as text.
    #[arg(long, value_name = "TEXT", conflicts_with = "script")]
    pub wrap: Option<String>,
    /// Wait for the end, and return the command's exit code: 128+n if signal n has killed it.
    #[arg(long, short = 'W')]
    pub wait: bool,
    /// The same, and print what it writes.
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// The longest to wait; then return 124, and the job goes on.
    #[arg(long, value_name = "TIME", value_parser = crate::values::seconds)]
    pub timeout: Option<i64>,
    /// Delete the job when it has ended and was waited for.
    #[arg(long)]
    pub rm: bool,
    /// Submit nothing: print what would be submitted, or ask the API server what it would say (server).
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "client", require_equals = true)]
    pub dry_run: Option<DryRun>,
    /// Options of #SBATCH lines that are passed over, by their long names with commas between them.
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = clap::builder::PossibleValuesParser::new(crate::sbatch::ignorable()), hide_possible_values = true)]
    pub ignore: Vec<String>,
    /// How to print the job.
    #[arg(long, short = 'o', value_name = "FORMAT", conflicts_with = "follow")]
    pub output: Option<Format>,
    /// What it is.
    #[command(flatten)]
    pub job: JobFlags,
}

/// Submitting nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Nobody is asked.
    Client,
    /// The API server is asked, and keeps nothing.
    Server,
    /// It is submitted.
    None,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct OutputFlag {
    /// How to print it.
    #[arg(long, short = 'o', value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// Which jobs.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// The jobs.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Those with these labels.
    #[arg(long, short = 'l', value_name = "LABELS", conflicts_with = "names")]
    pub selector: Option<String>,
    /// All of the namespace.
    #[arg(long, conflicts_with_all = ["names", "selector"])]
    pub all: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    fn run(line: &str) -> Result<Run, clap::Error> {
        let words = shlex::split(&format!("kubectl-cmdjob run {line}")).unwrap();
        let Command::Run(run) = Cli::try_parse_from(words)?.command else { panic!("{line}") };
        Ok(*run)
    }

    #[test]
    fn flags_may_stand_anywhere_before_the_two_dashes() {
        let given = run("-p f job.sh --wait -n lab -- -x 1").unwrap();
        assert_eq!((given.script.as_deref(), given.wait), (Some("job.sh"), true));
        assert_eq!(given.command, ["-x", "1"]);
        assert_eq!(given.job.fleet.as_deref(), Some("f"));
        let given = run("-w vk-a -- hostname -f").unwrap();
        assert_eq!((given.script, given.command), (None, vec!["hostname".to_owned(), "-f".to_owned()]));
        assert!(run("-f -o json job.sh").is_err());
        assert!(run("--ignore=outputt job.sh").is_err());
        assert_eq!(run("--ignore=output,account job.sh").unwrap().ignore, ["output", "account"]);
        assert_eq!(run("--dry-run job.sh").unwrap().dry_run, Some(DryRun::Client));
        assert_eq!(run("job.sh --hold").unwrap().job.hold, Some(true));
    }
}
