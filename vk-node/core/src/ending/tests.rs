use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use vk_task::{End, Origin, StopRequest, TaskId, TaskState, TaskView};

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn plan() -> EndPlan {
    EndPlan::default()
}

fn by(at: u64, source: Source) -> Option<Ends> {
    Some(Ends { at: s(at), source })
}

fn wall(boot: Duration) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + boot
}

fn facts(end: &NodeEnd, now: u64) -> EndFacts {
    EndFacts::of(end, None, s(now), wall)
}

#[test]
fn who_is_believed_is_as_documented() {
    let slurm = BatchSays::Ends(Ends { at: s(500), source: Source::Squeue });
    let said = |said, assumed| Walltime { said, assumed };
    for (walltime, batch, expected) in [
        (said(None, None), BatchSays::Nothing, None),
        (said(Some(s(60)), Some(s(9))), slurm, by(160, Source::Configured)),
        (said(Some(s(0)), Some(s(9))), slurm, None),
        (said(None, Some(s(9))), slurm, by(500, Source::Squeue)),
        (said(None, Some(s(9))), BatchSays::Never, None),
        (said(None, Some(s(9))), BatchSays::Nothing, by(109, Source::Jiriaf)),
        (said(None, Some(s(0))), BatchSays::Nothing, None),
        (said(Some(Duration::MAX), None), BatchSays::Nothing, None),
    ] {
        assert_eq!(ends(&walltime, batch, s(100)), expected, "{walltime:?}, {batch:?}");
    }
}

#[test]
fn an_answer_that_only_rounds_changes_nothing_and_one_that_says_nothing_neither() {
    let known = BatchSays::Nothing.after(Left::For(s(3600)), Source::SlurmEnvironment, s(10));
    assert_eq!(known, BatchSays::Ends(Ends { at: s(3610), source: Source::SlurmEnvironment }));
    assert_eq!(known.after(Left::For(s(3583)), Source::Squeue, s(30)), known);
    assert_eq!(known.after(Left::Unknown, Source::Squeue, s(30)), known);
    assert_eq!(known.after(Left::Unlimited, Source::Squeue, s(30)), BatchSays::Never);
    let longer = BatchSays::Ends(Ends { at: s(7230), source: Source::Squeue });
    assert_eq!(known.after(Left::For(s(7200)), Source::Squeue, s(30)), longer);
}

#[test]
fn it_is_asked_again_more_often_as_the_end_comes_near() {
    let at = |end: u64, now: u64| {
        let batch = BatchSays::Ends(Ends { at: s(end), source: Source::Squeue });
        ask_after(&plan(), batch, s(now)).as_secs()
    };
    assert_eq!([at(86_400, 0), at(720, 0), at(320, 0), at(125, 0), at(100, 0)], [300, 300, 100, 10, 10]);
    assert_eq!(ask_after(&plan(), BatchSays::Nothing, s(0)), s(300));
    let eager = EndPlan { check_every: s(1), ..plan() };
    assert_eq!(ask_after(&eager, BatchSays::Nothing, s(0)), s(1));
}

#[test]
fn a_node_goes_through_its_phases_before_its_walltime_is_over() {
    let end = NodeEnd::of(&plan(), by(1000, Source::Squeue), Told::default()).unwrap();
    assert_eq!((end.ending_from, end.closes_at, end.kill_by, end.at), (s(880), s(940), s(990), s(1000)));
    assert_eq!((end.cause, end.longest_grace), (Cause::Walltime, s(110)));
    let phases = [879, 880, 939, 940, 2000].map(|now| end.phase(s(now)));
    assert_eq!(phases, [Phase::Serving, Phase::Ending, Phase::Ending, Phase::Closing, Phase::Closing]);
    assert_eq!([0, 880, 940].map(|now| end.next_phase_at(s(now))), [Some(s(880)), Some(s(940)), None]);
    assert_eq!(NodeEnd::of(&plan(), None, Told::default()), None);
}

