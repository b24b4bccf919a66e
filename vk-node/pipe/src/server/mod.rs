//! The pipe itself.
//!
//! - `api` answers requests on the socket; `fifo` turns lines into tasks; `logs` reads output; `stream` is exec and
//!   attach; `control` speaks to the shims.
//! - `table` knows all tasks and tells watchers of changes.
//! - A `keeper` cares for each task that is not final: starts its shim, watches it, draws the conclusion when it is
//!   lost. What it does next is decided in `decide`, which touches nothing.
//! - `site` says what may be run, and how; `audit` keeps a log of that, and of the ends.
//! - `collect` removes the records that nobody needs any more: `retention` decides which, and touches nothing.
//! - `stats` measures what tasks use.
//! - `given` finds and makes ready what a task is given of its pod and of the host; `namespaces` tells whether it can be
//!   mounted.
//! - `pods` keeps the directories of pods.
//! - `events` hears the shims ring.

mod allowance;
mod api;
mod audit;
mod blocking;
mod busy;
mod cgroup;
mod collect;
mod control;
mod decide;
mod events;
mod fifo;
mod given;
mod host;
mod keeper;
mod last_words;
mod leftovers;
mod limits;
mod log_cursor;
mod log_stream;
mod log_text;
mod log_watch;
mod logs;
pub mod look;
mod lose;
mod namespaces;
mod pods;
mod refusal;
mod remove;
mod retention;
mod site;
mod start;
mod stats;
mod storage;
mod stream;
mod table;
mod told;
mod volume_file;

use std::future::Future;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use vk_record::clock::Clock;
use vk_record::{Dir, chain, names};
use vk_task::{CgroupChoice, HostInfo};

use audit::AuditLog;
use blocking::Blocking;
use collect::Collection;
#[doc(hidden)]
pub use fifo::fuzz::play as fuzz_fifo;
use log_watch::LogWatch;
use pods::PodDirs;
use site::SiteRules;
pub use site::{OWN_NAME as OWN_SITE_FILE, SYSTEM_PLACE as SYSTEM_SITE_FILE};
use stats::Measurements;
pub use storage::FileSystem;
use storage::{HostClaim, Storage};
use table::Table;

/// How long requests that are being answered may take when the pipe is asked to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a pipe needs to know.
#[derive(Clone, Debug)]
pub struct PipeOptions {
    /// Its directory, `$HOME/hostpipe` by default: see [`PipeOptions::new`].
    pub directory: PathBuf,
    /// Where the records go. `None`: into its directory, or where that is on a shared file system to local disk.
    pub records: Option<PathBuf>,
    /// What the directory is taken to be on, for tests. `None`: what it is on.
    pub file_system: Option<FileSystem>,
    /// The program that is run as `<program> shim <task-directory> <pipe-directory>`.
    pub shim_program: PathBuf,
    /// The site's file; `None`: `/etc/vk-cmd/site.yaml`, or else `site.yaml` in the pipe's directory, if it is there.
    pub site_file: Option<PathBuf>,
    /// Which directory of cgroups it uses.
    pub cgroup: CgroupChoice,
}

impl PipeOptions {
    /// For the pipe in `directory`, whose shims are this very program.
    ///
    /// # Errors
    /// When the program's own path cannot be found out.
    pub fn new(directory: PathBuf) -> std::io::Result<Self> {
        let shim_program = std::env::current_exe()?;
        Ok(Self {
            directory,
            records: None,
            file_system: None,
            shim_program,
            site_file: None,
            cgroup: CgroupChoice::Auto,
        })
    }
}

/// What all parts of the pipe share.
#[derive(Debug)]
struct Pipe {
    root: Arc<Dir>,
    /// What `tasks` and the pods' directories are in.
    records: Dir,
    tasks: Dir,
    trash: Dir,
    pods: PodDirs,
    shim_program: PathBuf,
    /// The limit of open files that this pipe was started with, and that tasks are to have.
    open_files: Option<u64>,
    info: HostInfo,
    site: SiteRules,
    audit: AuditLog,
    /// By which it is told how old something is.
    clock: Clock,
    collection: Collection,
    table: Arc<Table>,
    blocking: Blocking,
    /// For what waits for processes and containers to be gone, which may take long: others do not wait for that.
    losing: Blocking,
    log_watch: LogWatch,
    measurements: Measurements,
    /// Cancelled when the pipe ends.
    closing: CancellationToken,
    /// The connections that the HTTP server has given away.
    streams: TaskTracker,
}

