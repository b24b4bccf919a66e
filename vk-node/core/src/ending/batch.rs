//! What batch systems say of the job that a node is in: by the environment, and when they are asked.
//!
//! | asked | says |
//! |---|---|
//! | `SLURM_JOB_END_TIME` | when the job ends, as it was when it was started, in seconds since 1970 |
//! | `squeue -h -j JOB -o '%A %L %e'` | how long it has from now on, by its limit, and when it ends: it can be extended and cut, and ends before its limit when it is preempted with a grace time |
//! | `qstat -f JOB` | PBS: `Walltime.Remaining` (Torque), or `Resource_List.walltime` after `stime`, or without `resources_used.walltime` |
//! | `PBS_WALLTIME` | how long it had when it was started |

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::{Timestamp, Zoned};

use super::length::colons;

/// The job of a batch system that this process is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Slurm's.
    Slurm {
        /// `SLURM_JOB_ID`.
        job: String,
        /// `SLURM_RESTART_COUNT`: which run of it, for one that is requeued keeps its number.
        run: u32,
        /// `SLURM_JOB_END_TIME`.
        end_time: Option<Timestamp>,
    },
    /// That of PBS or Torque.
    Pbs {
        /// `PBS_JOBID`.
        job: String,
        /// `PBS_WALLTIME`.
        walltime: Option<Duration>,
    },
    /// Another one's, which does not say how long it has.
    Other {
        /// By which variable it was known.
        variable: &'static str,
        /// What that says.
        job: String,
    },
}

/// How long a job has from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The answer does not say: what was known before still holds.
    Unknown,
    /// For ever.
    Unlimited,
    /// So long.
    For(Duration),
}

/// Variables of batch systems that end what is left of a job, besides those above: HTCondor, LSF, Grid Engine, Flux.
const OTHERS: [&str; 4] = ["_CONDOR_JOB_AD", "LSB_JOBID", "SGE_JOB_SPOOL_DIR", "FLUX_JOB_ID"];

impl Batch {
    /// The one that these variables tell of. An empty variable is one that is not set.
    #[must_use]
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        if let Some(job) = get("SLURM_JOB_ID") {
            let run = get("SLURM_RESTART_COUNT").and_then(|text| text.trim().parse().ok()).unwrap_or_default();
            return Some(Self::Slurm {
                job,
                run,
                end_time: get("SLURM_JOB_END_TIME").and_then(|text| end_time(&text)),
            });
        }
        if let Some(job) = get("PBS_JOBID") {
            return Some(Self::Pbs { job, walltime: get("PBS_WALLTIME").and_then(|text| pbs_length(&text)) });
        }
        OTHERS.into_iter().find_map(|variable| Some(Self::Other { variable, job: get(variable)? }))
    }

    /// What tells this run of this job from all others of the host.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Slurm { job, run, .. } => format!("slurm {job}.{run}"),
            Self::Pbs { job, .. } => format!("pbs {job}"),
            Self::Other { variable, job } => format!("{variable} {job}"),
        }
    }
}

/// Reads `SLURM_JOB_END_TIME`. A job without a limit has an end that is not one: 0, or a number past all times.
fn end_time(text: &str) -> Option<Timestamp> {
    /// Slurm's `INFINITE` and `NO_VAL`, as unsigned numbers of 32 bits, are beyond this.
    const LAST: i64 = 0xffff_fff0;
    let seconds = text.trim().parse::<i64>().ok().filter(|seconds| (1..LAST).contains(seconds))?;
    Timestamp::from_second(seconds).ok()
}

/// Seconds, or `HH:MM:SS`.
fn pbs_length(text: &str) -> Option<Duration> {
    let text = text.trim();
    text.parse().ok().map(Duration::from_secs).or_else(|| colons(text))
}

/// Reads the answer of `squeue -h -j JOB -o '%A %L %e'` with `SLURM_TIME_FORMAT=%s`, so that the time of its end is in seconds since 1970.
/// What is left by the limit and by that time are the same but for a job that is preempted: the sooner counts. Asked for the
/// last task of an array it tells of all of them, each in a line with its own number. A line without a number is taken as it is.
#[must_use]
pub fn squeue(answer: &str, job: &str, now: Timestamp) -> Left {
    let lines = answer.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words.as_slice() {
            [left] => Some((*left, None)),
            [id, left] if *id == job => Some((*left, None)),
            [id, left, end] if *id == job => Some((*left, end_time(end))),
            _ => None,
        }
    });
    let mut left = lines.map(|(left, end)| match (time_left(left), end) {
        (Left::For(left), Some(end)) => {
            Left::For(left.min(Duration::try_from(end.duration_since(now)).unwrap_or_default()))
        }
        (left, _) => left,
    });
    left.find(|left| *left != Left::Unknown).unwrap_or(Left::Unknown)
}

