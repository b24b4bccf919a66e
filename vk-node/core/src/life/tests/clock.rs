//! The wall clock is set while a pod lives: nothing is ended or run again too soon, and nothing waits for days.

use super::*;

const DAYS: [i64; 2] = [2 * 86_400, -2 * 86_400];

#[test]
fn a_deadline_is_as_far_away_as_before() {
    for days in DAYS {
        let mut world = World::new("Always", Some(600));
        world.go();
        world.pass(60);
        world.step(days);
        assert_eq!(world.settle(), Some(world.now + seconds(540)), "{days}");
        assert_eq!((world.active(), world.kill_at("c")), (vec!["c"], None));
        // Also for a node that has only heard of the step.
        world.restart_node();
        assert_eq!(world.settle(), Some(world.now + seconds(540)), "{days}");
        world.pass(540);
        world.settle();
        assert!(world.kill_at("c").is_some(), "{days}");
    }
}

#[test]
fn a_back_off_is_as_long_as_before() {
    for days in DAYS {
        let mut world = World::new("Always", None);
        for _ in 0..2 {
            world.go();
            world.exit("c", 1);
        }
        world.settle();
        world.pass(4);
        world.step(days);
        assert_eq!(world.settle(), Some(world.now + seconds(6)), "{days}");
        let waiting = world.state().waiting.unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        world.pass(6);
        world.settle();
        assert_eq!(world.active(), ["c"]);
        // A run of a second has not lasted for days.
        world.open_gate();
        world.pass(1);
        world.step(days);
        world.exit("c", 1);
        assert_eq!(world.settle(), Some(world.now + seconds(20)), "{days}");
    }
}

#[test]
fn a_grace_is_as_long_as_before() {
    for days in DAYS {
        let mut world = World::new("Always", None);
        world.go();
        world.deletion = Deletion::Asked { grace: seconds(30) };
        world.settle();
        let asked = world.kill_at("c");
        world.pass(10);
        world.step(days);
        world.settle();
        assert_eq!(world.kill_at("c"), asked, "nothing new is asked for: {days}");
        // Another one, shorter: it counts from when the end was decided.
        world.deletion = Deletion::Asked { grace: seconds(15) };
        world.settle();
        assert_eq!(world.kill_at("c"), Some(world.now + seconds(5)), "{days}");
    }
}

#[test]
fn what_is_tried_again_is_tried_again_as_soon() {
    for days in DAYS {
        let mut world = World::new("Never", None);
        let retry = Retry::At(world.now + seconds(5));
        world.troubles.insert("c".into(), Trouble { reason: "r".into(), message: "m".into(), retry });
        world.settle();
        world.pass(2);
        world.step(days);
        assert_eq!(world.settle(), Some(world.now + seconds(3)), "{days}");
    }
}
