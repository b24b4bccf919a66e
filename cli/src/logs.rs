//! `logs`, and what `run -f` prints.
//!
//! ```text
//!   watch of the job ──────┐
//!   watch of its pods ─────┼──▶ which logs are read now ──▶ a stream for each ──▶ one channel ──▶ standard output
//!   a list of them at the end ┘
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow};
use futures::StreamExt as _;
use kube::api::ListParams;
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::watch_object;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use vk_api_client::CallError;
use vk_cli_core::args::{self, ClusterFlags};
use vk_cli_core::logs::{Life, Meant, PodOfJob, prefix};
use vk_cli_core::progress::Teller;
use vk_cli_core::refusals::Refusals;
use vk_cli_core::tries::Tries;
use vk_cli_core::{cancel, exit, job, plain};
use vk_cmd_crds::{CmdJob, labels};

use crate::cluster::Cluster;
use crate::follow::{Trouble, pods_of};
use crate::interrupt::{Attended, Outcome, Signals, attend};
use crate::screen::{self, Progress, say};
use crate::streams::{self, Line, Wanted};

/// How many lines wait to be printed.
const BUFFER: usize = 1024;

/// What is printed, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    meant: Meant,
    wanted: Wanted,
    timestamps: bool,
    prefix: Option<bool>,
    is_json: bool,
    waits: bool,
}

impl Options {
    /// All that comes, to the end.
    pub(crate) fn following() -> Self {
        let wanted = Wanted { follow: true, ..Wanted::default() };
        Self { wanted, waits: true, ..Self::default() }
    }
}

pub(crate) async fn run(flags: &ClusterFlags, args: args::Logs) -> Result<u8> {
    let indexes = args.index.as_deref().map(job::indexes).transpose().map_err(anyhow::Error::msg)?;
    let cluster = Cluster::of(flags).await?;
    let job = cluster.job(&args.name).await?;
    let options = Options {
        meant: Meant { indexes, all_attempts: args.all_attempts },
        wanted: Wanted { follow: args.follow, tail: args.tail, since: args.since },
        timestamps: args.timestamps,
        prefix: args.prefix,
        is_json: args.output.is_some(),
        waits: !args.no_wait,
    };
    if !args.follow {
        let is_whole = print_once(&cluster, &job, &options).await?;
        return Ok(if is_whole { 0 } else { exit::FAILED });
    }
    let mut signals = Signals::new()?;
    let attended = Attended { cluster: &cluster, name: &args.name, uid: job.metadata.uid.as_deref() };
    let followed = Box::pin(follow(&cluster, &job, options));
    let ended = attend(&mut signals, &attended, Vec::new(), followed).await?;
    Ok(match ended {
        Outcome::Done(Followed { is_whole: true, .. }) => 0,
        Outcome::Done(_) => exit::FAILED,
        Outcome::Left(code) => code,
    })
}

/// Prints what has been written so far; of a job that has not begun, when it has. Whether that was all of it.
async fn print_once(cluster: &Cluster, job: &CmdJob, options: &Options) -> Result<bool> {
    let mut pods = listed(cluster, job).await?;
    if options.waits && !has_begun(&pods, options) && !plain::is_over(job) {
        wait_for_start(cluster, job, options).await?;
        pods = listed(cluster, job).await?;
    }
    let mut printer = Printer::new(job, options);
    let mut is_whole = true;
    for pod in options.meant.among(&pods).into_iter().filter(|pod| is_readable(pod)) {
        let (sender, mut lines) = mpsc::channel(BUFFER);
        let (_life, told) = watch::channel(pod.life);
        let pod = Arc::new(pod.clone());
        let read = streams::read(cluster.clone(), pod, told, options.wanted.clone(), sender);
        let print = async {
            while let Some(line) = lines.recv().await {
                printer.print(&line)?;
            }
            printer.flush()
        };
        is_whole &= futures::future::try_join(read, print).await?.0;
    }
    if !has_begun(&pods, options) {
        say(&format!("{} has written nothing: {}", plain::name(job), plain::reason(job)));
    }
    Ok(is_whole)
}

fn is_readable(pod: &PodOfJob) -> bool {
    matches!(pod.life, Life::Running | Life::Ended)
}

fn has_begun(pods: &[PodOfJob], options: &Options) -> bool {
    options.meant.among(pods).into_iter().any(is_readable)
}

