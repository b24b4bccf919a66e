//! All rules at once, whatever happens. Most of them are asserted where the world acts: no run is started twice or beside
//! another one, init containers come in their order, nothing is started when it is over, the object outlives the processes,
//! phase and restart counts do not go backwards, hooks are begun once, and the world settles each time.

use proptest::prelude::*;
use vk_task::Signal;

use super::*;
use crate::ending::{EndPlan, Ends, NodeEnd, Source, Told};
use crate::facts::Probe;

#[derive(Clone, Debug)]
enum Happening {
    Pass(i64),
    OpenGate,
    Exit(usize, u8),
    ExitAll(u8),
    Kill(usize),
    LoseRecords { all: bool },
    Delete(i64),
    WriteLine,
    EndLines,
    Collect,
    Deny,
    RestartNode,
    Probe(usize, [bool; 3]),
    HookEnds(usize, bool),
    Debug,
    SetClock(i64),
    NodeEnds { after: u64, told: bool },
    EndIsFar,
}

fn happening() -> impl Strategy<Value = Happening> {
    let which = || 0..6_usize;
    prop_oneof![
        2 => (1..700_i64).prop_map(Happening::Pass),
        1 => (1..4_i64).prop_map(Happening::Pass),
        4 => Just(Happening::OpenGate),
        3 => (which(), 0..3_u8).prop_map(|(n, code)| Happening::Exit(n, code)),
        2 => Just(Happening::ExitAll(0)),
        1 => which().prop_map(Happening::Kill),
        1 => any::<bool>().prop_map(|all| Happening::LoseRecords { all }),
        1 => (0..60_i64).prop_map(Happening::Delete),
        1 => Just(Happening::WriteLine),
        1 => Just(Happening::EndLines),
        2 => Just(Happening::Collect),
        1 => Just(Happening::Deny),
        3 => Just(Happening::RestartNode),
        3 => (which(), any::<[bool; 3]>()).prop_map(|(n, told)| Happening::Probe(n, told)),
        3 => (which(), any::<bool>()).prop_map(|(n, ok)| Happening::HookEnds(n, ok)),
        1 => Just(Happening::Debug),
        1 => (0..600_u64, any::<bool>()).prop_map(|(after, told)| Happening::NodeEnds { after, told }),
        1 => Just(Happening::EndIsFar),
        1 => prop_oneof![Just(172_800_i64), Just(-172_800), -900..900_i64].prop_map(Happening::SetClock),
    ]
}

/// A pod of up to two init containers, sidecars and main ones each, with probes and hooks or without.
fn pod() -> impl Strategy<Value = Value> {
    let policy = prop_oneof![Just("Never"), Just("OnFailure"), Just("Always")];
    let part = || proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..3);
    let main = proptest::collection::vec((any::<bool>(), any::<bool>()), 1..3);
    (policy, proptest::option::of(1..1000_u32), part(), main).prop_map(|(policy, deadline, init, main)| {
        let extras = |name: String, probed: bool, hooked: bool| {
            let mut container = container(&name);
            if probed {
                for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    container[kind] = json!({"exec": {"command": ["probe"]}});
                }
            }
            if hooked {
                let hook = json!({"exec": {"command": ["hook"]}});
                container["lifecycle"] = json!({"postStart": hook, "preStop": hook});
            }
            container
        };
        let init: Vec<Value> = init
            .into_iter()
            .enumerate()
            .map(|(n, (is_sidecar, probed, hooked))| {
                // Only a sidecar can have probes and hooks.
                let mut container = extras(format!("i{n}"), is_sidecar && probed, is_sidecar && hooked);
                if is_sidecar {
                    container["restartPolicy"] = json!("Always");
                }
                container
            })
            .collect();
        let main: Vec<Value> =
            main.into_iter().enumerate().map(|(n, (probed, hooked))| extras(format!("m{n}"), probed, hooked)).collect();
        json!({
            "restartPolicy": policy, "activeDeadlineSeconds": deadline, "terminationGracePeriodSeconds": 20,
            "initContainers": init, "containers": main,
        })
    })
}

impl World {
    fn name(&self, n: usize) -> String {
        let all = &self.admitted.as_ref().unwrap().containers;
        all[n % all.len()].name.clone()
    }

