//! `vk-node jobs`: what runs here, as the pipe knows it, or as the records say where no pipe answers.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use vk_api_client::chain;
use vk_node_core::jobs::{self, Job};
use vk_pipe::{ClientError, PipeClient};
use vk_record::{Dir, TaskDir, names, view_of};
use vk_task::{TaskId, TaskView};

use super::{Code, Format, Output, Place, print};

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Jobs {
    #[command(flatten)]
    place: Place,
    /// Show those that have ended too, as long as their records are there.
    #[arg(short, long)]
    all: bool,
    /// Only those of this namespace.
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Jobs {
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    pub(crate) async fn act(self) -> anyhow::Result<Code> {
        let found = Found::look(&self.place.hostpipe()?).await?;
        found.warn();
        let is_wanted = |job: &Job| {
            (self.all || !job.is_final())
                && self.namespace.as_ref().is_none_or(|namespace| job.namespace.as_ref() == Some(namespace))
        };
        let Found { jobs, from } = found;
        let wanted: Vec<Job> = jobs.into_iter().filter(is_wanted).collect();
        let text = match wanted.is_empty() {
            true => "nothing runs here\n".to_owned(),
            false => jobs::table(&wanted, Timestamp::now()),
        };
        let source = match from {
            Source::Pipe => "pipe",
            Source::Records { .. } => "records",
        };
        print(self.output.format(), &json!({"from": source, "jobs": wanted}), &text)?;
        Ok(Code::Fine)
    }
}

/// The jobs of a pipe.
pub(super) struct Found {
    pub(super) jobs: Vec<Job>,
    pub(super) from: Source,
}

/// Who says so.
pub(super) enum Source {
    /// The pipe.
    Pipe,
    /// The records, because the pipe does not.
    Records {
        /// Why not.
        why: ClientError,
    },
}

impl Found {
    /// All that is known here.
    ///
    /// # Errors
    /// When no pipe answers, and there are no records either.
    pub(super) async fn look(hostpipe: &Path) -> anyhow::Result<Self> {
        let pipe = PipeClient::new(hostpipe);
        let why = match pipe.list().await {
            Ok(views) => {
                let records = pipe.info().await.map(|info| info.records.directory.join(names::TASKS));
                let records = records.unwrap_or_else(|_| hostpipe.join(names::TASKS));
                // A node in a container does not see the host's files, and people on the host do.
                let job = |view: &TaskView| {
                    let dir = Dir::open(&records.join(view.id.as_str())).ok();
                    Job::of(view, dir.and_then(|dir| command(&TaskDir { dir })))
                };
                return Ok(Self { jobs: views.iter().map(job).collect(), from: Source::Pipe });
            }
            Err(why) => why,
        };
        match of_records(hostpipe) {
            Ok(jobs) => Ok(Self { jobs, from: Source::Records { why } }),
            Err(error) => {
                tracing::debug!("there are no records to look at either: {}", chain(&*error));
                Err(why.into())
            }
        }
    }

    /// Says that it is the records that say so.
    pub(super) fn warn(&self) {
        if let Source::Records { why } = &self.from {
            eprintln!(
                "vk-node: {why}; this is what the records say, and a job that has ended since nobody looked may stand as running"
            );
        }
    }
}

fn command(task: &TaskDir) -> Option<String> {
    Some(jobs::command(&task.intent().ok()??.spec))
}

fn of_records(hostpipe: &Path) -> anyhow::Result<Vec<Job>> {
    let place = hostpipe.join(names::TASKS);
    // In the pipe's directory it may be a link to where they are.
    let place = place.canonicalize().with_context(|| format!("cannot read {}", place.display()))?;
    let tasks = Dir::open(&place)?;
    let mut jobs = Vec::new();
    for name in tasks.entries()? {
        let Ok(id) = TaskId::new(name) else { continue };
        let Ok(dir) = tasks.open_dir(id.as_str()) else { continue };
        let task = TaskDir { dir };
        // One whose creation was interrupted has no intent, and one of a disk error is no reason to hide the others.
        let (Ok(Some(head)), Ok(facts)) = (task.intent_head(), task.facts()) else { continue };
        jobs.push(Job::of(&view_of(&id, &head, &facts), command(&task)));
    }
    Ok(jobs)
}
