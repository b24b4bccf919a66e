//! The FIFO of the original: each line that is written to it is run as a shell of its own.
//!
//! ```text
//!   echo … > vk-cmd ──▶ FIFO ──┐            `reader`, a thread of its own
//!   echo … > vk-cmd ──▶ FIFO ──┼──▶ `inode`: lines ──▶ (bounded) ──▶ a task, or a record of why it is none
//!   a new one at the path ◀────┘ `plan`
//! ```
//!
//! - `plan` decides which FIFO is at the path, `inode` which lines are run; both are pure, and `reader` acts on them.
//! - `counter` counts who has opened a FIFO; `place` knows what is at the path, and puts FIFOs there.
//! - `claim` knows which pod a line belongs to.
//!
//! Writers wait while more is written than can be started. What the kernel holds in a FIFO is lost when the last process
//! that has it open ends, and with it what the pipe had not read. A line that must not be lost goes through the socket,
//! which answers.

mod claim;
mod counter;
pub(super) mod fuzz;
mod inode;
mod place;
mod plan;
mod reader;

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tracing::{error, info};
use vk_record::Dir;
use vk_task::{ApiError, ContainerRun, ErrorReason, Leftovers, Origin, Program, ScriptRunner, TaskId, TaskSpec};

use super::{Pipe, complain, start, told};
use inode::Item;
use reader::{Reader, Waker};

/// How many lines are being turned into tasks at once. While that many are, the FIFO is not read, and its writers wait.
const AT_ONCE: usize = 32;
/// How many lines wait for that.
const WAITING: usize = 16;
/// The thread needs no more.
const STACK_BYTES: usize = 256 << 10;
/// So much of a line is told when it is not run.
const SHOWN_CHARS: usize = 200;

/// The FIFO, open.
#[derive(Debug)]
pub(super) struct Fifo {
    items: mpsc::Receiver<Item>,
    waker: Waker,
    reader: Reader,
}

/// The end of reading, for the pipe to ask for.
#[derive(Debug)]
pub(super) struct Reading {
    waker: Waker,
    thread: JoinHandle<()>,
}

/// Opens the FIFO, making it if it is not there.
pub(super) fn open(root: &Arc<Dir>) -> anyhow::Result<Fifo> {
    let (sender, items) = mpsc::channel(WAITING);
    let waker = Waker::new().context("cannot wait for the FIFO")?;
    let reader = Reader::new(Arc::clone(root), sender, waker.clone())?;
    Ok(Fifo { items, waker, reader })
}

impl Fifo {
    /// Reads it from now on, and runs the lines that come; the work is done when reading has ended and all that was read
    /// has been dealt with.
    pub(super) fn read(self, pipe: Arc<Pipe>) -> anyhow::Result<(Reading, impl Future<Output = ()> + Send + 'static)> {
        let Self { items, waker, reader } = self;
        let builder = std::thread::Builder::new().name("fifo".to_owned()).stack_size(STACK_BYTES);
        let thread = builder.spawn(|| reader.run()).context("cannot start the thread that reads the FIFO")?;
        let reading = Reading { waker: waker.clone(), thread };
        Ok((reading, serve(items, waker, pipe)))
    }
}

impl Reading {
    /// Ends it. What is still in the FIFO stays there for the next pipe, as long as its writers do.
    pub(super) fn end(self) {
        self.waker.stop();
        // It only has to wake up.
        if self.thread.join().is_err() {
            error!("the thread that read the FIFO has failed");
        }
    }
}

/// Deals with what comes.
async fn serve(mut items: mpsc::Receiver<Item>, waker: Waker, pipe: Arc<Pipe>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut counter = 0_u64;
    while let Some(item) = items.recv().await {
        waker.wake();
        counter += 1;
        // The semaphore is never closed.
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        let pipe = Arc::clone(&pipe);
        tokio::spawn(async move {
            deal_with(&pipe, item, counter).await;
            drop(permit);
        });
    }
    // Until all have been dealt with.
    let _ = permits.acquire_many(u32::try_from(AT_ONCE).unwrap_or(u32::MAX)).await;
}

async fn deal_with(pipe: &Arc<Pipe>, item: Item, counter: u64) {
    // In as many digits for each, so that they sort as they came.
    let id = match TaskId::new(format!("fifo-{:019}-{counter:06}", Timestamp::now().as_nanosecond())) {
        Ok(id) => id,
        Err(e) => return complain("a line of the FIFO was not run", &e),
    };
    match item {
        Item::Run(line) => run(pipe, id, &line).await,
        Item::Refuse(refused) => {
            let spec = spec(None, &refused.text);
            refuse(pipe, id, spec, invalid(&refused.why)).await;
        }
    }
}

async fn run(pipe: &Arc<Pipe>, id: TaskId, line: &str) {
    let claimed = claim::split(line).and_then(|claimed| match claimed {
        None => Ok((None, line)),
        Some((task, rest)) => Ok((claim::writer(&task, pipe.table.get(&task).as_ref())?, rest)),
    });
    let spec = match claimed {
        Ok((writer, line)) => spec(writer, line),
        Err(e) => return refuse(pipe, id, spec(None, line), invalid(&e)).await,
    };
    match start::start(pipe, id.clone(), spec.clone()).await {
        Ok(_) => info!("a line of the FIFO is task {id}"),
        Err(e) => refuse(pipe, id, spec, e).await,
    }
}

fn spec(writer: Option<ContainerRun>, line: &str) -> TaskSpec {
    let runner = ScriptRunner::Shell { path: "/bin/sh".to_owned() };
    TaskSpec::new(Origin::Fifo { writer }, Program::Script { text: line.to_owned(), runner }, Leftovers::Await)
}

fn invalid(why: &dyn std::error::Error) -> ApiError {
    ApiError { reason: ErrorReason::Invalid, message: why.to_string() }
}

/// Tells that a line is not run: in `pipeline.err`, and by a record, so that it is listed.
async fn refuse(pipe: &Arc<Pipe>, id: TaskId, spec: TaskSpec, why: ApiError) {
    let shown = match &spec.program {
        Program::Script { text, .. } => text.chars().take(SHOWN_CHARS).collect(),
        Program::Exec { .. } => String::new(),
    };
    let message = format!("the line {shown:?} was not run (task {id}): {why}");
    {
        let root = Arc::clone(&pipe.root);
        pipe.blocking.run(move || told::tell(&root, &message)).await;
    }
    if let Err(e) = start::refuse(pipe, id, spec, why).await {
        complain("a line of the FIFO was not run, and there is no record of that", &e);
    }
}
