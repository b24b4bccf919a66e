//! Asking the batch system, by its own commands: whoever may run them may ask, and there is nothing to configure.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::{Timestamp, Zoned};
use tokio::process::Command;
use tokio::time::timeout;
use tracing::debug;
use vk_api_client::chain;
use vk_node_core::ending::{self, Batch, Left, Source};

/// The longest that a command may take: a controller that is overloaded does not answer for minutes.
const ANSWER: Duration = Duration::from_secs(20);
/// The longest that anything may take that is asked when the end has come.
const LATE_ANSWER: Duration = Duration::from_secs(5);

/// How long the job has, and who says so. None: this batch system is not asked.
pub(super) async fn left(batch: &Batch) -> anyhow::Result<Option<(Left, Source)>> {
    match batch {
        Batch::Slurm { job, .. } => {
            let answer = said(ANSWER, "squeue", &["-h", "-j", job, "-o", "%A %L %e"]).await?;
            Ok(Some((ending::squeue(&answer, job, Timestamp::now()), Source::Squeue)))
        }
        Batch::Pbs { job, .. } => {
            let answer = said(ANSWER, "qstat", &["-f", job]).await?;
            Ok(Some((ending::qstat(&answer, &Zoned::now()), Source::Qstat)))
        }
        Batch::Other { .. } => Ok(None),
    }
}

/// Whether Slurm says that a job was preempted.
pub(super) async fn is_preempted(job: &str) -> bool {
    match said(LATE_ANSWER, "scontrol", &["show", "job", job]).await {
        Ok(answer) => ending::is_preempted(&answer),
        Err(error) => {
            debug!("cannot learn why the job was told to end: {}", chain(&*error));
            false
        }
    }
}

/// What a command prints.
async fn said(limit: Duration, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    // Dates as they are printed where nobody has set anything, but for Slurm's, which can be had as numbers.
    command.args(arguments).env("LC_ALL", "C").env("SLURM_TIME_FORMAT", "%s").stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(limit, command.output()).await {
        Ok(output) => output.with_context(|| format!("cannot run {program}: is it on the PATH of vk-node?"))?,
        Err(_) => bail!("{program} did not answer within {} s", limit.as_secs()),
    };
    if !output.status.success() {
        bail!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
