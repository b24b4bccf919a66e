//! The node ends while a pod lives.

use vk_task::Signal;

use super::*;
use crate::ending::{EndPlan, Ends, NodeEnd, Source, Told, Warning};

/// The world's clock shows so much when the host is started.
fn wall(boot: Duration) -> Timestamp {
    Timestamp::UNIX_EPOCH + boot
}

impl World {
    /// The node ends so many seconds after the world's beginning, and was told to end then, if it was.
    fn ends(&mut self, at: u64, warning: Option<Warning>, term: Option<u64>) {
        let ends = Some(Ends { at: Duration::from_secs(1000 + at), source: Source::Squeue });
        let told = Told { term: term.map(|term| Duration::from_secs(1000 + term)), ..Told::default() };
        let end = NodeEnd::of(&EndPlan::default(), ends, told).unwrap();
        let now = Duration::try_from(self.now.duration_since(Timestamp::UNIX_EPOCH)).unwrap();
        self.end = Some(EndFacts::of(&end, warning, now, wall));
    }

    /// Time goes on to so many seconds after the beginning.
    fn until(&mut self, at: i64) {
        self.now = Timestamp::from_second(1000 + at).unwrap();
    }
}

fn warned_by(text: &str) -> Option<Warning> {
    Some(text.parse().unwrap())
}

/// The grace of the world's pod is 5 s; the node ends after 1000 s, kills by 990 s, and so tells the pod to end at 985 s.
#[test]
fn its_pods_are_warned_told_and_killed_in_time_and_fail_for_it() {
    let mut world = World::new("Always", None);
    world.ends(1000, warned_by("USR1@300"), None);
    let due = world.go();
    assert_eq!(due, Some(world.now + seconds(700)), "the warning");
    world.until(700);
    assert_eq!(world.settle(), Some(world.now + seconds(285)), "the end");
    assert_eq!(world.warnings, [("c".to_owned(), "SIGUSR1".parse().unwrap())]);
    world.until(984);
    world.settle();
    assert_eq!((world.warnings.len(), world.kill_at("c")), (1, None));
    world.until(985);
    world.settle();
    assert_eq!(world.kill_at("c"), Some(Timestamp::from_second(1990).unwrap()));
    world.pass(1);
    world.restart_node();
    world.end = None;
    world.settle();
    world.end(&End::Signaled { signal: Signal(9), core_dumped: false });
    world.settle();
    // Also for a node that knows no end any more.
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("WalltimeExceeded")));
    assert_eq!(
        world.published.message.as_deref(),
        Some("the node's walltime is over at 1970-01-01T00:33:20Z (by squeue)")
    );
    let (status, reason, _) = world.condition("DisruptionTarget");
    assert_eq!((status, reason), ("True", "TerminationByKubelet"));
    let ended = world.state().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (137, Some("WalltimeExceeded")));
    assert_eq!(world.started.len(), 1, "it is not run again");
}

#[test]
fn who_takes_its_leave_with_0_has_not_succeeded() {
    let mut world = World::new("OnFailure", None);
    world.ends(1000, None, None);
    world.go();
    world.until(985);
    world.settle();
    world.end(&End::Exited { code: 0 });
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("WalltimeExceeded")));
    assert_eq!(world.state().terminated.unwrap().exit_code, 0);
}

#[test]
fn who_has_ended_before_is_told_as_it_ended() {
    let mut world = World::new("Never", None);
    world.ends(1000, None, None);
    world.go();
    world.until(984);
    world.end(&End::Exited { code: 0 });
    world.until(990);
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Succeeded", None));
}

#[test]
fn a_node_that_is_told_to_end_says_so_and_kills_in_the_time_it_has() {
    let mut world = World::new("Never", None);
    world.ends(1000, None, None);
    world.go();
    world.until(100);
    world.ends(1000, None, Some(100));
    world.settle();
    assert_eq!(world.kill_at("c"), Some(world.now + seconds(5)), "by its own grace");
    world.end(&End::Exited { code: 143 });
    world.settle();
    assert_eq!(world.published.reason.as_deref(), Some("Terminated"));
    assert_eq!(world.condition("DisruptionTarget").0, "True");
}