/// Slurm's `%L`: `D-HH:MM:SS`, `HH:MM:SS`, `MM:SS`, `SS`, or a word. `INVALID` is what a negative time is written as, for a
/// moment around its end.
fn time_left(text: &str) -> Left {
    match text {
        "UNLIMITED" => Left::Unlimited,
        "NOT_SET" | "INVALID" | "N/A" => Left::Unknown,
        _ => pbs_length(text).map_or(Left::Unknown, Left::For),
    }
}

/// Reads the answer of `qstat -f JOB`, which has times of the server's zone: that of `now`, as far as anybody knows.
#[must_use]
pub fn qstat(answer: &str, now: &Zoned) -> Left {
    let field = |name: &str| {
        let lines = answer.lines().filter_map(|line| line.split_once(" = "));
        lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()).next()
    };
    if let Some(seconds) = field("Walltime.Remaining").and_then(|text| text.parse::<i64>().ok()) {
        return Left::For(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()));
    }
    let Some(limit) = field("Resource_List.walltime").and_then(pbs_length) else { return Left::Unknown };
    let started = field("stime").and_then(|text| started(text, now));
    let used = field("resources_used.walltime").and_then(pbs_length);
    match started.or(used) {
        Some(used) => Left::For(limit.saturating_sub(used)),
        None => Left::Unknown,
    }
}

/// How long ago `stime` was: `Thu Nov 26 02:00:00 2026`.
fn started(text: &str, now: &Zoned) -> Option<Duration> {
    let at = DateTime::strptime("%a %b %d %H:%M:%S %Y", text).ok()?.to_zoned(now.time_zone().clone()).ok()?;
    Duration::try_from(now.timestamp().duration_since(at.timestamp())).ok()
}

