//! Whose logs are read, what stands before each line, and where a stream goes on that was cut.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use vk_cmd_crds::labels;
use vk_operator_core::indexes::IndexSet;

use crate::table::RESET;

/// A pod of a job, as far as its logs are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOfJob {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its index.
    pub index: u32,
    /// Its attempt.
    pub attempt: u32,
    /// How far it is.
    pub life: Life,
}

/// How far a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Life {
    /// Its process has not started: there are no logs.
    Before,
    /// It runs.
    Running,
    /// It has ended: there will be no more logs.
    Ended,
    /// It has ended without having been started: there are none, ever.
    Never,
}

impl PodOfJob {
    /// Reads a pod; none, if it is not one of a CmdJob.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let label = |key: &str| pod.metadata.labels.as_ref()?.get(key)?.parse().ok();
        Some(Self {
            name: pod.metadata.name.clone()?,
            uid: pod.metadata.uid.clone()?,
            index: label(labels::INDEX)?,
            attempt: label(labels::ATTEMPT)?,
            life: life(pod),
        })
    }
}

fn life(pod: &Pod) -> Life {
    let status = pod.status.as_ref();
    let states = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let state = states.iter().find(|told| told.name == labels::MAIN_CONTAINER).and_then(|told| told.state.as_ref());
    let is_over = matches!(status.and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"));
    match state {
        Some(state) if state.running.is_some() => Life::Running,
        Some(state) if state.terminated.is_some() => Life::Ended,
        _ if is_over => Life::Never,
        _ => Life::Before,
    }
}

/// Which pods are meant.
#[derive(Clone, Debug, Default)]
pub struct Meant {
    /// Of these indexes; of all, if none are named.
    pub indexes: Option<IndexSet>,
    /// Of all attempts, not only the last one of each index.
    pub all_attempts: bool,
}

impl Meant {
    /// Those that are meant, by index and attempt.
    #[must_use]
    pub fn among<'a>(&self, pods: impl IntoIterator<Item = &'a PodOfJob>) -> Vec<&'a PodOfJob> {
        let mut sorted: BTreeMap<(u32, u32), &PodOfJob> = BTreeMap::new();
        let is_meant = |pod: &&PodOfJob| self.indexes.as_ref().is_none_or(|all| all.contains(pod.index));
        for pod in pods.into_iter().filter(is_meant) {
            sorted.insert((pod.index, pod.attempt), pod);
        }
        if self.all_attempts {
            return sorted.into_values().collect();
        }
        // One that never started has nothing to show: the attempt before it does, if there is one.
        let mut last: BTreeMap<u32, &PodOfJob> = BTreeMap::new();
        for pod in sorted.into_values() {
            let keeps =
                last.get(&pod.index).is_some_and(|before| before.life == Life::Ended && pod.life == Life::Never);
            if !keeps {
                last.insert(pod.index, pod);
            }
        }
        last.into_values().collect()
    }
}

/// What stands before each line: `[3] `, `[3.1] ` for a second attempt.
#[must_use]
pub fn prefix(pod: &PodOfJob, coloured: bool) -> String {
    const COLOURS: [&str; 6] = ["\x1b[36m", "\x1b[33m", "\x1b[35m", "\x1b[32m", "\x1b[34m", "\x1b[31m"];
    let which = match pod.attempt {
        0 => format!("[{}]", pod.index),
        attempt => format!("[{}.{attempt}]", pod.index),
    };
    let colour = COLOURS.iter().cycle().nth(usize::try_from(pod.index % 6).unwrap_or_default());
    match colour.filter(|_| coloured) {
        Some(colour) => format!("{colour}{which}{RESET} "),
        None => format!("{which} "),
    }
}

/// How far a log has been read, by the times that stand before its lines. A stream that was cut is asked for again from then on, by the
/// second, and what has been read already is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    last: Option<Timestamp>,
    /// How many lines of that very time have been read.
    same: usize,
    /// How many of those this stream has shown again.
    again: usize,
}

impl Cursor {
    /// From when on to ask, in whole seconds, when a stream begins (again).
    pub fn since(&mut self) -> Option<Timestamp> {
        self.again = 0;
        self.last.and_then(|last| Timestamp::from_second(last.as_second()).ok())
    }

    /// The time and the text of a line, if it has not been read before. A line without a time is passed on as it is.
    pub fn take<'l>(&mut self, line: &'l [u8]) -> Option<(Option<Timestamp>, &'l [u8])> {
        let Some((time, text)) = split(line) else { return Some((None, line)) };
        match self.last {
            Some(last) if time < last => return None,
            Some(last) if time == last => {
                self.again = self.again.saturating_add(1);
                if self.again <= self.same {
                    return None;
                }
                self.same = self.again;
            }
            Some(_) | None => (self.last, self.same, self.again) = (Some(time), 1, 1),
        }
        Some((Some(time), text))
    }
}

