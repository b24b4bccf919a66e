//! `run`.
//!
//! ```text
//!   read script and headers ──▶ heed Ctrl-C ──▶ create ──▶ say its name ──▶ wait, print what it writes ──▶ its exit code
//! ```
//!
//! Whatever is made has been named before this program ends: Ctrl-C during the create is heeded when that has been answered.

use std::time::Duration;

use anyhow::Result;
use vk_cli_core::args::{ClusterFlags, DryRun, Run};
use vk_cli_core::interrupt::Event;
use vk_cli_core::output::{self, Format};
use vk_cli_core::{exit, plain};
use vk_cmd_crds::CmdJob;

use crate::cluster::Cluster;
use crate::follow;
use crate::interrupt::{Attended, Outcome, Signals, attend};
use crate::logs::{self, Options};
use crate::screen::{Progress, print, print_value, say};
use crate::submit::{self, Order};
use crate::{cancel, interrupt};

pub(crate) async fn run(flags: &ClusterFlags, args: Run) -> Result<u8> {
    let order = Order::of(&args)?;
    // What is wrong with it is told before anybody is asked.
    let draft = order.job(&order.name())?;
    let dry_run = args.dry_run.unwrap_or(DryRun::None);
    if dry_run == DryRun::Client {
        show(&draft, args.output.unwrap_or(Format::Yaml))?;
        return Ok(0);
    }
    let cluster = Cluster::of(flags).await?;
    let mut signals = Signals::new()?;
    let (made, pressed) = uninterrupted(&mut signals, order.submit(&cluster, dry_run == DryRun::Server)).await;
    let job = made?;
    if dry_run == DryRun::Server {
        show(&job, args.output.unwrap_or(Format::Yaml))?;
        return Ok(0);
    }
    let waits = args.wait || args.follow || args.timeout.is_some() || args.rm || order.waits();
    if !waits {
        match args.output {
            Some(format) => show(&job, format)?,
            None => print(&submit::told(&job))?,
        }
        return Ok(if pressed.is_empty() { 0 } else { exit::INTERRUPTED });
    }
    say(submit::told(&job).trim_end());
    let attended = Attended { cluster: &cluster, name: plain::name(&job), uid: job.metadata.uid.as_deref() };
    let outcome = attend(&mut signals, &attended, pressed, Box::pin(within(&args, &cluster, &job))).await;
    let ended = match outcome {
        Ok(Outcome::Done(Some(ended))) => ended,
        Ok(Outcome::Done(None)) => {
            say(&format!("{} is waited for no longer; it goes on", attended.name));
            return Ok(exit::TIMED_OUT);
        }
        Ok(Outcome::Left(code)) => return Ok(code),
        Err(error) => {
            say(&vk_cli_core::interrupt::way_back(&cluster.namespace, attended.name));
            return Err(error);
        }
    };
    finish(&args, &attended, &ended).await
}

/// Waits for the end, as long as is wanted.
async fn within(args: &Run, cluster: &Cluster, job: &CmdJob) -> Result<Option<CmdJob>> {
    let ended = Box::pin(ended(args.follow, cluster, job));
    match args.timeout {
        None => ended.await.map(Some),
        Some(seconds) => match tokio::time::timeout(Duration::from_secs(seconds.unsigned_abs()), ended).await {
            Ok(ended) => ended.map(Some),
            Err(_) => Ok(None),
        },
    }
}

/// Waits for the end, and prints meanwhile what it writes if that is wanted.
async fn ended(prints: bool, cluster: &Cluster, job: &CmdJob) -> Result<CmdJob> {
    if prints {
        return Box::pin(logs::follow(cluster, job, Options::following())).await.map(|followed| followed.job);
    }
    let progress = Progress::begin();
    let (name, uid) = (plain::name(job), job.metadata.uid.as_deref());
    let ended = follow::until(cluster, name, &progress, |now| {
        if vk_cli_core::cancel::is_gone(uid, now) {
            return Some(None);
        }
        now.filter(|job| plain::is_over(job)).cloned().map(Some)
    });
    ended.await?.ok_or_else(|| anyhow::anyhow!("{name} was deleted before it had ended"))
}

async fn finish(args: &Run, attended: &Attended<'_>, ended: &CmdJob) -> Result<u8> {
    if let Some(format) = args.output {
        show(ended, format)?;
    }
    if let Some(words) = exit::words(ended) {
        say(&words);
    }
    if args.rm {
        let progress = Progress::silent();
        // How it ended is what was asked for, and is returned whatever becomes of the rest.
        if let Err(error) = cancel::end(attended.cluster, attended.name, attended.uid, &progress).await {
            let way = format!("kubectl cmdjob cancel -n {} {}", attended.cluster.namespace, attended.name);
            say(&format!("{} has ended and is still there: {error:#}; to remove it: {way}", attended.name));
        }
    }
    Ok(exit::of(ended).unwrap_or(exit::NO_CODE))
}

fn show(job: &CmdJob, format: Format) -> Result<()> {
    match format {
        Format::Json | Format::Yaml => print_value(format, &output::list(std::slice::from_ref(job), true)),
        Format::Name => print(&format!("{}\n", output::job_name(plain::name(job)))),
        Format::Wide => print(&submit::told(job)),
    }
}

/// Does something that must not be left half-way, and gives the signals that came meanwhile.
async fn uninterrupted<T>(signals: &mut interrupt::Signals, work: impl Future<Output = T>) -> (T, Vec<Event>) {
    let mut pressed = Vec::new();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            // It lives outside the loop, and goes on after a signal.
            done = &mut work => return (done, pressed),
            event = signals.next() => pressed.push(event),
        }
    }
}
