//! `vk-node stop`: the end of the node on this machine.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;
use vk_node_core::report::Stop as Request;

use super::ask::NodeClient;
use super::{Code, Format, OutOfTime, Output, Place, print};

/// How often it is looked whether the node has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    place: Place,
    /// End only vk-node: what runs goes on, and the next start takes it up.
    #[arg(long)]
    keep_jobs: bool,
    /// How many seconds to wait until it has ended [default: as long as it takes].
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    output: Output,
}

impl Stop {
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    pub(crate) async fn act(self) -> anyhow::Result<Code> {
        let client = NodeClient::new(&self.place.hostpipe()?);
        let format = self.output.format();
        let report = client.status().await?;
        // Before it is told to end: its number may be another's afterwards.
        let handle =
            match client.process().await.and_then(Pid::from_raw).map(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK)) {
                Some(Ok(handle)) => Some(handle),
                // In a container its process may not be seen here.
                Some(Err(Errno::SRCH)) | None => None,
                Some(Err(error)) => return Err(error).context("cannot watch the node's process"),
            };
        client.stop(Request { keep_jobs: self.keep_jobs }).await?;
        let ended = async {
            loop {
                let is_there = match &handle {
                    Some(handle) => runs(handle)?,
                    None => client.status().await.is_ok(),
                };
                if !is_there {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match self.timeout {
            None => ended.await?,
            Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), ended).await.map_err(|_| {
                OutOfTime(format!(
                    "the node, process {}, has been told to end and is still there after {seconds} s",
                    report.pid
                ))
            })??,
        }
        let text = match self.keep_jobs {
            true => "the node has ended; its jobs go on, and the next `vk-node run` takes them up\n",
            false => "the node and its jobs have ended\n",
        };
        print(format, &json!({"stopped": true, "jobsKept": self.keep_jobs, "pid": report.pid}), text)?;
        Ok(Code::Fine)
    }
}

/// Whether a process has not ended. Its pidfd is readable when it has: pidfd_open(2).
fn runs(handle: &OwnedFd) -> anyhow::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&now)) {
        Ok(ended) => Ok(ended == 0),
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error).context("cannot watch the node's process"),
    }
}
