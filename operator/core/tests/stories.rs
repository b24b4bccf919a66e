//! Golden stories: what the operator plans and says, look by look, in situations worth reading. The stories are in
//! `tests/golden/`; after an intended change, `UPDATE_GOLDEN=1 cargo test -p vk-operator-core` writes them anew, and
//! `git diff` shows what has become of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so that it failed"
)]

mod world;

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use vk_cmd_crds::CmdJobStatus;
use vk_operator_core::Step;
use vk_operator_core::place::NodeState;
use world::{Crash, Eyes, World};

/// A story in the making.
struct Story {
    world: World,
    begin: Timestamp,
    text: String,
}

impl Story {
    fn new(spec: &str) -> Self {
        let world = World::new(spec);
        let text = format!("spec:\n{}\n", spec.trim_end());
        Self { begin: world.now, world, text }
    }

    /// Something happens; then the operator looks until it has nothing left to do.
    fn then(mut self, what: &str, happen: impl FnOnce(&mut World)) -> Self {
        happen(&mut self.world);
        let seconds = self.world.now.duration_since(self.begin).as_secs();
        writeln!(self.text, "\n{seconds} s: {what}").unwrap();
        for _ in 0..10 {
            let (writes, made) = (self.world.writes, self.world.made.len());
            let plan = self.world.look(Eyes::Open, Crash::Never);
            for step in plan.iter().flat_map(|plan| &plan.steps) {
                let step = match step {
                    Step::HoldJob => "hold the CmdJob",
                    Step::DeletePod { .. } => "delete the pod",
                    Step::ReleasePod { .. } => "let the pod go",
                    Step::DeleteJob => "delete the CmdJob",
                    Step::ReleaseJob => "let the CmdJob go",
                };
                writeln!(self.text, "    {step}").unwrap();
            }
            for name in &self.world.made[made..] {
                writeln!(self.text, "    create the pod {name}").unwrap();
            }
            let wanted = plan.iter().map(|plan| plan.starts.len()).sum::<usize>();
            if let Some(there) = wanted.checked_sub(self.world.made.len() - made).filter(|n| *n > 0) {
                writeln!(self.text, "    want {there} more, which cannot be made or are there already").unwrap();
            }
            if self.world.writes == writes {
                if let Some(pause) = plan.and_then(|plan| plan.look_again) {
                    writeln!(self.text, "    look again in {} s", pause.as_secs()).unwrap();
                }
                break;
            }
            self.say();
        }
        self
    }

    fn say(&mut self) {
        let status = self.world.status();
        let word = |word: Option<String>| word.unwrap_or_else(|| "-".into());
        writeln!(
            self.text,
            "    {} ({}){}: {}",
            word(status.state.map(|state| state.to_string())),
            word(status.reason),
            status.exit_code.map(|code| format!(", exit {code}")).unwrap_or_default(),
            word(status.message)
        )
        .unwrap();
        let conditions: Vec<_> = status.conditions.iter().map(|c| format!("{}={}", c.type_, c.status)).collect();
        let counts = [
            ("active", status.active),
            ("ready", status.ready),
            ("terminating", status.terminating),
            ("succeeded", status.succeeded),
            ("failed", status.failed),
        ];
        let counts: Vec<_> = counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what} {n}")).collect();
        writeln!(self.text, "        {}; {}", conditions.join(" "), counts.join(", ")).unwrap();
        let ledger = [
            ("completed", status.completed_indexes.unwrap_or_default()),
            ("failed", status.failed_indexes.unwrap_or_default()),
            ("done", status.ledger.done),
            ("tries", status.ledger.tries),
            ("stopping", status.ledger.stopping),
        ];
        let ledger: Vec<_> =
            ledger.iter().filter(|(_, set)| !set.is_empty()).map(|(what, set)| format!("{what} {set}")).collect();
        if !ledger.is_empty() {
            writeln!(self.text, "        {}", ledger.join("; ")).unwrap();
        }
        for attempt in &status.attempts {
            writeln!(
                self.text,
                "        {} {}{}",
                attempt.pod,
                attempt.state,
                attempt.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
            )
            .unwrap();
        }
    }

    /// Compares with the golden story.
    fn is(self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
        let text = format!("{}\n{} writes of the status\n", self.text, self.world.writes);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == text, "{name} differs from tests/golden/{name}.txt (see the top of this file):\n{text}");
    }
}

fn nothing(_: &mut World) {}

