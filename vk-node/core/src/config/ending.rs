//! What is said of the end of the nodes.

use std::time::Duration;

use vk_yaml::{Map, Reader};

use crate::ending::{EndPlan, OnTerm, Warning};

/// The keys of the file.
pub(super) const KEYS: [&str; 6] =
    ["walltimeMarginSeconds", "walltimeCheckSeconds", "killWaitSeconds", "noticeSeconds", "warningSignal", "onTerm"];
/// The longest of these times: what follows from it stays within what can be counted with.
const LONGEST_SECONDS: u64 = 7 * 86_400;

/// One layer of an [`EndPlan`]. All of it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndSettings {
    /// See [`EndPlan::margin`].
    pub margin: Option<Duration>,
    /// See [`EndPlan::check_every`].
    pub check_every: Option<Duration>,
    /// See [`EndPlan::kill_wait`].
    pub kill_wait: Option<Duration>,
    /// See [`EndPlan::notice`].
    pub notice: Option<Duration>,
    /// See [`EndPlan::warning`].
    pub warning: Option<Warning>,
    /// See [`EndPlan::on_term`].
    pub on_term: Option<OnTerm>,
}

impl EndSettings {
    /// This layer over a lower one.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            margin: self.margin.or(lower.margin),
            check_every: self.check_every.or(lower.check_every),
            kill_wait: self.kill_wait.or(lower.kill_wait),
            notice: self.notice.or(lower.notice),
            warning: self.warning.or(lower.warning),
            on_term: self.on_term.or(lower.on_term),
        }
    }

    /// With the defaults for what is left out.
    pub(super) fn finish(self) -> EndPlan {
        let plan = EndPlan::default();
        EndPlan {
            margin: self.margin.unwrap_or(plan.margin),
            check_every: self.check_every.unwrap_or(plan.check_every),
            kill_wait: self.kill_wait.unwrap_or(plan.kill_wait),
            notice: self.notice.unwrap_or(plan.notice),
            warning: self.warning.or(plan.warning),
            on_term: self.on_term.unwrap_or(plan.on_term),
        }
    }

    /// What the file says.
    pub(super) fn read(reader: &mut Reader, map: &Map<'_>) -> Self {
        let [margin, check, kill_wait, notice, warning, on_term] = KEYS;
        let mut seconds = |key: &str, least: u64| {
            let node = map.get(key)?;
            let seconds = reader.integer(&node)?;
            if !(least..=LONGEST_SECONDS).contains(&seconds) {
                reader.at(&node, format!("it must be {least} to {LONGEST_SECONDS} seconds"));
            }
            Some(Duration::from_secs(seconds))
        };
        let (margin, check_every) = (seconds(margin, 0), seconds(check, 1));
        let (kill_wait, notice) = (seconds(kill_wait, 0), seconds(notice, 0));
        let warning = map.get(warning).and_then(|node| {
            let text = reader.text(&node)?;
            text.parse().map_err(|error: crate::ending::InvalidWarning| reader.at(&node, error.to_string())).ok()
        });
        let on_term = map.get(on_term).and_then(|node| reader.word(&node, &OnTerm::WORDS));
        Self { margin, check_every, kill_wait, notice, warning, on_term }
    }
}