/// Runs the pipe until `shutdown` is done. Tasks go on without it.
///
/// # Errors
/// When the directory cannot be used, or another pipe has it.
pub async fn run(options: PipeOptions, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let open_files = limits::raise_open_files();
    let mut info = host::info(options.directory.clone());
    let storage = Storage::open(&options.directory, options.records, options.file_system, info.hostname.clone())?;
    let Storage { ref root, ref records, .. } = storage;
    let (tasks, _) = records.create_dir(names::TASKS)?;
    tasks.spread_directories();
    let (trash, _) = records.create_dir(names::TRASH)?;
    let pods = PodDirs::open(records)?;
    let site = SiteRules::open(options.site_file, root, &tasks)?;
    let (audit, ends) = AuditLog::new(records);
    // Before the tasks are read: what changes from now on rings here.
    let events = events::bind(root).context("cannot listen to the shims")?;
    info.enforcement = cgroup::prepare(&options.cgroup)?;
    info.mount_namespaces = namespaces::try_out(&options.shim_program, &tasks).await;
    info.records = storage.place.clone();
    let pipe = Arc::new(Pipe {
        root: Arc::clone(root),
        records: records.try_clone()?,
        tasks,
        trash,
        pods,
        shim_program: options.shim_program,
        open_files,
        info,
        site,
        audit,
        clock: Clock::kept_in(root.try_clone()?, names::CLOCK)?,
        collection: Collection::default(),
        table: Arc::default(),
        blocking: Blocking::default(),
        losing: Blocking::default(),
        log_watch: LogWatch::new(),
        measurements: Measurements::default(),
        closing: CancellationToken::new(),
        streams: TaskTracker::new(),
    });
    let fifo = fifo::open(&pipe.root)?;
    let auditor = tokio::spawn(audit::run(Arc::clone(&pipe), ends));
    start::recover(&pipe).await.context("the records of earlier tasks cannot be listed")?;
    let listener = listen(&pipe.root).context("cannot listen for requests")?;
    info!(directory = %options.directory.display(), "the pipe is ready");

    let ears = tokio::spawn(events::hear(events, Arc::clone(&pipe)));
    let collector = tokio::spawn(collect::run(Arc::clone(&pipe)));
    let (reading, lines) = fifo.read(Arc::clone(&pipe))?;
    let lines = tokio::spawn(lines);
    let closing = pipe.closing.clone();
    let served = axum::serve(listener, api::router(Arc::clone(&pipe)))
        .with_graceful_shutdown(async move { closing.cancelled().await });
    let mut served = tokio::spawn(async move { served.await });
    tokio::select! {
        // Cancel-safe: the task goes on, and is awaited again below.
        ended = &mut served => bail!("the pipe's socket failed: {ended:?}"),
        // Cancel-safe: nothing is lost by not waiting for the signal any more.
        () = shutdown => {}
        // Cancel-safe: the claim is given back when it is dropped.
        lost = keep_claim(storage.claim) => return Err(lost.context("the pipe has lost its directory to another host")),
    }
    pipe.closing.cancel();
    pipe.streams.close();
    let farewell = async { tokio::join!(served, pipe.streams.wait()) };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        warn!("a request took longer than {FAREWELL:?} and was cut off");
    }
    // What has been read from the FIFO is nowhere else.
    reading.end();
    if tokio::time::timeout(FAREWELL, lines).await.is_err() {
        warn!("lines of the FIFO were read and are not tasks yet after {FAREWELL:?}: they are lost");
    }
    collector.abort();
    ears.abort();
    auditor.abort();
    info!("the pipe ends; tasks that run go on");
    Ok(())
}

/// Ends when another host has taken the directory.
async fn keep_claim(claim: Option<HostClaim>) -> anyhow::Error {
    match claim {
        Some(claim) => claim.keep().await,
        None => std::future::pending().await,
    }
}

/// Opens the socket, in place of one that a pipe before this one left.
fn listen(root: &Dir) -> anyhow::Result<UnixListener> {
    root.remove_file(names::SOCKET)?;
    let listener = StdUnixListener::bind(root.short_path(names::SOCKET))?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}

/// Takes a mutex. A panic of another holder leaves what it guards whole: each change of it is a single one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says that something went wrong which nobody waits to hear of.
fn complain(what: &str, error: &dyn std::error::Error) {
    error!("{what}: {}", chain(error));
}