/// Waits until something that is meant runs or has run, or the job is over.
async fn wait_for_start(cluster: &Cluster, job: &CmdJob, options: &Options) -> Result<()> {
    let mut progress = Progress::begin();
    let (name, uid) = (plain::name(job), job.metadata.uid.clone().unwrap_or_default());
    let over = crate::follow::until(cluster, name, &progress, |now| {
        let is_over = cancel::is_gone(Some(&uid), now) || now.is_some_and(plain::is_over);
        is_over.then_some(())
    });
    let started = async {
        let mut trouble = Trouble::default();
        let mut pods = std::pin::pin!(pods_of(cluster, &uid));
        while let Some(pod) = pods.next().await {
            match pod {
                Ok(pod) if PodOfJob::of(&pod).is_some_and(|pod| has_begun(&[pod], options)) => return Ok(()),
                Ok(_) => trouble.over(drop),
                // The watch of the job tells of it.
                Err(error) => trouble.bear(error, drop)?,
            }
        }
        Err(anyhow!("the watch of the pods has ended"))
    };
    let waited = tokio::select! {
        // Whoever is first, the pods are listed after it.
        over = over => over,
        started = started => started,
    };
    progress.end();
    waited
}

async fn listed(cluster: &Cluster, job: &CmdJob) -> Result<Vec<PodOfJob>> {
    let selector = format!("{}={}", labels::JOB_UID, job.metadata.uid.as_deref().unwrap_or_default());
    let pods = cluster.namespaced::<k8s_openapi::api::core::v1::Pod>();
    let list = cluster.call("list the job's pods", pods.list(&ListParams::default().labels(&selector))).await?;
    Ok(list.items.iter().filter_map(PodOfJob::of).collect())
}

/// A job whose output has been printed to its end.
pub(crate) struct Followed {
    /// The job as it is then.
    pub(crate) job: CmdJob,
    /// Whether that was all of its output: what is missing has been told.
    pub(crate) is_whole: bool,
}

/// The pods of a job that has ended. An API server that is away is waited for: what the job has written, and how it ended, is not
/// to be lost for that.
async fn listed_at_last(cluster: &Cluster, job: &CmdJob, progress: &Progress) -> Result<Vec<PodOfJob>> {
    let (mut refusals, mut tries) = (Refusals::after_an_answer(), Tries::default());
    loop {
        match listed(cluster, job).await {
            Ok(pods) => return Ok(pods),
            Err(error) => {
                let code = error.downcast_ref::<CallError>().and_then(CallError::status).map(|status| status.code);
                let now = Instant::now();
                if !refusals.may_change(code, now) {
                    return Err(error);
                }
                tries.fail(now);
                progress.tell(format!("the API server is asked again: {error:#}"));
            }
        }
        tokio::time::sleep(tries.pause()).await;
    }
}

/// Prints what a job writes until it has ended.
pub(crate) async fn follow(cluster: &Cluster, job: &CmdJob, options: Options) -> Result<Followed> {
    let (name, uid) = (plain::name(job), job.metadata.uid.clone().unwrap_or_default());
    let mut printer = Printer::new(job, &options);
    let mut progress = Progress::begin();
    let mut teller = Teller::default();
    let (mut of_job, mut of_pods) = (Trouble::default(), Trouble::default());
    let mut readers = Readers::new(cluster, options);
    let mut jobs = std::pin::pin!(watch_object(cluster.jobs(), name).default_backoff());
    let mut pods = std::pin::pin!(pods_of(cluster, &uid));
    let mut ended: Option<CmdJob> = None;
    let mut is_whole = true;
    loop {
        if ended.is_some() && readers.tasks.is_empty() {
            break;
        }
        tokio::select! {
            // Streams, the channel and the set of tasks keep what is not taken.
            Some(line) = readers.lines.recv() => {
                progress.end();
                printer.print(&line)?;
                // As many as are there, and then they are shown.
                while let Ok(line) = readers.lines.try_recv() {
                    printer.print(&line)?;
                }
                printer.flush()?;
            }
            Some(done) = readers.tasks.join_next() => is_whole &= done??,
            Some(seen) = jobs.next(), if ended.is_none() => match seen.inspect(|_| of_job.over(|words| progress.tell(words))) {
                Ok(now) if cancel::is_gone(Some(&uid), now.as_ref()) => {
                    return Err(anyhow!("{name} was deleted before it had ended"));
                }
                Ok(Some(now)) => {
                    if let Some(line) = teller.tell(name, Some(&now)).filter(|_| !printer.has_begun) {
                        progress.tell(line);
                    }
                    if plain::is_over(&now) {
                        // The watch of its pods may be behind: this list is not.
                        for pod in listed_at_last(cluster, &now, &progress).await? {
                            readers.see(pod);
                        }
                        ended = Some(now);
                    }
                }
                Ok(None) => {}
                Err(error) => of_job.bear(error, |words| progress.tell(words))?,
            },
            Some(seen) = pods.next(), if ended.is_none() => match seen.inspect(|_| of_pods.over(drop)) {
                Ok(pod) => {
                    if let Some(pod) = PodOfJob::of(&pod) {
                        readers.see(pod);
                    }
                }
                // The watch of the job tells of it.
                Err(error) => of_pods.bear(error, drop)?,
            },
            else => return Err(anyhow!("the watch of {name} has ended")),
        }
    }
    progress.end();
    // The readers are gone, and what they have sent last is still to be printed.
    while let Ok(line) = readers.lines.try_recv() {
        printer.print(&line)?;
    }
    printer.flush()?;
    ended.map(|job| Followed { job, is_whole }).ok_or_else(|| anyhow!("{name} has not ended"))
}

