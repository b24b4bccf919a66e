//! Following the jobs until all have ended.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use indicatif::ProgressBar;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use vk_cmd_crds::{CmdJob, State};

use super::jobs;
use super::screen::Screen;
use super::stage::Stage;

/// How often the parts are looked after while nothing changes.
const EVERY: Duration = Duration::from_millis(500);

/// What is known of one job.
#[derive(Default)]
struct Followed {
    bar: Option<ProgressBar>,
    shown: String,
    last: Option<CmdJob>,
}

/// Shows each job's state as it changes, until all of `names` have ended; gives them as they ended.
pub(super) async fn until_finished(stage: &mut Stage, names: &[String], screen: &Screen) -> Result<Vec<CmdJob>> {
    let deadline = Instant::now() + stage.timeout;
    screen.line("");
    let follow = |name: &String| (name.clone(), Followed { bar: screen.bar(name), ..Followed::default() });
    let mut followed: BTreeMap<String, Followed> = names.iter().map(follow).collect();
    let changes = watcher(jobs::api(&stage.client), watcher::Config::default()).default_backoff().applied_objects();
    let mut changes = std::pin::pin!(changes);
    while !followed.values().all(Followed::is_finished) {
        stage.must_be_running()?;
        if Instant::now() > deadline {
            bail!("after {:.0?} these jobs have not ended:\n{}", stage.timeout, unfinished(&followed));
        }
        // Nothing new within the time: look after the parts and the deadline, then listen on.
        if let Ok(change) = tokio::time::timeout(EVERY, changes.try_next()).await {
            let job = change.context("cannot watch the CmdJobs")?.context("the watch of CmdJobs has ended")?;
            if let Some(one) = followed.get_mut(&job.name_any()) {
                one.show(job, screen);
            }
        }
    }
    Ok(followed.into_values().filter_map(|one| one.last).collect())
}

impl Followed {
    fn show(&mut self, job: CmdJob, screen: &Screen) {
        let text = describe(&job);
        if let Some(bar) = &self.bar {
            bar.set_message(text.clone());
        } else if text != self.shown {
            screen.line(&format!("  {:<14} {text}", job.name_any()));
        }
        self.shown = text;
        self.last = Some(job);
        if self.is_finished()
            && let Some(bar) = &self.bar
        {
            bar.abandon();
        }
    }

    fn is_finished(&self) -> bool {
        self.last.as_ref().and_then(state).is_some_and(is_final)
    }
}

/// The state in which the job is.
pub(super) fn state(job: &CmdJob) -> Option<State> {
    job.status.as_ref()?.state
}

fn is_final(state: State) -> bool {
    match state {
        State::Complete | State::Failed | State::Invalid => true,
        State::Waiting | State::Pending | State::Running | State::Terminating | State::Suspended => false,
    }
}

fn describe(job: &CmdJob) -> String {
    let Some(status) = &job.status else { return "(the operator has not seen it yet)".to_owned() };
    let state = status.state.map(|state| state.to_string()).unwrap_or_default();
    let exit = status.exit_code.map(|code| format!("exit {code}")).unwrap_or_default();
    format!("{state:<11} {exit:<8} {}", status.message.as_deref().unwrap_or_default()).trim_end().to_owned()
}

fn unfinished(followed: &BTreeMap<String, Followed>) -> String {
    let waiting = followed.iter().filter(|(_, one)| !one.is_finished());
    waiting.map(|(name, one)| format!("  {name}: {}", one.shown)).collect::<Vec<_>>().join("\n")
}