const SCRIPT: &str = "  script: echo hello\n";

#[test]
fn succeeds() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("the process ends with 0", |w| {
            w.pass(65);
            w.process_ends(0);
        })
        .is("succeeds");
}

#[test]
fn fails_and_is_not_run_again() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("the process ends with 5", |w| w.process_ends(5))
        .is("fails_and_is_not_run_again");
}

#[test]
fn is_killed_by_a_signal() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("the process is killed", |w| w.process_ends_as(137, Some(9), "Error"))
        .is("is_killed_by_a_signal");
}

#[test]
fn is_tried_again_with_pauses() {
    let fail = |w: &mut World| {
        w.node_starts();
        w.process_ends(1);
    };
    Story::new("  script: exit 1\n  backoffLimit: 2\n")
        .then("created", nothing)
        .then("the process ends with 1", fail)
        .then("9 s later", |w| w.pass(9))
        .then("1 s later", |w| w.pass(1))
        .then("the process ends with 1", fail)
        .then("20 s later", |w| w.pass(20))
        .then("the process ends with 1", fail)
        .is("is_tried_again_with_pauses");
}

#[test]
fn is_refused_by_a_node_that_has_no_room_after_all() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node refuses it", World::node_refuses)
        .then("1 s later", |w| w.pass(1))
        .then("the node refuses it", World::node_refuses)
        .then("1 s later", |w| w.pass(1))
        .then("1 s later", |w| w.pass(1))
        .then("the process ends with 0", |w| {
            w.node_starts();
            w.process_ends(0);
        })
        .is("is_refused_by_a_node_that_has_no_room_after_all");
}

#[test]
fn waits_for_its_node() {
    Story::new(SCRIPT)
        .then("created; there is no such node", |w| w.node(None))
        .then("the node registers, not ready yet", |w| {
            w.node(Some(NodeState::NotReady { why: Some("starting".into()), since: None }))
        })
        .then("the node is cordoned", |w| w.node(Some(NodeState::Cordoned)))
        .then("the node is ready", |w| w.node(Some(NodeState::Ready)))
        .is("waits_for_its_node");
}

#[test]
fn is_suspended_and_resumed() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("suspended", |w| w.edit(|job| job.spec.suspend = true))
        .then("the node has ended the process", |w| {
            w.node_ends();
            w.node_ends_and_lets_go();
        })
        .then("an hour later, resumed", |w| {
            w.pass(3600);
            w.edit(|job| job.spec.suspend = false);
        })
        .then("the process ends with 0", |w| {
            w.node_starts();
            w.process_ends(0);
        })
        .is("is_suspended_and_resumed");
}

/// One that was let go is held again before anything is done about what runs of it after all.
#[test]
fn is_suspended_and_a_pod_comes_late() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("suspended, and let go before its pod was seen", |w| {
            w.edit(|job| {
                job.spec.suspend = true;
                job.metadata.finalizers = None;
            })
        })
        .then("the node has ended the process", World::node_ends_and_lets_go)
        .is("is_suspended_and_a_pod_comes_late");
}

#[test]
fn starts_suspended() {
    Story::new("  script: echo hello\n  suspend: true\n  activeDeadlineSeconds: 60\n")
        .then("created", nothing)
        .then("an hour later, resumed", |w| {
            w.pass(3600);
            w.edit(|job| job.spec.suspend = false);
        })
        .is("starts_suspended");
}

#[test]
fn runs_into_its_deadline() {
    Story::new("  script: sleep 1000\n  activeDeadlineSeconds: 60\n  backoffLimit: 3\n")
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("a minute later", |w| w.pass(60))
        .then("the process has ended, its pod is still there", World::node_ends)
        .then("the pod is gone", World::node_ends_and_lets_go)
        .is("runs_into_its_deadline");
}

#[test]
fn runs_into_its_deadline_while_waiting() {
    Story::new("  script: sleep 1000\n  activeDeadlineSeconds: 60\n")
        .then("created; there is no such node", |w| w.node(None))
        .then("a minute later", |w| w.pass(60))
        .is("runs_into_its_deadline_while_waiting");
}

#[test]
fn pod_is_deleted_by_hand() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("somebody deletes the pod", World::delete_pods)
        .then("the node lets go of it", World::node_ends_and_lets_go)
        .is("pod_is_deleted_by_hand");
}