#[test]
fn signals_mean_what_is_documented() {
    let told = |notice: Option<u64>, term: Option<u64>, preempted| Told {
        notice: notice.map(s),
        term: term.map(s),
        preempted,
    };
    let of = |ends: Option<u64>, told| {
        let end = NodeEnd::of(&plan(), ends.and_then(|at| by(at, Source::Squeue)), told).unwrap();
        let times = [end.ending_from, end.closes_at, end.kill_by, end.at].map(|at| at.as_secs());
        (end.cause, times, end.longest_grace.as_secs())
    };
    // USR1 where the end is known says only that it is near, and where it is not, it says when it is.
    assert_eq!(of(Some(1000), told(Some(500), None, false)), (Cause::Walltime, [500, 940, 990, 1000], 110));
    assert_eq!(of(Some(1000), told(Some(950), None, false)), (Cause::Walltime, [880, 940, 990, 1000], 110));
    assert_eq!(of(None, told(Some(500), None, false)), (Cause::Signalled, [500, 530, 550, 560], 50));
    // TERM leaves as long as the batch system waits before KILL, without what telling takes.
    assert_eq!(of(Some(1000), told(Some(490), Some(500), false)), (Cause::Signalled, [500, 500, 520, 530], 20));
    assert_eq!(of(None, told(None, Some(500), true)), (Cause::Preempted, [500, 500, 520, 530], 20));
    // The one that comes at the end of the walltime is the walltime's.
    assert_eq!(of(Some(1000), told(None, Some(997), false)).0, Cause::Walltime);
    let short = EndPlan { kill_wait: Duration::from_secs(6), ..plan() };
    let end = NodeEnd::of(&short, None, told(None, Some(500), false)).unwrap();
    assert_eq!((end.kill_by, end.at, end.longest_grace), (s(504), s(506), s(4)));
}

#[test]
fn term_in_and_out_of_batch_jobs() {
    assert!(OnTerm::Auto.ends(true) && !OnTerm::Auto.ends(false));
    assert!(OnTerm::End.ends(false) && !OnTerm::Keep.ends(true));
}

#[test]
fn what_is_sure_to_end_before_is_taken_and_nothing_else() {
    let end = NodeEnd::of(&plan(), by(1000, Source::Squeue), Told::default()).unwrap();
    let grace = SignedDuration::from_secs(30);
    let takes = |now: u64, deadline: Option<u32>| facts(&end, now).takes(deadline, grace, wall(s(now)));
    for (now, deadline, expected) in [
        (100, None, true),
        (100, Some(860), true),
        (100, Some(861), false),
        (880, None, false),
        (880, Some(80), true),
        (880, Some(81), false),
        (940, Some(1), false),
        (940, None, false),
    ] {
        assert_eq!(takes(now, deadline).is_ok(), expected, "{now}, {deadline:?}");
    }
    let words = |now, deadline| takes(now, deadline).unwrap_err().to_string();
    assert_eq!(
        words(100, Some(861)),
        "it may take 861 s (activeDeadlineSeconds), and the node, which ends at 2027-01-15T08:16:40Z, would end it from \
         2027-01-15T08:16:00Z on"
    );
    assert_eq!(
        words(880, None),
        "the node ends at 2027-01-15T08:16:40Z, and takes only what is sure to have ended by 2027-01-15T08:16:00Z \
         (activeDeadlineSeconds)"
    );
    assert_eq!(words(940, None), "the node ends at 2027-01-15T08:16:40Z and takes nothing more");
    assert_eq!(takes(940, None).unwrap_err().reason(), "OutOfWalltime");
    let told = Told { term: Some(s(500)), ..Told::default() };
    let end = NodeEnd::of(&plan(), None, told).unwrap();
    assert_eq!(facts(&end, 500).takes(Some(1), grace, wall(s(500))).unwrap_err().reason(), "NodeShutdown");
}

#[test]
fn a_grace_goes_as_far_as_the_margin() {
    let end = NodeEnd::of(&plan(), by(1000, Source::Squeue), Told::default()).unwrap();
    let term =
        |grace: i64| facts(&end, 0).term_at(SignedDuration::from_secs(grace)).duration_since(wall(s(0))).as_secs();
    assert_eq!([term(0), term(30), term(110), term(3600)], [990, 960, 880, 880]);
}

