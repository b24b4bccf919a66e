//! `vk-node drain`: the node takes nothing new, and what runs goes on.
//!
//! A node may not cordon itself: NodeRestriction leaves it its status, labels and annotations. So it says what it is about by its
//! condition `vk-cmd.io/Ending`, by which the operator cordons it, and refuses what comes all the same.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;
use vk_node_core::report::Drain as Request;
use vk_words::counted;

use super::ask::NodeClient;
use super::jobs::Found;
use super::{Code, Format, OutOfTime, Output, Place, print};

/// How often it is looked whether jobs have ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    place: Place,
    /// Why, for people.
    #[arg(long, value_name = "TEXT", default_value = "the site is to be serviced")]
    reason: String,
    /// Take what comes again.
    #[arg(long, conflicts_with_all = ["reason", "timeout", "no_wait"])]
    undo: bool,
    /// Do not wait for the jobs.
    #[arg(long)]
    no_wait: bool,
    /// How many seconds to wait for the jobs [default: as long as it takes].
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    #[command(flatten)]
    output: Output,
}

impl Drain {
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    pub(crate) async fn act(self) -> anyhow::Result<Code> {
        let hostpipe = self.place.hostpipe()?;
        let client = NodeClient::new(&hostpipe);
        let format = self.output.format();
        if self.undo {
            let report = client.undrain().await?;
            print(format, &json!({"drained": false, "node": report}), "the node takes what comes again\n")?;
            return Ok(Code::Fine);
        }
        let report = client.drain(&Request { reason: self.reason, since: Timestamp::now() }).await?;
        let answer = |jobs: usize| json!({"drained": true, "jobsRunning": jobs, "node": report});
        let mut jobs = running(&hostpipe).await?;
        let run = counted(jobs, "job runs", "jobs run");
        let text = format!("the node takes nothing new (vk-node drain --undo takes that back); {run}\n");
        if self.no_wait {
            print(format, &answer(jobs), &text)?;
            return Ok(Code::Fine);
        }
        if format == Format::Text {
            print(format, &(), &text)?;
        }
        let until = self.timeout.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        while jobs > 0 {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(OutOfTime(format!(
                    "{}, and the node takes nothing new: wait again, or end what runs with vk-node stop",
                    counted(jobs, "job still runs", "jobs still run")
                ))
                .into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
            jobs = running(&hostpipe).await?;
        }
        print(format, &answer(0), "all of them have ended\n")?;
        Ok(Code::Fine)
    }
}

/// How many jobs run, as far as anybody knows here.
async fn running(hostpipe: &std::path::Path) -> anyhow::Result<usize> {
    let found = Found::look(hostpipe).await?;
    Ok(found.jobs.iter().filter(|job| !job.is_final()).count())
}