#[test]
fn after_term_there_is_as_much_grace_as_the_batch_system_leaves() {
    let mut world = World::of(json!({"terminationGracePeriodSeconds": 3600, "containers": [container("c")]}));
    world.go();
    world.until(100);
    world.ends(1000, warned_by("USR1@300"), Some(100));
    world.settle();
    assert_eq!(world.kill_at("c"), Some(world.now + seconds(20)), "KILL after 30 s, of which 10 are kept for telling");
    assert_eq!(world.warnings.len(), 0, "TERM is the warning");
}

#[test]
fn what_is_being_ended_for_another_reason_is_killed_before_the_node_ends() {
    let mut world = World::of(json!({"terminationGracePeriodSeconds": 3600, "containers": [container("c")]}));
    world.go();
    world.deletion = Deletion::Asked { grace: seconds(3600) };
    world.settle();
    assert_eq!(world.kill_at("c"), Some(world.now + seconds(3600)));
    world.ends(1000, None, None);
    world.settle();
    assert_eq!(world.kill_at("c"), Some(Timestamp::from_second(1990).unwrap()));
    world.until(990);
    world.end(&End::Signaled { signal: Signal(9), core_dumped: false });
    world.settle();
    assert!(world.removed);
}

#[test]
fn lines_that_a_pod_has_written_end_with_the_node_too() {
    let mut world = World::new("Never", None);
    world.ends(1000, None, None);
    world.go();
    world.write_line();
    world.exit("c", 0);
    assert_eq!(world.settle(), Some(Timestamp::from_second(1985).unwrap()));
    assert_eq!(world.phase(), "Succeeded");
    assert_eq!(world.tasks.iter().filter(|task| is_line(task) && task.stop.is_none()).count(), 1);
    world.until(985);
    world.settle();
    assert_eq!(world.tasks.iter().filter(|task| is_line(task) && task.stop.is_some()).count(), 1);
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Succeeded", None));
}

#[test]
fn what_has_not_begun_counts_as_refused() {
    let mut world = World::new("Never", None);
    world.ends(1000, None, None);
    let trouble = Trouble { reason: "r".into(), message: "m".into(), retry: Retry::At(world.now + seconds(5000)) };
    world.troubles.insert("c".into(), trouble);
    world.settle();
    world.until(990);
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("OutOfWalltime")));
    assert_eq!(world.started.len(), 0);
}

#[test]
fn an_end_that_moves_away_is_warned_of_again_and_only_then() {
    let mut world = World::new("Never", None);
    world.ends(1000, warned_by("USR1@300"), None);
    world.go();
    world.until(700);
    world.settle();
    // The end has moved by an hour.
    world.ends(4600, warned_by("USR1@300"), None);
    assert_eq!(world.settle(), Some(Timestamp::from_second(5300).unwrap()));
    assert_eq!(world.warnings.len(), 1);
    world.until(4300);
    world.settle();
    world.settle();
    assert_eq!(world.warnings.len(), 2);
    // A node that is restarted has forgotten it.
    world.restart_node();
    world.settle();
    assert_eq!(world.warnings.len(), 3);
}

#[test]
fn a_pod_names_its_own_signal_and_what_starts_too_late_is_not_warned() {
    let mut world = World::new("Always", None);
    world.admitted.as_mut().unwrap().warning = warned_by("USR2@60");
    world.ends(1000, warned_by("USR1@300"), None);
    world.go();
    world.until(700);
    world.settle();
    assert_eq!(world.warnings.len(), 0);
    world.until(940);
    world.settle();
    assert_eq!(world.warnings, [("c".to_owned(), "SIGUSR2".parse().unwrap())]);
    world.until(950);
    world.exit("c", 1);
    world.go();
    assert_eq!((world.active(), world.warnings.len()), (vec!["c"], 1), "it may not be ready for a signal");
}

/// The pod of a batch job, which runs.
fn in_a_job(spec: Value) -> World {
    let mut world = World::of(spec);
    world.shares_term = true;
    world.go();
    world.until(100);
    world
}

fn by_term() -> End {
    End::Signaled { signal: Signal(15), core_dumped: false }
}