#[test]
fn pod_is_deleted_by_hand_and_its_end_is_seen() {
    Story::new("  script: sleep 1000\n  backoffLimit: 1\n")
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("somebody deletes the pod", World::delete_pods)
        .then("the node has ended the process", World::node_ends)
        .then("10 s later the pod is gone", |w| {
            w.pass(10);
            w.node_ends_and_lets_go();
        })
        .is("pod_is_deleted_by_hand_and_its_end_is_seen");
}

#[test]
fn nobody_knows_how_it_ended() {
    Story::new("  script: echo hello\n  backoffLimit: 6\n")
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("the node's machine has crashed", |w| w.process_ends_as(137, None, "ContainerStatusUnknown"))
        .is("nobody_knows_how_it_ended");
}

#[test]
fn is_deleted_when_its_time_is_over() {
    Story::new("  script: echo hello\n  ttlSecondsAfterFinished: 100\n")
        .then("created", nothing)
        .then("the process ends with 0", |w| {
            w.node_starts();
            w.process_ends(0);
        })
        .then("99 s later", |w| w.pass(99))
        .then("1 s later", |w| w.pass(1))
        .is("is_deleted_when_its_time_is_over");
}

#[test]
fn is_being_deleted() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("deleted", World::delete_job)
        .then("the node has ended the process", World::node_ends_and_lets_go)
        .is("is_being_deleted");
}

#[test]
fn operator_was_killed_after_it_made_the_pod() {
    Story::new(SCRIPT)
        .then("created; the operator makes the pod and is killed; the process ends with 3", |w| {
            w.look(Eyes::Open, Crash::BeforeReport);
            w.node_starts();
            w.process_ends(3);
        })
        .is("operator_was_killed_after_it_made_the_pod");
}

#[test]
fn deadline_passes_before_a_pod_is_seen() {
    Story::new("  script: sleep 1000\n  activeDeadlineSeconds: 60\n")
        .then(
            "created; the operator makes the pod and is killed; when it is back, its cache has not heard of the pod",
            |w| {
                w.edit(|job| {
                    job.status = Some(CmdJobStatus {
                        start_time: Some("2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap().into()),
                        ..CmdJobStatus::default()
                    })
                });
                w.look(Eyes::Open, Crash::BeforeReport);
                w.pass(60);
                w.look(Eyes::Behind, Crash::Never);
            },
        )
        .is("deadline_passes_before_a_pod_is_seen");
}

#[test]
fn name_of_the_pod_is_taken() {
    Story::new(SCRIPT)
        .then("created; somebody else has a pod of that name", |w| {
            w.look(Eyes::Open, Crash::BeforeReport);
            w.pods.values_mut().for_each(|pod| pod.metadata.owner_references = None);
        })
        .is("name_of_the_pod_is_taken");
}

#[test]
fn is_not_valid() {
    Story::new("  command: [echo, \"a\\0b\"]\n  env: [{name: \"A=B\"}]\n  workingDir: here\n  backoffLimit: -1\n")
        .then("created (before the API server had rules)", nothing)
        .is("is_not_valid");
}

const MANY: &str = "  script: exit $JOB_COMPLETION_INDEX\n  completions: 4\n  parallelism: 2\n";

/// The processes of some indexes end.
fn ends(ends: &'static [(u32, i32)]) -> impl FnOnce(&mut World) {
    move |w| {
        w.node_starts();
        for (index, code) in ends {
            w.index_ends(*index, *code);
        }
    }
}

#[test]
fn several_at_a_time() {
    Story::new(MANY)
        .then("created", nothing)
        .then("one ends with 0", ends(&[(1, 0)]))
        .then("and two more", ends(&[(0, 0), (2, 0)]))
        .then("fewer are wanted", |w| w.edit(|job| job.spec.parallelism = Some(0)))
        .then("the node has ended it", World::node_ends_and_lets_go)
        .then("more again", |w| w.edit(|job| job.spec.parallelism = Some(3)))
        .then("the last one ends with 0", ends(&[(3, 0)]))
        .is("several_at_a_time");
}

#[test]
fn each_index_fails_alone() {
    Story::new(&format!("{MANY}  completionMode: Indexed\n  backoffLimitPerIndex: 1\n"))
        .then("created", nothing)
        .then("0 succeeds, 1 fails", ends(&[(0, 0), (1, 1)]))
        .then("2 and 3 succeed; 10 s later", |w| {
            ends(&[(2, 0), (3, 0)])(w);
            w.pass(10);
        })
        .then("1 fails again", ends(&[(1, 1)]))
        .is("each_index_fails_alone");
}

#[test]
fn too_many_indexes_fail() {
    Story::new(&format!("{MANY}  completionMode: Indexed\n  backoffLimitPerIndex: 0\n  maxFailedIndexes: 0\n"))
        .then("created", nothing)
        .then("1 fails, 0 runs", ends(&[(1, 1)]))
        .then("the node has ended it", World::node_ends_and_lets_go)
        .is("too_many_indexes_fail");
}

#[test]
fn is_made_smaller_and_larger() {
    let size = |count| {
        move |w: &mut World| {
            w.edit(|job| (job.spec.completions, job.spec.parallelism) = (Some(count), Some(count)));
        }
    };
    Story::new("  script: x\n  completions: 3\n  parallelism: 3\n  completionMode: Indexed\n  backoffLimit: 2\n")
        .then("created", nothing)
        .then("2 succeeds, 0 fails", ends(&[(2, 0), (0, 1)]))
        .then("one index is wanted", size(1))
        .then("1 takes its leave with 0", ends(&[(1, 0)]))
        .then("three are wanted again; 10 s later", |w| {
            size(3)(w);
            w.pass(10);
        })
        .is("is_made_smaller_and_larger");
}

#[test]
fn takes_its_leave_with_0_when_it_is_suspended() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("suspended", |w| w.edit(|job| job.spec.suspend = true))
        .then("it ends with 0", ends(&[(0, 0)]))
        .then("resumed", |w| w.edit(|job| job.spec.suspend = false))
        .is("takes_its_leave_with_0_when_it_is_suspended");
}

