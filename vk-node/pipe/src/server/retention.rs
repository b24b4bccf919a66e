//! Which records may go, and whether there is room for new ones. Pure.
//!
//! ```text
//!   runs ──▶ has ended, and nobody has told of it ──▶ may go ──▶ goes: too old, one of too many, or for room
//!                                                        ▲
//!   a line of the FIFO has ended: nobody asks for it ────┘
//! ```
//!
//! An end that has not been told of stays, however full it gets: it is known nowhere else. Then new tasks are refused,
//! and those that run go on.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use vk_site::Records;
use vk_task::{Origin, TaskId, TaskState, TaskView};
use vk_words::counted;

/// What is known of a task's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: TaskId,
    pub(super) standing: Standing,
    /// How much room they take on disk.
    pub(super) bytes: u64,
}

/// Whether records may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No: the task has not ended.
    Open,
    /// No: its end has not been told of.
    Untold,
    /// Yes: it ended at this time.
    MayGo(Timestamp),
}

impl Standing {
    /// Of a task's records.
    pub(super) fn of(task: &TaskView) -> Self {
        let ended = match &task.state {
            TaskState::Accepted { .. } | TaskState::Running { .. } => return Self::Open,
            TaskState::Ended { finished_at, .. } => *finished_at,
            TaskState::Unknown { noticed_at, .. } => *noticed_at,
        };
        match &task.origin {
            // Nobody asks for it by its name, and how it ended is in the audit log.
            Origin::Fifo { .. } => Self::MayGo(ended),
            Origin::Pod(_) if task.reported => Self::MayGo(ended),
            Origin::Pod(_) => Self::Untold,
        }
    }

    /// The same with another time.
    pub(super) fn with(self, time: impl FnOnce(Timestamp) -> Timestamp) -> Self {
        match self {
            Self::Open | Self::Untold => self,
            Self::MayGo(ended) => Self::MayGo(time(ended)),
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Which records are to go, the oldest first.
    pub(super) remove: Vec<TaskId>,
    /// Why there is no room for new tasks once they are gone.
    pub(super) full: Option<Full>,
}

/// Why there is no room for new tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Full {
    max_bytes: u64,
    open: Sum,
    untold: Sum,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    tasks: usize,
    bytes: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_bytes, open, untold } = self;
        let running = counted(open.tasks, "task that has not ended takes", "tasks that have not ended take");
        let unreported = counted(
            untold.tasks,
            "end that has not been reported to Kubernetes takes",
            "ends that have not been reported to Kubernetes take",
        );
        write!(
            f,
            "the records of tasks may take {max_bytes} bytes on disk (records.maxBytes of the site's file), and none of \
             those that are there may be removed: {running} {} bytes, and {unreported} {}. Let tasks end, let vk-node run \
             and report, or allow more",
            open.bytes, untold.bytes
        )
    }
}

