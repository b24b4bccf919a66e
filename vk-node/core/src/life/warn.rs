//! Warning tasks that their node ends: the signal that `sbatch --signal` sends, and as late as it.

use std::time::Duration;

use jiff::SignedDuration;
use vk_task::TaskView;

use super::{Decision, Step};
use crate::ending::SAME;
use crate::facts::Facts;
use crate::look::Look;

/// Warns what is to be warned now, and looks again when it is to be, or to be ended.
///
/// A run that was started when the warning was due already is not warned: it may not have come as far as being ready for a signal,
/// which would end it. A node that was restarted in between warns again.
pub(super) fn of_the_end(look: &Look<'_>, decision: &mut Decision) {
    let Some(end) = look.facts.end else { return };
    decision.again(end.term_at(look.pod.grace));
    let Some(warning) = look.pod.warning.or(end.warning) else { return };
    let before = SignedDuration::try_from(warning.before).unwrap_or(SignedDuration::MAX);
    let due = end.at.saturating_sub(before).unwrap_or(end.at);
    if look.facts.now < due {
        return decision.again(due);
    }
    for seen in look.all().filter(|seen| seen.is_running()) {
        let (Some(task), Some(run)) = (seen.task().filter(|task| task.stop.is_none()), seen.latest()) else { continue };
        let is_old = look.facts.present(run.state.first_at()) <= due;
        if is_old && !is_warned(look.facts, task, end.at_boot) {
            decision.steps.push(Step::Warn { id: task.id.clone(), signal: warning.signal });
        }
    }
}

/// Whether it was warned of this end. One that has moved away is another.
fn is_warned(facts: &Facts<'_>, task: &TaskView, end: Duration) -> bool {
    facts.warned.get(&task.id).is_some_and(|warned| warned.saturating_add(SAME) >= end)
}
