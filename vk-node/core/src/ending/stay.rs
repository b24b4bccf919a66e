//! How long a node is there in one piece, however often its process is started anew in between: from there lengths of time count.
//!
//! ```text
//!   first start ──▶ kill -9 ──▶ start ──▶ Ctrl-C, the tasks go on ──▶ start ──▶ …
//!        └───────────────────────── one stay: its end stays where it is ────────▶ over when
//!                                                                                 the node has left, or was told to end with its tasks;
//!                                                                                 its time has passed;
//!                                                                                 the host was booted, or it is another batch job
//! ```
//!
//! So a restart gives a node no more time than it had, and takes none from one that begins anew. Whether a start is a restart cannot be
//! known for sure where there is no batch job: whoever starts a node with the same directory, on the same boot, before its time is over, goes on
//! with it, and its log says so.
//!
//! It is kept in a file beside the pipe's records, and with it when the node was told to end: what ended by that is told so by the next start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A node's stay. Times are since boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stay {
    /// The boot that its times are of.
    boot_id: String,
    /// The job of a batch system that it is in, and which run of it; none: in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    /// When it was first started.
    started: Duration,
    /// When it was told to end, with its tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    term: Option<Duration>,
    /// The stay before it that was told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former: Option<Former>,
}

/// When an earlier stay was told to end, of which the ends of tasks may not have been told yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Former {
    /// When it was told.
    pub term: Duration,
    /// When the node was started anew: nothing ended by it after that.
    pub until: Duration,
}

/// What a process finds when it is started.
#[derive(Clone, Copy, Debug)]
pub struct Here<'a> {
    /// The id of the boot.
    pub boot_id: &'a str,
    /// The job of a batch system that it is in, and which run of it.
    pub job: Option<&'a str>,
    /// How long its nodes are there, the longest of them, as far as that counts from their start; none: it does not.
    pub lasts: Option<Duration>,
    /// How long after TERM the batch system sends KILL.
    pub kill_wait: Duration,
    /// The time.
    pub now: Duration,
}

impl Stay {
    /// The stay that a process is in that was started just now and finds this of the one before.
    #[must_use]
    pub fn resumed(kept: Option<Self>, here: &Here<'_>) -> Self {
        let new = Self {
            boot_id: here.boot_id.to_owned(),
            job: here.job.map(str::to_owned),
            started: here.now,
            term: None,
            former: None,
        };
        let Some(kept) = kept.filter(|kept| kept.boot_id == new.boot_id && kept.started <= here.now) else {
            return new;
        };
        let is_over = here.lasts.is_some_and(|lasts| kept.started.saturating_add(lasts) <= here.now);
        let is_same = kept.job == new.job && !is_over;
        match kept.term {
            None if is_same => kept,
            None => Self { former: kept.former, ..new },
            // Its job is about to be killed. Without a job, whoever starts it again means it to be there.
            Some(term) if is_same && new.job.is_some() && here.now < term.saturating_add(here.kill_wait) => kept,
            Some(term) => Self { former: Some(Former { term, until: here.now }), ..new },
        }
    }

    /// After it was told to end, with its tasks. The second time says nothing new.
    #[must_use]
    pub fn told(self, now: Duration) -> Self {
        Self { term: self.term.or(Some(now)), ..self }
    }

    /// When it was first started.
    #[must_use]
    pub fn started(&self) -> Duration {
        self.started
    }

    /// When it was told to end, if it was.
    #[must_use]
    pub fn term(&self) -> Option<Duration> {
        self.term
    }