/// Whether the answer of `scontrol show job JOB` says that the job was preempted.
#[must_use]
pub fn is_preempted(answer: &str) -> bool {
    answer.split_ascii_whitespace().any(|word| match word.split_once('=') {
        Some(("JobState", state)) => state == "PREEMPTED",
        Some(("PreemptTime", time)) => !matches!(time, "" | "None" | "Unknown" | "N/A"),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(seconds: u64) -> Left {
        Left::For(Duration::from_secs(seconds))
    }

    fn batch(pairs: &[(&str, &str)]) -> Option<Batch> {
        Batch::of(|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_job_is_known_by_its_variables() {
        let slurm = |end_time| Some(Batch::Slurm { job: "17".into(), run: 0, end_time });
        assert_eq!(batch(&[]), None);
        assert_eq!(batch(&[("SLURM_JOB_ID", "")]), None);
        assert_eq!(batch(&[("SLURM_JOB_ID", "17")]), slurm(None));
        let at = Timestamp::from_second(1_800_000_000).ok();
        assert_eq!(batch(&[("SLURM_JOB_ID", "17"), ("SLURM_JOB_END_TIME", "1800000000")]), slurm(at));
        for none in ["0", "4294967295", "4294967294", "-1", "soon", "99999999999999999999"] {
            assert_eq!(batch(&[("SLURM_JOB_ID", "17"), ("SLURM_JOB_END_TIME", none)]), slurm(None), "{none}");
        }
        let pbs = |walltime| Some(Batch::Pbs { job: "1.s".into(), walltime });
        assert_eq!(batch(&[("PBS_JOBID", "1.s")]), pbs(None));
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(batch(&[("PBS_JOBID", "1.s"), ("PBS_WALLTIME", "3600")]), pbs(hour));
        assert_eq!(batch(&[("PBS_JOBID", "1.s"), ("PBS_WALLTIME", "01:00:00")]), pbs(hour));
        assert_eq!(batch(&[("LSB_JOBID", "5")]), Some(Batch::Other { variable: "LSB_JOBID", job: "5".into() }));
    }

    #[test]
    fn a_run_of_a_job_is_told_from_all_others() {
        let key = |pairs: &[(&'static str, &str)]| batch(pairs).unwrap().key();
        let all = [
            key(&[("SLURM_JOB_ID", "17")]),
            key(&[("SLURM_JOB_ID", "17"), ("SLURM_RESTART_COUNT", "1")]),
            key(&[("SLURM_JOB_ID", "18")]),
            key(&[("PBS_JOBID", "17")]),
            key(&[("LSB_JOBID", "17")]),
        ];
        assert_eq!(all, ["slurm 17.0", "slurm 17.1", "slurm 18.0", "pbs 17", "LSB_JOBID 17"]);
    }

    #[test]
    fn all_that_squeue_prints_is_read() {
        for (answer, expected) in [
            ("17 1-02:03:04\n", left(86_400 + 2 * 3600 + 184)),
            ("17 10:00:00\n", left(36_000)),
            ("17 1:00:00", left(3600)),
            ("17 29:58\n", left(1798)),
            ("17 0:05\n", left(5)),
            ("17 0:00\n", left(0)),
            ("17 42\n", left(42)),
            ("29:58\n", left(1798)),
            ("17 UNLIMITED\n", Left::Unlimited),
            ("17 NOT_SET\n", Left::Unknown),
            ("17 INVALID\n", Left::Unknown),
            ("", Left::Unknown),
            ("\n", Left::Unknown),
            ("slurm_load_jobs error: Invalid job id specified\n", Left::Unknown),
            // The tasks of an array, of which one has the number of the array.
            ("15 1:00\n17 2:00\n16 3:00\n", left(120)),
            ("15 1:00\n", Left::Unknown),
        ] {
            assert_eq!(squeue(answer, "17", Timestamp::UNIX_EPOCH), expected, "{answer:?}");
        }
        // Its end by the clock, which is nearer where it is preempted.
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        for (answer, expected) in [
            ("17 1:00:00 1800003600\n", left(3600)),
            ("17 1:00:00 1800000030\n", left(30)),
            ("17 1:00:00 1799999999\n", left(0)),
            ("17 1:00:00 N/A\n", left(3600)),
            ("17 1:00:00 2026-11-26T03:00:00\n", left(3600)),
            ("17 UNLIMITED NONE\n", Left::Unlimited),
            ("17 INVALID 1800000030\n", Left::Unknown),
            ("15 1:00 1800000001\n17 2:00 1800000120\n", left(120)),
        ] {
            assert_eq!(squeue(answer, "17", now), expected, "{answer:?}");
        }
    }

    #[test]
    fn all_that_qstat_prints_is_read() {
        let now: Zoned = "2026-11-26T03:00:00+01:00[Europe/Paris]".parse().unwrap();
        let limit = "    Resource_List.walltime = 02:00:00\n";
        let used = "    resources_used.walltime = 00:10:00\n";
        let started = "    stime = Thu Nov 26 02:30:00 2026\n";
        for (answer, expected) in [
            (format!("Job Id: 1.s\n{limit}{used}"), left(110 * 60)),
            // The use is told now and then; the start is what counts.
            (format!("Job Id: 1.s\n{limit}{used}{started}"), left(90 * 60)),
            (format!("{limit}{used}{started}    Walltime.Remaining = 77\n"), left(77)),
            ("    Walltime.Remaining = -5\n".to_owned(), left(0)),
            (limit.to_owned(), Left::Unknown),
            (used.to_owned(), Left::Unknown),
            ("    Resource_List.walltime = 00:10:00\n    stime = Thu Nov 26 02:30:00 2026\n".to_owned(), left(0)),
            ("qstat: Unknown Job Id\n".to_owned(), Left::Unknown),
        ] {
            assert_eq!(qstat(&answer, &now), expected, "{answer:?}");
        }
    }

    #[test]
    fn a_job_that_was_preempted_is_told_from_one_that_was_cancelled() {
        assert!(is_preempted("JobId=1 JobName=x\n   JobState=PREEMPTED Reason=None"));
        assert!(is_preempted("   PreemptEligibleTime=2026-11-26T02:00:00 PreemptTime=2026-11-26T02:10:00\n"));
        assert!(!is_preempted("JobState=RUNNING PreemptEligibleTime=2026-11-26T02:00:00 PreemptTime=None"));
        assert!(!is_preempted("JobState=COMPLETING"));
    }

    proptest! {
        #[test]
        fn garbage_is_no_panic(text in "[ -~\n]{0,120}") {
            let now: Zoned = "2026-11-26T03:00:00+00:00[UTC]".parse().unwrap();
            let _ = (squeue(&text, "17", now.timestamp()), qstat(&text, &now), is_preempted(&text), time_left(&text));
        }
    }
}
