//! The pipe itself.
//!
//! - `api` answers requests on the socket; `fifo` turns lines into tasks; `logs` reads output; `stream` is exec and
//!   attach; `control` speaks to the shims.
//! - `table` knows all tasks and tells watchers of changes.
//! - A `keeper` cares for each task that is not final: starts its shim, watches it, draws the conclusion when it is
//!   lost. What it does next is decided in `decide`, which touches nothing.
//! - `site` says what may be run, and how; `audit` keeps a log of that, and of the ends.
//! - `collect` removes the records that nobody needs any more: `retention` decides which, and touches nothing.
//! - `events` hears the shims ring.

mod api;
mod audit;
mod blocking;
mod cgroup;
mod collect;
mod control;
mod decide;
mod events;
mod fifo;
mod host;
mod keeper;
mod leftovers;
mod limits;
mod log_cursor;
mod log_stream;
mod log_text;
mod log_watch;
mod logs;
mod lose;
mod refusal;
mod remove;
mod retention;
mod site;
mod start;
mod stream;
mod table;
mod told;

use std::future::Future;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};
use vk_record::{Dir, Lock, LockHolder, chain, names};
use vk_task::HostInfo;

use audit::AuditLog;
use blocking::Blocking;
pub use cgroup::CgroupChoice;
use collect::Collection;
use log_watch::LogWatch;
use site::SiteRules;
use table::Table;

/// How long requests that are being answered may take when the pipe is asked to end.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a pipe needs to know.
#[derive(Clone, Debug)]
pub struct PipeOptions {
    /// Its directory, `$HOME/hostpipe` by default: see [`PipeOptions::new`].
    pub directory: PathBuf,
    /// The program that is run as `<program> shim <task-directory>`.
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
        Ok(Self { directory, shim_program, site_file: None, cgroup: CgroupChoice::Auto })
    }
}

/// What all parts of the pipe share.
#[derive(Debug)]
struct Pipe {
    root: Arc<Dir>,
    tasks: Dir,
    trash: Dir,
    shim_program: PathBuf,
    /// The limit of open files that this pipe was started with, and that tasks are to have.
    open_files: Option<u64>,
    info: HostInfo,
    site: SiteRules,
    audit: AuditLog,
    collection: Collection,
    table: Arc<Table>,
    blocking: Blocking,
    /// For what waits for processes and containers to be gone, which may take long: others do not wait for that.
    losing: Blocking,
    log_watch: LogWatch,
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
    let root = Arc::new(Dir::open_or_create(&options.directory).context("the pipe's directory cannot be used")?);
    let _lock = lock(&root)?;
    let (tasks, _) = root.create_dir(names::TASKS)?;
    let (trash, _) = root.create_dir(names::TRASH)?;
    let site = SiteRules::open(options.site_file, &root, &tasks)?;
    let (audit, ends) = AuditLog::new(&root);
    // Before the tasks are read: what changes from now on rings here.
    let events = events::bind(&root).context("cannot listen to the shims")?;
    let enforcement = cgroup::prepare(&options.cgroup)?;
    let info = HostInfo { enforcement, ..host::info(options.directory.clone()) };
    let pipe = Arc::new(Pipe {
        root,
        tasks,
        trash,
        shim_program: options.shim_program,
        open_files,
        info,
        site,
        audit,
        collection: Collection::default(),
        table: Arc::default(),
        blocking: Blocking::default(),
        losing: Blocking::default(),
        log_watch: LogWatch::new(),
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

/// Makes sure that this is the only pipe of the directory.
fn lock(root: &Dir) -> anyhow::Result<Lock> {
    let path = root.path().display();
    match Lock::try_take(root, names::PIPE_LOCK)? {
        Some(lock) => Ok(lock),
        None => match LockHolder::of(root, names::PIPE_LOCK)? {
            LockHolder::Process(pid) => {
                let pid = pid.as_raw_nonzero();
                bail!(
                    "another pipe, process {pid}, has {path}: use that one, end it, or give this one a directory of its own"
                )
            }
            LockHolder::Nobody | LockHolder::Elsewhere => {
                bail!("another pipe, in a container or on another host, has {path}: a pipe's directory is for one host")
            }
        },
    }
}

/// Opens the socket, in place of one that a pipe before this one left.
fn listen(root: &Dir) -> anyhow::Result<UnixListener> {
    root.remove_file(names::SOCKET)?;
    let listener = StdUnixListener::bind(root.short_path(names::SOCKET))?;
    listener.set_nonblocking(true)?;
    Ok(UnixListener::from_std(listener)?)
}

/// Says that something went wrong which nobody waits to hear of.
fn complain(what: &str, error: &dyn std::error::Error) {
    error!("{what}: {}", chain(error));
}