#[test]
fn enough_indexes_have_succeeded() {
    Story::new(&format!("{MANY}  completionMode: Indexed\n  successPolicy: {{rules: [{{succeededIndexes: '1-3', succeededCount: 1}}]}}\n"))
        .then("created", nothing)
        .then("1 succeeds, 0 runs", ends(&[(1, 0)]))
        .then("the node has ended it", World::node_ends_and_lets_go)
        .is("enough_indexes_have_succeeded");
}

#[test]
fn a_policy_fails_the_job() {
    Story::new(
        "  script: x\n  backoffLimit: 6\n  podFailurePolicy:\n    rules:\n    - {action: Ignore, onPodConditions: [{type: DisruptionTarget}]}\n    \
         - {action: FailJob, onExitCodes: {operator: In, values: [42]}}\n",
    )
    .then("created", nothing)
    .then("disrupted", |w| w.disrupted(137))
    .then("10 s later", |w| w.pass(10))
    .then("ends with 42", ends(&[(0, 42)]))
    .is("a_policy_fails_the_job");
}

#[test]
fn the_first_success_is_enough() {
    Story::new("  script: x\n  parallelism: 2\n")
        .then("created", nothing)
        .then("one succeeds", ends(&[(1, 0)]))
        .then("the other one fails", ends(&[(0, 1)]))
        .is("the_first_success_is_enough");
}

#[test]
fn its_node_goes_and_comes_back() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("the node is not heard from", |w| {
            let since = Some(w.now);
            w.node(Some(NodeState::NotReady { why: None, since }));
        })
        .then("and is deleted; Kubernetes gives the pod up", |w| {
            w.node(None);
            w.given_up();
        })
        .then("five minutes later it is back and tells the end", |w| {
            w.pass(300);
            w.node(Some(NodeState::Ready));
            w.tells(7);
        })
        .is("its_node_goes_and_comes_back");
}

#[test]
fn its_node_goes_for_ever() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("its node is deleted; Kubernetes gives the pod up", |w| {
            w.node(None);
            w.given_up();
        })
        .then("ten minutes later", |w| w.pass(600))
        .is("its_node_goes_for_ever");
}

#[test]
fn deleted_while_its_node_comes_back() {
    Story::new(SCRIPT)
        .then("created", nothing)
        .then("the node starts the process", World::node_starts)
        .then("its node is deleted; Kubernetes gives the pod up", |w| {
            w.node(None);
            w.given_up();
        })
        .then("it is back, and the CmdJob is deleted: what became of the process is not known", |w| {
            w.node(Some(NodeState::Ready));
            w.delete_job();
        })
        .then("the node tells the end", |w| w.tells(143))
        .is("deleted_while_its_node_comes_back");
}