/// Decides.
pub(super) fn decide(records: &[Record], limits: Records, now: Timestamp) -> Verdict {
    let keep = SignedDuration::from_secs(i64::try_from(limits.keep_seconds).unwrap_or(i64::MAX));
    let (mut open, mut untold, mut may_go) = (Sum::default(), Sum::default(), Vec::new());
    let mut bytes = 0_u64;
    for record in records {
        bytes = bytes.saturating_add(record.bytes);
        let sum = match record.standing {
            Standing::Open => &mut open,
            Standing::Untold => &mut untold,
            Standing::MayGo(ended) => {
                may_go.push((ended, record));
                continue;
            }
        };
        sum.tasks += 1;
        sum.bytes = sum.bytes.saturating_add(record.bytes);
    }
    may_go.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.id.cmp(&y.id)));
    let mut left = may_go.len() as u64;
    let mut remove = Vec::new();
    for (ended, record) in may_go {
        let is_old = now.duration_since(ended) >= keep;
        if !is_old && left <= limits.keep_tasks && bytes < limits.max_bytes {
            break;
        }
        remove.push(record.id.clone());
        left -= 1;
        bytes = bytes.saturating_sub(record.bytes);
    }
    let full = (bytes >= limits.max_bytes).then_some(Full { max_bytes: limits.max_bytes, open, untold });
    Verdict { remove, full }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use vk_task::{ContainerRun, End};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn record(name: &str, standing: Standing, bytes: u64) -> Record {
        Record { id: TaskId::new(name).unwrap(), standing, bytes }
    }

    fn removed(verdict: &Verdict) -> Vec<&str> {
        verdict.remove.iter().map(TaskId::as_str).collect()
    }

    const LIMITS: Records = Records { keep_seconds: 100, keep_tasks: 2, max_bytes: 1000 };

    #[test]
    fn the_old_the_many_and_the_big_go() {
        let may_go = |name, second, bytes| record(name, Standing::MayGo(at(second)), bytes);
        let verdict =
            decide(&[may_go("new", 950, 1), may_go("old", 900, 1), may_go("older", 800, 1)], LIMITS, at(1000));
        assert_eq!((removed(&verdict), &verdict.full), (vec!["older", "old"], &None));
        let verdict = decide(&[may_go("a", 951, 1), may_go("b", 952, 1), may_go("c", 953, 1)], LIMITS, at(1000));
        assert_eq!(removed(&verdict), ["a"]);
        let verdict = decide(&[may_go("a", 951, 600), may_go("b", 952, 400)], LIMITS, at(1000));
        assert_eq!((removed(&verdict), &verdict.full), (vec!["a"], &None));
    }

    #[test]
    fn when_nothing_may_go_new_tasks_are_refused_and_told_why() {
        let records = [
            record("runs", Standing::Open, 300),
            record("untold", Standing::Untold, 700),
            record("told", Standing::MayGo(at(999)), 50),
        ];
        let verdict = decide(&records, LIMITS, at(1000));
        assert_eq!(removed(&verdict), ["told"]);
        let why = verdict.full.unwrap().to_string();
        for word in ["1000 bytes", "records.maxBytes", "1 task that has not ended takes 300", "1 end", "takes 700"] {
            assert!(why.contains(word), "{why}");
        }
        assert_eq!(decide(&records[..1], LIMITS, at(1000)).full, None);
    }

    #[test]
    fn what_may_go_has_ended_and_been_told_of_or_is_nobodys() {
        let run = ContainerRun {
            namespace: "n".into(),
            pod: "p".into(),
            uid: "u".into(),
            service_account: "s".into(),
            container: "c".into(),
            restart: 0,
            node: None,
        };
        let pod = Origin::Pod(run.clone());
        let ended =
            TaskState::Ended { started_at: at(1), finished_at: at(2), end: End::Exited { code: 0 }, exceeded: None };
        let unknown = TaskState::Unknown { started_at: at(1), noticed_at: at(3), message: String::new() };
        let runs = TaskState::Running { pid: 1, started_at: at(1) };
        let accepted = TaskState::Accepted { at: at(1) };
        let of = |origin: &Origin, state: &TaskState, reported| {
            let id = TaskId::new("t").unwrap();
            let (origin, state) = (origin.clone(), state.clone());
            Standing::of(&TaskView {
                id,
                origin,
                state,
                stop: None,
                lingering: vec![],
                reported,
                termination_message: None,
            })
        };
        for reported in [false, true] {
            for origin in [&pod, &Origin::Fifo { writer: None }] {
                assert_eq!(of(origin, &runs, reported), Standing::Open);
                assert_eq!(of(origin, &accepted, reported), Standing::Open);
            }
            assert_eq!(of(&Origin::Fifo { writer: Some(run.clone()) }, &ended, reported), Standing::MayGo(at(2)));
        }
        assert_eq!([of(&pod, &ended, false), of(&pod, &unknown, false)], [Standing::Untold; 2]);
        assert_eq!([of(&pod, &ended, true), of(&pod, &unknown, true)], [2, 3].map(|n| Standing::MayGo(at(n))));
    }

    fn worlds() -> impl Strategy<Value = Vec<Record>> {
        let standing = prop_oneof![
            Just(Standing::Open),
            Just(Standing::Untold),
            (0_i64..300).prop_map(|second| Standing::MayGo(at(second))),
        ];
        proptest::collection::vec((standing, 0_u64..400), 0..30).prop_map(|records| {
            let name = |n, (standing, bytes)| record(&format!("t{n}"), standing, bytes);
            records.into_iter().enumerate().map(|(n, r)| name(n, r)).collect()
        })
    }

    proptest! {
        #[test]
        fn in_no_world_is_an_untold_end_or_a_running_task_removed(
            world in worlds(),
            now in 0_i64..400,
            keep_seconds in prop_oneof![Just(0), 0_u64..300, Just(u64::MAX)],
            keep_tasks in 0_u64..30,
            max_bytes in prop_oneof![Just(0), 0_u64..5000, Just(u64::MAX)],
        ) {
            let limits = Records { keep_seconds, keep_tasks, max_bytes };
            let verdict = decide(&world, limits, at(now));
            let gone: BTreeSet<_> = verdict.remove.iter().collect();
            prop_assert_eq!(gone.len(), verdict.remove.len());
            let (gone, kept): (Vec<Record>, Vec<Record>) = world.into_iter().partition(|r| gone.contains(&r.id));
            let end = |r: &Record| match r.standing {
                Standing::MayGo(ended) => Some((ended, r.id.clone())),
                Standing::Open | Standing::Untold => None,
            };
            prop_assert!(gone.iter().all(|r| end(r).is_some()));
            // The oldest go.
            let kept_ends: Vec<_> = kept.iter().filter_map(end).collect();
            prop_assert!(gone.iter().filter_map(end).all(|g| kept_ends.iter().all(|k| g < *k)));
            // Every limit is kept as far as it may be.
            prop_assert!(kept_ends.len() as u64 <= keep_tasks);
            let bytes: u64 = kept.iter().map(|r| r.bytes).sum();
            prop_assert_eq!(verdict.full.is_some(), bytes >= max_bytes);
            prop_assert!(verdict.full.is_none() || kept_ends.is_empty());
            // Nothing goes without need, and once is enough.
            prop_assert_eq!(decide(&kept, limits, at(now)), Verdict { remove: vec![], full: verdict.full });
        }
    }
}