fn split(line: &[u8]) -> Option<(Timestamp, &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    let (time, rest) = line.split_at_checked(end)?;
    let time = std::str::from_utf8(time).ok()?.parse().ok()?;
    Some((time, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(index: u32, attempt: u32, life: Life) -> PodOfJob {
        PodOfJob { name: format!("p-{index}-{attempt}"), uid: "u".to_owned(), index, attempt, life }
    }

    #[test]
    fn a_pod_says_how_far_it_is() {
        let of = |phase: &str, state: serde_json::Value| {
            let labels = json!({"vk-cmd.io/index": "3", "vk-cmd.io/attempt": "1"});
            let container =
                json!({"name": "main", "image": "i", "imageID": "i", "ready": true, "restartCount": 0, "state": state});
            let pod = json!({
                "metadata": {"name": "p-3-1", "uid": "u", "labels": labels},
                "status": {"phase": phase, "containerStatuses": [container]},
            });
            PodOfJob::of(&serde_json::from_value(pod).unwrap()).unwrap()
        };
        assert_eq!(of("Running", json!({"running": {}})), pod(3, 1, Life::Running));
        assert_eq!(of("Failed", json!({"terminated": {"exitCode": 1}})), pod(3, 1, Life::Ended));
        assert_eq!(of("Pending", json!({"waiting": {}})), pod(3, 1, Life::Before));
        assert_eq!(of("Failed", json!({"waiting": {}})), pod(3, 1, Life::Never));
        assert_eq!(PodOfJob::of(&Pod::default()), None);
    }

    #[test]
    fn of_each_index_the_last_attempt_is_meant() {
        let pods = [
            pod(1, 0, Life::Ended),
            pod(0, 1, Life::Running),
            pod(0, 0, Life::Ended),
            pod(2, 0, Life::Ended),
            pod(2, 1, Life::Never),
        ];
        let names = |meant: &Meant| meant.among(&pods).into_iter().map(|pod| &*pod.name).collect::<Vec<_>>();
        assert_eq!(names(&Meant::default()), ["p-0-1", "p-1-0", "p-2-0"]);
        let all = Meant { all_attempts: true, ..Meant::default() };
        assert_eq!(names(&all), ["p-0-0", "p-0-1", "p-1-0", "p-2-0", "p-2-1"]);
        let one = Meant { indexes: Some(IndexSet::parse("1").unwrap()), ..Meant::default() };
        assert_eq!(names(&one), ["p-1-0"]);
    }

    #[test]
    fn a_line_says_whose_it_is() {
        assert_eq!(prefix(&pod(3, 0, Life::Running), false), "[3] ");
        assert_eq!(prefix(&pod(3, 2, Life::Running), false), "[3.2] ");
        assert_eq!(prefix(&pod(6, 0, Life::Running), true), "\x1b[36m[6]\x1b[0m ");
    }

    #[test]
    fn what_has_no_time_is_passed_on() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.take(b"unable to retrieve logs"), Some((None, &b"unable to retrieve logs"[..])));
        assert_eq!(cursor.since(), None);
        assert_eq!(cursor.take(b"2026-01-02T03:04:05.5Z ").map(|(_, text)| text), Some(&b""[..]));
        assert_eq!(cursor.since(), Some("2026-01-02T03:04:05Z".parse().unwrap()));
    }

    proptest! {
        /// However a stream is cut, every line is taken once, in order.
        #[test]
        fn a_cut_stream_goes_on(steps in prop::collection::vec(0_i64..3, 1..40), cuts in prop::collection::vec(0_usize..40, 0..5)) {
            let mut millis = 1_767_323_045_000_i64;
            let lines: Vec<(Timestamp, String)> = steps.iter().enumerate().map(|(n, step)| {
                millis += step * 400;
                let time = Timestamp::from_millisecond(millis).unwrap();
                (time, format!("{time} line {n}"))
            }).collect();
            let (mut cursor, mut taken) = (Cursor::default(), Vec::new());
            for end in cuts.into_iter().map(|cut| cut.min(lines.len())).chain([lines.len()]) {
                let since = cursor.since();
                for (time, line) in lines.iter().take(end) {
                    if since.is_none_or(|since| *time >= since) {
                        taken.extend(cursor.take(line.as_bytes()).map(|(_, text)| String::from_utf8_lossy(text).into_owned()));
                    }
                }
            }
            let expected: Vec<String> = (0..lines.len()).map(|n| format!("line {n}")).collect();
            prop_assert_eq!(taken, expected);
        }
    }
}