    fn happen(&mut self, happening: Happening, spec: &mut Value) {
        let own =
            |name: String| move |task: &TaskView| matches!(&task.origin, Origin::Pod(run) if run.container == name);
        match happening {
            Happening::Pass(seconds) => self.pass(seconds),
            Happening::SetClock(by) => {
                self.step(by);
                // The end is counted by a clock that nobody sets, and shown by this one.
                if let Some(end) = &mut self.end {
                    end.at += seconds(by);
                    end.kill_by += seconds(by);
                }
            }
            Happening::NodeEnds { after, told } => self.node_ends(after, told),
            Happening::EndIsFar => {
                // What has been told to end is not told otherwise.
                if self.stopping_since.is_none() {
                    self.end = None;
                    self.told = None;
                }
            }
            Happening::OpenGate => self.open_gate(),
            Happening::Exit(n, code) => self.exit(&self.name(n), code),
            Happening::ExitAll(code) => self.end(&End::Exited { code }),
            Happening::Kill(n) => {
                let killed = End::Signaled { signal: Signal(9), core_dumped: false };
                self.end_if(&killed, None, own(self.name(n)));
            }
            // Records are lost only with their processes, and only after their start was published.
            Happening::LoseRecords { all } => {
                let is_told =
                    |task: &TaskView| format!("{:?}", self.published).contains(&format!("{ID_SCHEME}{}\"", task.id));
                if self.tasks.iter().all(|task| !matches!(task.state, TaskState::Accepted { .. }) && is_told(task)) {
                    let last = |task: &TaskView| {
                        let runs = self.tasks.iter().filter_map(|other| other.origin.run());
                        let same =
                            |run: &&ContainerRun| Some(&run.container) == task.origin.run().map(|own| &own.container);
                        runs.filter(same).map(|run| run.restart).max() == task.origin.run().map(|own| own.restart)
                    };
                    let kept = self.tasks.iter().filter(|task| !all && !last(task)).cloned().collect();
                    self.tasks = kept;
                }
            }
            // A line is written by a process of the pod.
            Happening::WriteLine => {
                if self.tasks.iter().any(|t| matches!(t.state, TaskState::Running { .. })) {
                    self.write_line();
                }
            }
            Happening::EndLines => self.end_if(&End::Exited { code: 0 }, None, is_line),
            Happening::Collect => self.collect_and_see_nothing_of_it(),
            Happening::Deny => self.denies = true,
            Happening::Delete(grace) => self.deletion = Deletion::Asked { grace: seconds(grace) },
            Happening::RestartNode => self.restart_node_and_see_nothing_of_it(),
            Happening::Probe(n, told) => self.probe(&self.name(n), told),
            Happening::HookEnds(n, is_ok) => {
                let name = self.name(n);
                let running = self.hooks.get(&name).map(|hooks| {
                    [HookKind::PostStart, HookKind::PreStop]
                        .into_iter()
                        .filter(|kind| matches!(hooks.get(*kind), Hook::Running { .. }))
                        .collect()
                });
                let running: Vec<HookKind> = running.unwrap_or_default();
                for kind in running {
                    self.hook_ends(&name, kind, (!is_ok).then_some("no"));
                }
            }
            Happening::Debug => {
                if self.deletion == Deletion::NotAsked && spec["ephemeralContainers"].is_null() {
                    spec["ephemeralContainers"] = json!([container("debug")]);
                    self.change(spec);
                }
            }
        }
    }

    /// The node ends so long from now on, or was told to.
    fn node_ends(&mut self, after: u64, told: bool) {
        let now = Duration::try_from(self.reading().boot).unwrap();
        let ends = Some(Ends { at: now + Duration::from_secs(after), source: Source::Squeue });
        let told = Told { term: told.then_some(now), ..Told::default() };
        let end = NodeEnd::of(&EndPlan::default(), ends, told).unwrap();
        self.shares_term = true;
        self.told = told.term.or(self.told);
        let zero = self.zero;
        self.end = Some(EndFacts::of(&end, "USR1@60".parse().ok(), now, |boot| zero + boot));
    }

    /// What is collected was told of: it changes neither what is published nor what is to be done.
    fn collect_and_see_nothing_of_it(&mut self) {
        let due = self.settle();
        let (published, writes) = (self.published.clone(), self.writes);
        self.collect();
        assert_eq!(self.settle(), due);
        assert_eq!((&self.published, self.writes), (&published, writes));
    }

    /// A restart of the node starts and stops nothing, and takes nothing back.
    fn restart_node_and_see_nothing_of_it(&mut self) {
        self.settle();
        if self.removed {
            return;
        }
        let was_stopping = self.stopping_since.is_some();
        // What was denied is asked for again, which is no harm: see `check_start`.
        let was_in_trouble = !self.troubles.is_empty();
        self.restart_node();
        for step in self.decide().steps {
            match step {
                Step::Start { .. } => assert!(was_in_trouble, "{step:?}"),
                Step::Stop { .. } => assert!(was_stopping, "{step:?}"),
                Step::RunHook { .. } | Step::Warn { .. } => {}
                // Of a run whose hook or probe had failed that is forgotten, as long as nothing was published.
                Step::Publish(ref new) => {
                    assert!(was_in_trouble || new.phase == self.published.phase, "{step:?}");
                    self.check_nothing_is_taken_back(new);
                }
                Step::Remove | Step::Forget(_) | Step::Reported(_) => panic!("{step:?}"),
            }
        }
    }

    fn probe(&mut self, name: &str, told: [bool; 3]) {
        let own = |task: &&TaskView| matches!(&task.origin, Origin::Pod(run) if run.container == name);
        let latest = self.tasks.iter().filter(own).filter_map(|task| Some(task.origin.run()?.restart)).max();
        let says = |ok: bool| if ok { Probe::Success } else { Probe::Failure { message: "no".into() } };
        if let Some(restart) = latest {
            let [startup, liveness, readiness] = told.map(says);
            self.probed.insert(name.into(), Probed { restart, startup, liveness, readiness });
        }
    }
}

proptest! {
    #[test]
    fn the_rules_hold_whatever_happens(mut spec in pod(), happenings in proptest::collection::vec(happening(), 0..60)) {
        let mut world = World::of(spec.clone());
        world.settle();
        for happening in happenings {
            world.happen(happening, &mut spec);
            world.settle();
        }
        if spec["restartPolicy"] == "Never" {
            let again = |id: &&TaskId| !id.as_str().ends_with("_0") && id.as_str().contains("_m");
            prop_assert_eq!(world.started.iter().filter(again).count(), 0);
        }
        // A deleted pod goes: its processes are told to end within the grace, whatever its hooks do, and go.
        world.deletion = Deletion::Asked { grace: seconds(5) };
        for _ in 0..10 {
            world.settle();
            world.open_gate();
            let stopped: BTreeSet<TaskId> = world.tasks.iter().filter(|t| t.stop.is_some()).map(|t| t.id.clone()).collect();
            world.end_if(&End::Exited { code: 0 }, None, |task| stopped.contains(&task.id));
            world.pass(5);
        }
        prop_assert!(world.removed, "{:?}", world.tasks);
    }
}
