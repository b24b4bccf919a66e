//! `cancel`.

use std::time::Duration;

use anyhow::Result;
use kube::api::{DeleteParams, Preconditions};
use vk_cli_core::args::{Cancel, ClusterFlags};
use vk_cli_core::output::{self, Format};
use vk_cli_core::{cancel, exit, plain};
use vk_cmd_crds::CmdJob;

use crate::cluster::Cluster;
use crate::follow;
use crate::interrupt::Signals;
use crate::screen::{Progress, print, print_value, say};

pub(crate) async fn run(flags: &ClusterFlags, args: Cancel) -> Result<u8> {
    let which = &args.which;
    if which.names.is_empty() && which.selector.is_none() && !which.all {
        anyhow::bail!("which jobs? Name them, or say --all or -l LABELS");
    }
    let cluster = Cluster::of(flags).await?;
    let mut signals = Signals::new()?;
    let mut missing = Vec::new();
    let mut jobs = Vec::new();
    if which.names.is_empty() {
        jobs = cluster.chosen(&[], which.selector.as_deref()).await?;
    }
    for name in &which.names {
        // One that is not there keeps nobody from cancelling the others.
        match cluster.job(name).await {
            Ok(job) => jobs.push(job),
            Err(error) => missing.push(error),
        }
    }
    for job in &jobs {
        ask(&cluster, plain::name(job), job.metadata.uid.as_deref()).await?;
    }
    let mut timed_out = false;
    if !args.no_wait {
        let mut progress = Progress::begin();
        let gone = futures::future::try_join_all(jobs.iter().map(|job| gone(&cluster, job, &progress)));
        let limit = args.timeout.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.unsigned_abs()));
        let limit = tokio::time::sleep(limit.min(Duration::from_secs(u64::from(u32::MAX))));
        let left = tokio::select! {
            // The deletion is asked for already: whoever is first, nothing is lost.
            gone = gone => { gone?; None },
            () = limit => { timed_out = true; Some("they are being cancelled all the same") },
            _ = signals.next() => Some("they are being cancelled all the same"),
        };
        progress.end();
        if let Some(words) = left {
            say(words);
            return Ok(if timed_out { exit::TIMED_OUT } else { exit::INTERRUPTED });
        }
    }
    report(&jobs, &args)?;
    for error in &missing {
        say(&format!("error: {error:#}"));
    }
    Ok(if missing.is_empty() { 0 } else { exit::FAILED })
}

fn report(jobs: &[CmdJob], args: &Cancel) -> Result<()> {
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            print_value(format, &output::list(jobs, args.which.names.len() == 1))
        }
        name => {
            let what = if args.no_wait { " is being cancelled" } else { " cancelled" };
            let what = if name == Some(Format::Name) { "" } else { what };
            let lines = jobs.iter().map(|job| format!("{}{what}\n", output::job_name(plain::name(job))));
            print(&lines.collect::<String>())
        }
    }
}

/// Cancels a job, and waits until it is gone: its processes are, then.
pub(crate) async fn end(cluster: &Cluster, name: &str, uid: Option<&str>, progress: &Progress) -> Result<()> {
    ask(cluster, name, uid).await?;
    wait(cluster, name, uid, progress).await
}

/// Asks for the end of a job of which nothing runs.
pub(crate) async fn end_quickly(cluster: &Cluster, name: &str, uid: Option<&str>) -> Result<()> {
    ask(cluster, name, uid).await
}

/// Asks for the deletion of this very job. One that is gone is what was wanted.
async fn ask(cluster: &Cluster, name: &str, uid: Option<&str>) -> Result<()> {
    let preconditions = Preconditions { uid: uid.map(str::to_owned), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    let jobs = cluster.jobs();
    match cluster.call("cancel the job", jobs.delete(name, &params)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn gone(cluster: &Cluster, job: &CmdJob, progress: &Progress) -> Result<()> {
    wait(cluster, plain::name(job), job.metadata.uid.as_deref(), progress).await
}

async fn wait(cluster: &Cluster, name: &str, uid: Option<&str>, progress: &Progress) -> Result<()> {
    let mut last = String::new();
    let quiet = Progress::silent();
    follow::until(cluster, name, &quiet, |job| {
        if cancel::is_gone(uid, job) {
            return Some(());
        }
        let words = job.map(cancel::waits_for).unwrap_or_default();
        if words != last {
            progress.tell(words.clone());
            last = words;
        }
        None
    })
    .await
}
