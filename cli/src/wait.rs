//! `wait`.

use std::time::Duration;

use anyhow::{Result, anyhow};
use vk_cli_core::args::{ClusterFlags, Until, Wait};
use vk_cli_core::output::{self, Format};
use vk_cli_core::{cancel, exit, plain};
use vk_cmd_crds::{AttemptState, CmdJob};

use crate::cluster::Cluster;
use crate::follow;
use crate::screen::{Progress, print, print_value, say};

pub(crate) async fn run(flags: &ClusterFlags, args: Wait) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    let mut progress = Progress::begin();
    let all = futures::future::try_join_all(args.names.iter().map(|name| one(&cluster, name, args.until, &progress)));
    let jobs = match args.timeout {
        None => all.await?,
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds.unsigned_abs()), all).await {
            Ok(jobs) => jobs?,
            Err(_) => {
                progress.end();
                say("it has not come to that in time; whatever runs goes on");
                return Ok(exit::TIMED_OUT);
            }
        },
    };
    progress.end();
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            print_value(format, &output::list(&jobs, args.names.len() == 1))?
        }
        Some(Format::Name) => {
            print(&jobs.iter().map(|job| format!("{}\n", output::job_name(plain::name(job)))).collect::<String>())?;
        }
        Some(Format::Wide) | None => {
            print(&jobs.iter().map(|job| format!("{}\n", vk_cli_core::progress::line(job))).collect::<String>())?;
        }
    }
    if args.until == Until::Running {
        return Ok(0);
    }
    Ok(exit::worst(jobs.iter().map(|job| exit::of(job).unwrap_or(exit::NO_CODE))))
}

/// Waits for one job, which must be there.
async fn one(cluster: &Cluster, name: &str, until: Until, progress: &Progress) -> Result<CmdJob> {
    let job = cluster.job(name).await?;
    let uid = job.metadata.uid.as_deref();
    let reached = |job: &CmdJob| plain::is_over(job) || until == Until::Running && has_started(job);
    let seen = follow::until(cluster, name, progress, |now| {
        if cancel::is_gone(uid, now) {
            return Some(None);
        }
        now.filter(|job| reached(job)).cloned().map(Some)
    });
    seen.await?.ok_or_else(|| anyhow!("{name} was deleted before it had ended"))
}

fn has_started(job: &CmdJob) -> bool {
    let attempts = job.status.as_ref().map(|status| status.attempts.as_slice()).unwrap_or_default();
    attempts.iter().any(|attempt| attempt.state == AttemptState::Running || attempt.started_at.is_some())
}
