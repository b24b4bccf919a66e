//! A node as small as can be, as a process of its own: it does with the pipe what vk-node does, and its file of reports
//! stands for the API server. It may be killed at any moment and started again with the same words.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::StreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use vk_pipe::{ClientError, PipeClient};
use vk_record::points::{Point, reach};
use vk_task::{ErrorReason, StopRequest, TaskId, TaskSpec, TaskState, TaskView, WatchEvent};

/// How soon what failed is tried again.
const PAUSE: Duration = Duration::from_millis(5);
/// How long it waits for a program that it is to stop to be there.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A task that the node is to see to the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: TaskId,
    pub(crate) spec: TaskSpec,
    /// It is to be stopped as soon as this file is there.
    pub(crate) stop_when: Option<PathBuf>,
    /// Its records are left there.
    pub(crate) keep: bool,
}

/// A line of its reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) id: TaskId,
    pub(crate) state: TaskState,
}

/// What has been reported.
pub(crate) fn reports(file: &Path) -> Vec<Report> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `<this program> node <pipe's directory> <jobs> <reports>` does: sees all jobs to the end, and leaves.
pub(crate) fn be_the_node(args: impl Iterator<Item = OsString>) -> ExitCode {
    let [directory, jobs, reports] = args.map(PathBuf::from).collect::<Vec<_>>().try_into().unwrap();
    let jobs: Vec<Job> = serde_json::from_slice(&fs::read(jobs).unwrap()).unwrap();
    let jobs = jobs.into_iter().map(|job| (job.id.clone(), job)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(SmallNode { client: PipeClient::new(directory), reports, open: jobs }.run());
    ExitCode::SUCCESS
}

struct SmallNode {
    client: PipeClient,
    reports: PathBuf,
    /// What has not been reported and removed.
    open: BTreeMap<TaskId, Job>,
}

impl SmallNode {
    async fn run(mut self) {
        // What was reported before is never started again; it may only have to be removed.
        for Report { id, .. } in reports(&self.reports) {
            if let Some(job) = self.open.remove(&id)
                && !job.keep
            {
                self.let_go(&id).await;
            }
        }
        while !self.open.is_empty() {
            if self.watch().await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Follows the pipe until it ends, or all is done.
    async fn watch(&mut self) -> Result<(), ClientError> {
        let mut events = self.client.watch().await?;
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Snapshot { tasks } => {
                    let missing = self.open.values().filter(|job| !tasks.iter().any(|view| view.id == job.id));
                    for job in missing {
                        self.client.start(&job.id, &job.spec).await?;
                    }
                    for view in tasks {
                        self.see(view).await?;
                    }
                }
                WatchEvent::Changed { task } => self.see(task).await?,
                WatchEvent::Removed { .. } => {}
            }
            if self.open.is_empty() {
                break;
            }
        }
        Ok(())
    }

    async fn see(&mut self, view: TaskView) -> Result<(), ClientError> {
        let Some(job) = self.open.get(&view.id) else { return Ok(()) };
        if view.state.is_final() {
            reach(Point::EndReceived);
            self.report(&view);
            reach(Point::EndReported);
            if !job.keep {
                self.let_go(&view.id).await;
            }
            self.open.remove(&view.id);
        } else if let (TaskState::Running { .. }, Some(sign), None) = (&view.state, &job.stop_when, &view.stop) {
            let until = Instant::now() + STOP_PATIENCE;
            while !sign.exists() && Instant::now() < until {
                tokio::time::sleep(PAUSE).await;
            }
            let request = StopRequest { kill_at: Timestamp::now() + Duration::from_secs(1000), reason: "test".into() };
            self.client.stop(&view.id, &request).await?;
        }
        Ok(())
    }

    /// In one write, durable before anything follows from it.
    fn report(&self, view: &TaskView) {
        let report = Report { id: view.id.clone(), state: view.state.clone() };
        let mut line = serde_json::to_vec(&report).unwrap();
        line.push(b'\n');
        let mut file = OpenOptions::new().append(true).create(true).open(&self.reports).unwrap();
        file.write_all(&line).unwrap();
        file.sync_all().unwrap();
    }

    /// Says that the end is reported and removes the records, however often that must be asked for.
    async fn let_go(&self, id: &TaskId) {
        loop {
            let done = match self.client.reported(id).await {
                Ok(()) => self.client.remove(id).await,
                Err(e) => Err(e),
            };
            match done {
                Ok(()) => break,
                Err(e) if e.refusal().is_some_and(|r| r.reason == ErrorReason::NotFound) => break,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        reach(Point::RemoveAnswered);
    }
}
