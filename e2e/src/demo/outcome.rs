//! What came of the jobs: their output, and whether each ended as it should.

use std::time::Duration;

use anyhow::Result;
use kube::ResourceExt;
use vk_cmd_crds::CmdJob;

use super::screen::Screen;
use super::stage::Stage;
use super::{jobs, watching};
use crate::exec;

const LIMIT: Duration = Duration::from_secs(30);

/// Whether things went as they should.
pub(super) struct Outcomes {
    surprises: usize,
}

impl Outcomes {
    pub(super) fn all_as_expected(&self) -> bool {
        self.surprises == 0
    }
}

/// Prints each job's output as `kubectl logs` gives it, then `kubectl get cmdjobs`, then the verdict.
pub(super) async fn show(stage: &Stage, finished: &[CmdJob], screen: &Screen) -> Result<Outcomes> {
    let mut surprises = Vec::new();
    for job in finished {
        if let Err(error) = show_output(stage, job, screen).await {
            surprises.push(format!("{}: its output cannot be had: {error:#}", job.name_any()));
        }
        let (state, expected) = (watching::state(job).map(|state| state.to_string()), jobs::expected_state(job));
        if state.as_deref() != Some(expected) {
            surprises.push(format!("{}: it should have ended {expected}", job.name_any()));
        }
    }
    screen.line("\n$ kubectl get cmdjobs");
    let mut kubectl = stage.kubectl();
    kubectl.args(["get", "cmdjobs"]);
    screen.line(exec::text(kubectl, LIMIT).await?.trim_end());

    screen.line("");
    if surprises.is_empty() {
        screen.line(&format!("✓ all {} jobs ended as they should", finished.len()));
    } else {
        surprises.iter().for_each(|surprise| screen.line(&format!("✗ {surprise}")));
        screen.line(&format!("  the logs of the parts: {}", stage.logs()));
        stage.keep_logs();
    }
    Ok(Outcomes { surprises: surprises.len() })
}

async fn show_output(stage: &Stage, job: &CmdJob, screen: &Screen) -> Result<()> {
    let Some(pod) = last_pod(job) else { return Ok(()) };
    screen.line(&format!("\n$ kubectl logs {pod}"));
    let mut kubectl = stage.kubectl();
    kubectl.args(["logs", pod]);
    let text = exec::text(kubectl, LIMIT).await?;
    text.lines().for_each(|line| screen.line(&format!("│ {line}")));
    Ok(())
}

/// The pod of the job's last attempt.
pub(super) fn last_pod(job: &CmdJob) -> Option<&str> {
    Some(job.status.as_ref()?.attempts.last()?.pod.as_str())
}