/// The streams that are read.
struct Readers<'a> {
    cluster: &'a Cluster,
    options: Options,
    pods: BTreeMap<String, PodOfJob>,
    /// How far each pod is whose log is read, by UID.
    lives: BTreeMap<String, watch::Sender<Life>>,
    tasks: JoinSet<Result<bool>>,
    sender: mpsc::Sender<Line>,
    lines: mpsc::Receiver<Line>,
}

impl<'a> Readers<'a> {
    fn new(cluster: &'a Cluster, options: Options) -> Self {
        let (sender, lines) = mpsc::channel(BUFFER);
        Self { cluster, options, pods: BTreeMap::new(), lives: BTreeMap::new(), tasks: JoinSet::new(), sender, lines }
    }

    /// A pod is as it is now: its log is read if it is meant, and there is one.
    fn see(&mut self, pod: PodOfJob) {
        if let Some(life) = self.lives.get(&pod.uid) {
            // A reader that is done listens no more.
            let _ = life.send(pod.life);
        }
        self.pods.insert(pod.uid.clone(), pod);
        let meant = self.options.meant.among(self.pods.values());
        let new: Vec<PodOfJob> =
            meant.into_iter().filter(|pod| is_readable(pod) && !self.lives.contains_key(&pod.uid)).cloned().collect();
        for pod in new {
            let (life, told) = watch::channel(pod.life);
            self.lives.insert(pod.uid.clone(), life);
            let (pod, wanted) = (Arc::new(pod), self.options.wanted.clone());
            self.tasks.spawn(streams::read(self.cluster.clone(), pod, told, wanted, self.sender.clone()));
        }
    }
}

/// Prints lines.
struct Printer {
    out: std::io::BufWriter<std::io::Stdout>,
    prefixes: bool,
    coloured: bool,
    timestamps: bool,
    is_json: bool,
    has_begun: bool,
}

impl Printer {
    fn new(job: &CmdJob, options: &Options) -> Self {
        Self {
            out: std::io::BufWriter::new(std::io::stdout()),
            prefixes: options.prefix.unwrap_or_else(|| plain::is_array(job) || options.meant.all_attempts),
            coloured: screen::has_colours(),
            timestamps: options.timestamps,
            is_json: options.is_json,
            has_begun: false,
        }
    }

    fn print(&mut self, line: &Line) -> Result<()> {
        self.has_begun = true;
        if self.is_json {
            let text = String::from_utf8_lossy(&line.text);
            let object = json!({
                "time": line.at, "pod": line.pod.name, "index": line.pod.index, "attempt": line.pod.attempt, "line": text,
            });
            return Ok(writeln!(self.out, "{object}")?);
        }
        if self.prefixes {
            self.out.write_all(prefix(&line.pod, self.coloured).as_bytes())?;
        }
        if let Some(at) = line.at.filter(|_| self.timestamps) {
            write!(self.out, "{at} ")?;
        }
        self.out.write_all(&line.text)?;
        Ok(self.out.write_all(b"\n")?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}
