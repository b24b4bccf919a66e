//! `hold`, `release`, `requeue`.

use anyhow::{Result, bail};
use kube::api::{Patch, PatchParams, PostParams};
use vk_cli_core::args::{ClusterFlags, Hold, OutputFlag, Release, Requeue, Which};
use vk_cli_core::hold::{self, Deed};
use vk_cli_core::output::{self, Format};
use vk_cli_core::{cancel, exit, plain};
use vk_cmd_crds::CmdJob;

use crate::cluster::{Cluster, FIELD_MANAGER};
use crate::follow;
use crate::screen::{Progress, print, print_value, say};

/// How often a job is looked at again that somebody else has changed meanwhile.
const TRIES: usize = 10;

pub(crate) async fn hold(flags: &ClusterFlags, args: Hold) -> Result<u8> {
    let end_running = args.end_running;
    each(flags, &args.which, args.output, "held", |job| hold::hold(job, end_running)).await
}

pub(crate) async fn release(flags: &ClusterFlags, args: Release) -> Result<u8> {
    each(flags, &args.which, args.output, "released", hold::release).await
}

pub(crate) async fn requeue(flags: &ClusterFlags, args: Requeue) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    let job = cluster.job(&args.name).await?;
    if let Some(new) = &args.new {
        let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let jobs = cluster.jobs();
        let made = cluster.call("make another job", jobs.create(&params, &hold::copy(&job, new))).await?;
        report(&[made], true, args.output, "created")?;
        return Ok(0);
    }
    match change(&cluster, &job, &hold::requeue).await? {
        Change::Made(_) => {}
        Change::Already(words) => {
            say(&words);
            report(&[job], true, args.output, "left as it is")?;
            return Ok(0);
        }
        Change::Refused(words) => bail!(words),
    }
    let name = &args.name;
    let uid = job.metadata.uid.clone();
    let mut progress = Progress::begin();
    progress.keep(&format!(
        "{name} is held until what runs of it has ended, and released then; if this is left: kubectl cmdjob release -n {} {name}",
        cluster.namespace
    ));
    let stopped = follow::until(&cluster, name, &progress, |now| {
        if cancel::is_gone(uid.as_deref(), now) {
            return Some(None);
        }
        // Or it was released by somebody, or has ended after all.
        let is_done = |job: &&CmdJob| hold::is_held(job) || !job.spec.suspend || plain::is_over(job);
        now.filter(is_done).cloned().map(Some)
    });
    let stopped = stopped.await?;
    progress.end();
    let Some(stopped) = stopped else { bail!("{name} was deleted meanwhile") };
    let after = match change(&cluster, &stopped, &hold::release).await? {
        Change::Made(job) => *job,
        Change::Already(_) => stopped,
        Change::Refused(words) => bail!(words),
    };
    report(&[after], true, args.output, "requeued")?;
    Ok(0)
}

/// What has become of a job.
enum Change {
    Made(Box<CmdJob>),
    Already(String),
    Refused(String),
}

/// Decides about a job and does it; again, if somebody has changed the job meanwhile.
async fn change(cluster: &Cluster, job: &CmdJob, decide: &impl Fn(&CmdJob) -> Deed) -> Result<Change> {
    let name = plain::name(job);
    let mut job = job.clone();
    for _ in 0..TRIES {
        let patch = match decide(&job) {
            Deed::Patch(patch) => patch,
            Deed::Already(words) => return Ok(Change::Already(words)),
            Deed::Refuse(words) => return Ok(Change::Refused(words)),
        };
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let jobs = cluster.jobs();
        match cluster.call("change the job", jobs.patch(name, &params, &Patch::Merge(&patch))).await {
            Ok(job) => return Ok(Change::Made(Box::new(job))),
            Err(error) if error.is_conflict() => job = cluster.job(name).await?,
            Err(error) => return Err(cluster.no_job(name, error)),
        }
    }
    bail!("{name} changes all the time: try again")
}

async fn each(
    flags: &ClusterFlags,
    which: &Which,
    output: OutputFlag,
    done: &str,
    decide: impl Fn(&CmdJob) -> Deed,
) -> Result<u8> {
    if which.names.is_empty() && which.selector.is_none() && !which.all {
        bail!("which jobs? Name them, or say --all or -l LABELS");
    }
    let cluster = Cluster::of(flags).await?;
    let by_name = !which.names.is_empty();
    let mut jobs = cluster.chosen(&which.names, which.selector.as_deref()).await?;
    // Of all jobs, those that have ended are not meant.
    jobs.retain(|job| by_name || !plain::is_over(job));
    let (mut after, mut refused) = (Vec::new(), false);
    for job in &jobs {
        match change(&cluster, job, &decide).await? {
            Change::Made(job) => after.push(*job),
            Change::Already(words) => {
                say(&words);
                after.push(job.clone());
            }
            Change::Refused(words) => {
                say(&format!("error: {words}"));
                refused = true;
            }
        }
    }
    report(&after, which.names.len() == 1, output, done)?;
    Ok(if refused { exit::FAILED } else { 0 })
}

fn report(jobs: &[CmdJob], is_single: bool, output: OutputFlag, done: &str) -> Result<()> {
    match output.output {
        Some(format @ (Format::Json | Format::Yaml)) => print_value(format, &output::list(jobs, is_single)),
        Some(Format::Name) => {
            print(&jobs.iter().map(|job| format!("{}\n", output::job_name(plain::name(job)))).collect::<String>())
        }
        Some(Format::Wide) | None => {
            let lines = jobs.iter().map(|job| format!("{} {done}\n", output::job_name(plain::name(job))));
            print(&lines.collect::<String>())
        }
    }
}