#[test]
fn what_an_earlier_start_has_left_is_ended_in_the_time_there_is_and_says_why() {
    let end = NodeEnd::of(&plan(), None, Told { term: Some(s(500)), ..Told::default() }).unwrap();
    let facts = facts(&end, 500);
    let mut task = TaskView {
        id: TaskId::new("t").unwrap(),
        origin: Origin::Fifo { writer: None },
        state: TaskState::Running { pid: 7, started_at: wall(s(100)) },
        stop: None,
        lingering: vec![],
        reported: false,
        termination_message: None,
    };
    let ends = |task: &TaskView| facts.ends_unregistered(task, |recorded| recorded);
    let request = ends(&task).unwrap();
    assert_eq!(request.kill_at, wall(s(520)));
    assert_eq!(request.reason, "Terminated: Pod was terminated in response to imminent node shutdown.");
    task.stop = Some(StopRequest { kill_at: wall(s(900)), reason: "the pod was deleted".into() });
    assert_eq!(ends(&task).map(|request| request.kill_at), Some(wall(s(520))), "it had more time than there is");
    task.stop = Some(request);
    assert_eq!(ends(&task), None);
    let end = End::Exited { code: 0 };
    let (started_at, finished_at) = (wall(s(100)), wall(s(400)));
    task = TaskView { stop: None, state: TaskState::Ended { started_at, finished_at, end, exceeded: None }, ..task };
    assert_eq!(ends(&task), None);
}

proptest! {
    /// Whatever is known and told: the order of things is kept, KILL comes in time, and a phase never ends before it began.
    #[test]
    fn things_come_in_their_order(
        margin in 0_u64..4000, kill_wait in 0_u64..200, notice_length in 0_u64..4000,
        ends in proptest::option::of(0_u64..10_000),
        notice in proptest::option::of(0_u64..10_000),
        term in proptest::option::of(0_u64..10_000),
        now in 0_u64..12_000,
    ) {
        let plan = EndPlan { margin: s(margin), kill_wait: s(kill_wait), notice: s(notice_length), ..EndPlan::default() };
        let told = Told { notice: notice.map(s), term: term.map(s), preempted: false };
        let ends = ends.and_then(|at| by(at, Source::Configured));
        match NodeEnd::of(&plan, ends, told) {
            None => prop_assert!(ends.is_none() && notice.is_none() && term.is_none()),
            Some(end) => {
                prop_assert!(end.ending_from <= end.closes_at || end.closes_at == end.at, "{:?}", end);
                prop_assert!(end.closes_at <= end.at && end.kill_by <= end.at, "{:?}", end);
                prop_assert!(end.longest_grace <= end.at, "{:?}", end);
                let next = end.next_phase_at(s(now));
                prop_assert!(next.is_none_or(|at| end.phase(at) > end.phase(s(now))), "{:?}", end);
            }
        }
    }
}

#[test]
fn a_node_that_is_drained_takes_nothing_and_ends_nothing() {
    let (now, grace) = (wall(s(500)), SignedDuration::from_secs(30));
    let drained = EndFacts::drained(None, now, s(500));
    let refused = drained.takes(Some(1), grace, now).unwrap_err();
    assert_eq!(refused.reason(), NODE_SHUTDOWN);
    assert!(refused.to_string().contains("vk-node drain"), "{refused}");
    assert!(drained.term_at(grace) > now + SignedDuration::from_hours(365 * 24));
    // Of an end that is known nothing changes but that.
    let end = facts(&NodeEnd::of(&plan(), by(1000, Source::Squeue), Told::default()).unwrap(), 500);
    let both = EndFacts::drained(Some(end.clone()), now, s(500));
    assert!(both.takes(Some(1), grace, now).is_err() && end.takes(Some(1), grace, now).is_ok());
    assert_eq!(both, EndFacts { is_drained: true, ..end });
}
