//! `vk-node status`: how the node on this machine is, without any API server.

use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use vk_node_core::report::{Health, NodeReport};

use super::ask::NodeClient;
use super::jobs::{Found, Source};
use super::{Code, Format, NoAnswer, Output, Place, print};

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    output: Output,
}

impl Status {
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    pub(crate) async fn act(self) -> anyhow::Result<Code> {
        let hostpipe = self.place.hostpipe()?;
        let client = NodeClient::new(&hostpipe);
        // Both at once: the one may be away, and the other not.
        let (node, jobs) = tokio::join!(client.status(), Found::look(&hostpipe));
        if let Err(error) = node.as_ref()
            && !error.is::<NoAnswer>()
        {
            return node.map(|_| Code::Failed);
        }
        let now = Timestamp::now();
        let running = jobs.as_ref().ok().map(|found| found.jobs.iter().filter(|job| !job.is_final()).count());
        let pipe = match &jobs {
            Ok(Found { from: Source::Pipe, .. }) => "answers",
            Ok(Found { from: Source::Records { .. }, .. }) => "does not answer",
            Err(_) => "there is none",
        };
        let mut text = match &node {
            Ok(report) => report.text(now),
            Err(error) => format!("{error}\n"),
        };
        text.push_str(&format!("\npipe   {pipe} ({})\n", hostpipe.display()));
        if let Some(running) = running {
            text.push_str(&format!("jobs   {running} (vk-node jobs)\n"));
        }
        let report = node.as_ref().ok();
        let health = |report: &NodeReport| {
            let words = report.nodes.iter().map(|(name, node)| (name.clone(), json!(node.health(now).word())));
            serde_json::Value::Object(words.collect())
        };
        let value = json!({
            "running": report.is_some(),
            "ready": report.is_some_and(|report| report.is_ready(now)),
            "health": report.map(health),
            "node": report,
            "pipe": {"answers": pipe == "answers", "directory": hostpipe},
            "jobsRunning": running,
        });
        print(self.output.format(), &value, &text)?;
        Ok(match &node {
            Err(_) => Code::Unreachable,
            Ok(report) if report.nodes.values().all(|node| node.health(now) == Health::Ready) => Code::Fine,
            Ok(_) => Code::No,
        })
    }
}
