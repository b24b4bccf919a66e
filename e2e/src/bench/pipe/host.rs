//! A home directory with a pipe in it.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use vk_pipe::client::PipeClient;
use vk_task::{ContainerRun, Leftovers, Origin, Program, TaskId, TaskSpec, TaskState, WatchEvent};

use crate::binaries;
use crate::janitor;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::{self, Probe};

const LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(10);

/// The host. Dropping it ends the pipe and all its tasks.
pub(super) struct Host {
    pipe: Process,
    pub(super) client: PipeClient,
    scratch: Scratch,
}

impl Host {
    pub(super) async fn start() -> Result<Self> {
        let program = binaries::built().await?.node.clone();
        let scratch = Scratch::new("vk-pipe-")?;
        let home = scratch.path().join("home");
        std::fs::create_dir(&home).context("cannot make a home directory")?;
        janitor::end_processes_at_exit(&home)?;
        let directory = home.join("hostpipe");
        let mut command = Command::new(program);
        command.arg("pipe").arg("--hostpipe").arg(&directory).env("HOME", &home).current_dir(&home);
        let mut pipe = Process::start("the pipe", command, scratch.path().join("pipe.log"))?;
        let client = PipeClient::new(&directory);
        let answers = wait::until("the pipe to answer", LIMIT, GLANCE, async || {
            pipe.must_be_running()?;
            Ok(match client.info().await {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::not_yet(error.to_string()),
            })
        });
        answers.await?;
        Ok(Self { pipe, client, scratch })
    }

    /// The pipe's process.
    pub(super) fn pipe_pid(&self) -> u32 {
        self.pipe.pid()
    }

    /// A file for a measurement's own use.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// All processes that the host has, the pipe not.
    pub(super) fn processes(&self) -> Result<Vec<u32>> {
        let all = crate::process::list_by_environment(&janitor::marks(&self.scratch.path().join("home")))?;
        Ok(all.into_iter().map(i32::cast_unsigned).filter(|pid| *pid != self.pipe.pid()).collect())
    }

    /// Waits until so many of the tasks whose names begin with `prefix` are as wanted.
    pub(super) async fn until(&self, prefix: &str, count: usize, wanted: impl Fn(&TaskState) -> bool) -> Result<()> {
        let mut seen = std::collections::BTreeSet::new();
        let mut events = self.client.watch().await?;
        while seen.len() < count {
            let event = tokio::time::timeout(LIMIT, events.next()).await.context("nothing happens any more")?;
            let views = match event.context("the watch ended")?? {
                WatchEvent::Snapshot { tasks } => tasks,
                WatchEvent::Changed { task } => vec![task],
                WatchEvent::Removed { .. } => Vec::new(),
            };
            let wanted = views.into_iter().filter(|view| view.id.as_str().starts_with(prefix) && wanted(&view.state));
            seen.extend(wanted.map(|view| view.id));
        }
        Ok(())
    }
}

/// The task called `name`, of a pod, which runs `argv`.
pub(super) fn task(name: &str, argv: &[String]) -> Result<(TaskId, TaskSpec)> {
    let run = ContainerRun {
        namespace: "bench".to_owned(),
        pod: name.to_owned(),
        uid: name.to_owned(),
        service_account: "default".to_owned(),
        container: "main".to_owned(),
        restart: 0,
        node: None,
    };
    let spec = TaskSpec::new(Origin::Pod(run), Program::Exec { argv: argv.to_vec() }, Leftovers::Kill);
    Ok((TaskId::new(name)?, spec))
}