    /// The one before it that was told to end.
    #[must_use]
    pub fn former(&self) -> Option<Former> {
        self.former
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn here(job: Option<&'static str>, lasts: Option<u64>, now: u64) -> Here<'static> {
        Here { boot_id: "boot", job, lasts: lasts.map(s), kill_wait: s(30), now: s(now) }
    }

    fn first(job: Option<&'static str>) -> Stay {
        Stay::resumed(None, &here(job, Some(3600), 100))
    }

    #[test]
    fn a_restart_goes_on_with_the_stay_until_it_is_over() {
        for job in [None, Some("slurm 17")] {
            let kept = first(job);
            assert_eq!((kept.started(), kept.term(), kept.former()), (s(100), None, None));
            let at = |lasts, now| Stay::resumed(Some(kept.clone()), &here(job, lasts, now)).started();
            assert_eq!(at(Some(3600), 200), s(100));
            assert_eq!(at(Some(7200), 3800), s(100), "another length counts from there too");
            assert_eq!(at(Some(3600), 3699), s(100));
            assert_eq!(at(Some(3600), 3700), s(3700), "its time has passed");
            assert_eq!(at(None, 90_000), s(100));
        }
    }

    #[test]
    fn another_job_another_run_of_it_and_another_boot_begin_anew() {
        let kept = first(Some("slurm 17.0"));
        for (other, boot_id) in
            [(Some("slurm 18.0"), "boot"), (Some("slurm 17.1"), "boot"), (None, "boot"), (Some("slurm 17.0"), "other")]
        {
            let here = Here { boot_id, ..here(other, Some(3600), 200) };
            assert_eq!(Stay::resumed(Some(kept.clone()), &here).started(), s(200), "{other:?} {boot_id}");
        }
        // A clock that runs backwards is another boot's.
        assert_eq!(Stay::resumed(Some(kept), &here(Some("slurm 17.0"), None, 50)).started(), s(50));
    }

    #[test]
    fn what_was_told_holds_for_its_job_until_that_is_killed_and_then_for_its_tasks_only() {
        let told = first(Some("slurm 17.0")).told(s(500)).told(s(510));
        assert_eq!(told.term(), Some(s(500)));
        let again = |job, now| Stay::resumed(Some(told.clone()), &here(job, None, now));
        assert_eq!(again(Some("slurm 17.0"), 529), told);
        let survived = again(Some("slurm 17.0"), 530);
        assert_eq!((survived.term(), survived.started()), (None, s(530)), "nobody has killed it");
        let requeued = again(Some("slurm 17.1"), 510);
        assert_eq!((requeued.term(), requeued.started()), (None, s(510)));
        assert_eq!(requeued.former(), Some(Former { term: s(500), until: s(510) }));
        // And is known for as long as there may be ends to tell.
        let later = Stay::resumed(Some(requeued), &here(Some("slurm 17.1"), None, 600));
        assert_eq!((later.started(), later.former()), (s(510), Some(Former { term: s(500), until: s(510) })));
        // Without a job, it was somebody who stops and starts it.
        let by_hand = Stay::resumed(Some(first(None).told(s(500))), &here(None, None, 501));
        assert_eq!((by_hand.term(), by_hand.started()), (None, s(501)));
        assert_eq!(by_hand.former(), Some(Former { term: s(500), until: s(501) }));
    }

    #[test]
    fn what_is_kept_reads_well_and_one_of_an_earlier_version_is_as_good() {
        let text = serde_json::to_string(&first(None)).unwrap();
        assert_eq!(text, r#"{"bootId":"boot","started":{"secs":100,"nanos":0}}"#);
        assert_eq!(serde_json::from_str::<Stay>(&text).unwrap(), first(None));
    }

    proptest! {
        /// However often it is restarted: the end never moves away while the stay lasts, and no stay begins with an end that has passed.
        #[test]
        fn no_restart_gives_more_time(lasts in 1_u64..1000, starts in proptest::collection::vec(0_u64..400, 1..20)) {
            let mut now = 100;
            let mut kept: Option<Stay> = None;
            for pause in starts {
                now += pause;
                let stay = Stay::resumed(kept.clone(), &here(None, Some(lasts), now));
                let end = stay.started() + s(lasts);
                prop_assert!(end > s(now));
                if let Some(before) = kept.map(|kept| kept.started() + s(lasts)).filter(|before| *before > s(now)) {
                    prop_assert_eq!(end, before);
                }
                kept = Some(stay);
            }
        }
    }
}
