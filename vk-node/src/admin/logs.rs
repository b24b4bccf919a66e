//! `vk-node logs`: what a job here has written.

use std::io::{self, Write};

use clap::Args;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use vk_node_core::jobs;
use vk_pipe::PipeClient;
use vk_record::names;
use vk_task::{LogQuery, LogStream};

use super::jobs::{Found, Source};
use super::{Code, NoAnswer, Place, written};

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The job: a pod, NAMESPACE/POD, or the name of a task.
    job: String,
    #[command(flatten)]
    place: Place,
    /// Which of the pod's containers, where it has several.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// The run before the last one.
    #[arg(short, long)]
    previous: bool,
    /// Go on with what is written later, until the job ends.
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines.
    #[arg(long, value_name = "N")]
    tail: Option<u64>,
    /// Only what was written since so many seconds.
    #[arg(long, value_name = "SECONDS")]
    since: Option<u32>,
    /// Each line with the time when it was written.
    #[arg(long)]
    timestamps: bool,
    /// Only this output.
    #[arg(long, value_name = "stdout|stderr", value_parser = stream, conflicts_with = "tail")]
    stream: Option<LogStream>,
}

fn stream(text: &str) -> Result<LogStream, String> {
    match text {
        "stdout" => Ok(LogStream::Stdout),
        "stderr" => Ok(LogStream::Stderr),
        _ => Err(format!("{text:?} is neither stdout nor stderr")),
    }
}

impl Logs {
    pub(crate) async fn act(self) -> anyhow::Result<Code> {
        let hostpipe = self.place.hostpipe()?;
        let found = Found::look(&hostpipe).await?;
        let job = jobs::find(&found.jobs, &self.job, self.container.as_deref(), self.previous)?;
        if let Source::Records { why } = &found.from {
            let file = hostpipe.join(names::TASKS).join(job.id.as_str()).join(names::LOG);
            return Err(NoAnswer(format!(
                "{why} What {} has written is in {}, in the CRI log format",
                job.id,
                file.display()
            ))
            .into());
        }
        let since =
            self.since.map(|seconds| Timestamp::now().saturating_sub(SignedDuration::from_secs(seconds.into())));
        let query = LogQuery {
            follow: self.follow,
            tail_lines: self.tail,
            since_time: since.transpose()?,
            timestamps: self.timestamps,
            limit_bytes: None,
            stream: self.stream,
        };
        let pipe = PipeClient::new(&hostpipe);
        let mut bytes = pipe.logs(&job.id, &query).await?;
        let mut out = io::stdout().lock();
        while let Some(some) = bytes.next().await {
            let some = some?;
            if !written(out.write_all(&some).and_then(|()| out.flush()))? {
                break;
            }
        }
        Ok(Code::Fine)
    }
}