#[test]
fn what_ends_by_the_term_that_the_node_gets_too_has_ended_with_its_node() {
    for restarted in [false, true] {
        let mut world = in_a_job(json!({"restartPolicy": "Never", "containers": [container("c")]}));
        let writes = world.writes;
        world.end(&by_term());
        // Nobody is told of it, and nobody gets its room, before it is known whose doing it is.
        assert_eq!(world.settle(), Some(world.now + seconds(2)));
        assert_eq!((world.phase(), world.writes, world.is_over), ("Running", writes, false));
        if restarted {
            world.restart_node();
            assert_eq!(world.settle(), Some(world.now + seconds(2)));
        }
        world.pass(1);
        world.told = Some(Duration::from_secs(1101));
        world.settle();
        assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("Terminated")));
        assert_eq!(world.published.message.as_deref(), Some("the node was told to end"));
        assert_eq!(world.condition("DisruptionTarget"), ("True", "TerminationByKubelet", "the node was told to end"));
        // How it truly ended stays to be read.
        let ended = world.state().terminated.unwrap();
        assert_eq!((ended.exit_code, ended.signal, ended.reason.as_deref()), (143, Some(15), Some("Error")));
        assert_eq!(ended.message.as_deref(), Some("killed by SIGTERM (signal 15)"));
        let writes = world.writes;
        world.settle();
        assert_eq!(world.writes, writes);
    }
}

#[test]
fn what_ends_by_a_term_of_its_own_is_told_so_a_moment_later() {
    let mut world = in_a_job(json!({"restartPolicy": "Never", "containers": [container("c")]}));
    world.end(&by_term());
    world.settle();
    world.pass(2);
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", None));
    assert!(world.published.conditions.as_ref().unwrap().iter().all(|c| c.type_ != "DisruptionTarget"));
    // Later it is too late.
    world.told = Some(Duration::from_secs(1102));
    let told = world.published.clone();
    world.settle();
    assert_eq!(world.published, told);
}

#[test]
fn what_succeeds_or_crashes_waits_for_nobody() {
    for (end, phase) in [
        (End::Exited { code: 0 }, "Succeeded"),
        (End::Signaled { signal: Signal(11), core_dumped: true }, "Failed"),
        (End::Signaled { signal: Signal(9), core_dumped: false }, "Failed"),
    ] {
        let mut world = in_a_job(json!({"restartPolicy": "Never", "containers": [container("c")]}));
        world.end(&end);
        world.settle();
        assert_eq!(world.phase(), phase, "{end:?}");
    }
    let mut world = in_a_job(json!({"restartPolicy": "Never", "containers": [container("c")]}));
    world.shares_term = false;
    world.end(&by_term());
    world.settle();
    assert_eq!(world.phase(), "Failed", "TERM to it is not TERM to the node");
}

#[test]
fn who_takes_its_leave_when_the_node_is_told_to_end_has_not_come_to_its_end() {
    for code in [0, 3] {
        let mut world = in_a_job(json!({"restartPolicy": "Never", "containers": [container("c")]}));
        world.told = Some(Duration::from_secs(1100));
        world.end(&End::Exited { code });
        world.settle();
        assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("Terminated")), "{code}");
        assert_eq!(world.state().terminated.unwrap().exit_code, i32::from(code));
    }
}

#[test]
fn a_pod_that_had_failed_by_itself_is_not_ended_by_its_node() {
    let mut world = in_a_job(json!({"restartPolicy": "Never", "containers": [container("c"), container("d")]}));
    world.exit("c", 1);
    world.settle();
    world.pass(10);
    world.end(&by_term());
    world.told = Some(Duration::from_secs(1110));
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", None));
    // And where one of two ends well, the other one decides.
    let mut world = in_a_job(json!({"restartPolicy": "Never", "containers": [container("c"), container("d")]}));
    world.exit("c", 0);
    world.end(&by_term());
    assert_eq!(world.settle(), Some(world.now + seconds(2)));
    world.told = Some(Duration::from_secs(1100));
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("Terminated")));
}

#[test]
fn what_we_have_ended_ourselves_is_told_at_once_as_what_it_is() {
    let mut world = in_a_job(json!({
        "restartPolicy": "Never", "activeDeadlineSeconds": 150, "containers": [container("c")],
    }));
    world.until(150);
    world.settle();
    world.end(&by_term());
    world.settle();
    assert_eq!((world.phase(), world.published.reason.as_deref()), ("Failed", Some("DeadlineExceeded")));
}
