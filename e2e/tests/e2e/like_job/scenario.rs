//! One scenario, in terms that a native Job and a CmdJob share.

use serde_json::{Value, json};

use super::side::Side;
use super::sight::Sight;

/// What every process does first: it takes the next number `$n` of its index (of all, where there are none), notes which index
/// it has been given, and can wait at a gate until the test opens it. A gate is a file that the test holds locked, so that
/// waiting costs nothing.
const PRELUDE: &str = r#"
n=0; until mkdir "$D/run-${JOB_COMPLETION_INDEX-none}-$n" 2>/dev/null; do n=$((n+1)); done
echo "${JOB_COMPLETION_INDEX-none}" >> "$D/seen"
pass() { test -e "$D/gates/$1" || exit 99; flock -s "$D/gates/$1" true; }
"#;

/// How long a process may take its leave, in seconds: those that do not go before a gate opens wait for the test.
const GRACE: u32 = 300;

/// A scenario.
pub(super) struct Scenario {
    /// Its name, which is also that of its jobs.
    pub(super) name: String,
    /// What it shows, for docs/explanation/like-job.md.
    pub(super) shows: &'static str,
    command: Vec<String>,
    spec: Value,
    /// What only a CmdJob has.
    own: Value,
    /// The gates that are closed at first.
    pub(super) gates: Vec<String>,
    /// What happens to the job on its way.
    pub(super) steps: Vec<Step>,
    /// Where it comes to rest.
    pub(super) rest: Rest,
}

/// What happens to a job on its way.
pub(super) enum Step {
    /// Nothing, until it looks like this.
    Until(fn(&Sight) -> bool),
    /// A gate is opened.
    Open(&'static str),
    /// Its spec is changed.
    Change(Value),
    /// The pod that runs (that of this index) is deleted by hand.
    DeletePod(Option<u32>),
    /// The pod that runs is deleted by hand, with no time to take its leave.
    DeletePodAtOnce,
    /// The pod that runs is evicted, as by `kubectl drain`.
    Evict,
    /// Somebody gives the pod that runs a condition.
    Mark(&'static str),
    /// It is deleted.
    Delete(Cascade),
    /// A length of time passes, in seconds: only where time itself must be shown to have no say.
    Pass(u64),
}

/// What becomes of the pods of a job that is deleted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cascade {
    Background,
    Foreground,
    Orphan,
}

/// Where a job comes to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Complete or Failed.
    Finished,
    Suspended,
    /// Neither the object nor its pods are there any more.
    Gone,
    /// The object is no more, and its pods have ended.
    Orphaned,
    /// Nobody does anything about it.
    Left,
}

/// A scenario in which each process runs `script` and which comes to its end by itself.
pub(super) fn scenario(name: &'static str, shows: &'static str, script: &str, spec: &str) -> Scenario {
    let script = format!("{PRELUDE}{script}");
    Scenario {
        name: name.to_owned(),
        shows,
        command: ["/bin/sh", "-c", &script].map(str::to_owned).to_vec(),
        spec: serde_yaml_ng::from_str(&format!("{{{spec}}}")).unwrap(),
        own: json!({}),
        gates: Vec::new(),
        steps: Vec::new(),
        rest: Rest::Finished,
    }
}

impl Scenario {
    /// A job that succeeds, after another one has begun to rest.
    pub(super) fn of_later(other: &Self) -> Self {
        Self { name: format!("after-{}", other.name), ..scenario("", "", "exit 0", "backoffLimit: 0") }
    }

    /// With this command instead.
    pub(super) fn command(mut self, command: &[&str]) -> Self {
        self.command = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// With these fields in the CmdJob's spec.
    pub(super) fn own(mut self, spec: Value) -> Self {
        self.own = spec;
        self
    }

    /// With a gate of this name.
    pub(super) fn gate(mut self, name: &str) -> Self {
        self.gates.push(name.to_owned());
        self
    }

    /// With the gates go-0, go-1 …
    pub(super) fn gates(mut self, count: u32) -> Self {
        self.gates.extend((0..count).map(|n| format!("go-{n}")));
        self
    }

    /// First this happens, then what follows.
    pub(super) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Waits until it looks like this.
    pub(super) fn until(self, wanted: fn(&Sight) -> bool) -> Self {
        self.then(Step::Until(wanted))
    }

    /// Opens a gate.
    pub(super) fn open(self, gate: &'static str) -> Self {
        self.then(Step::Open(gate))
    }

    /// Changes its spec.
    pub(super) fn change(self, spec: Value) -> Self {
        self.then(Step::Change(spec))
    }

    /// It comes to rest otherwise than by its end.
    pub(super) fn rests(mut self, rest: Rest) -> Self {
        self.rest = rest;
        self
    }

    /// The object that is applied. `directory`: what its processes know as `$D`.
    pub(super) fn object(&self, side: Side, node: &str, directory: &str) -> Value {
        let env = json!([{"name": "D", "value": directory}]);
        let mut spec = self.spec.clone();
        match side {
            Side::Native => {
                let mut pod = crate::plain_pods::placed(node);
                pod["restartPolicy"] = json!("Never");
                pod["terminationGracePeriodSeconds"] = GRACE.into();
                pod["automountServiceAccountToken"] = json!(false);
                pod["containers"] =
                    json!([{"name": "main", "image": "vk-cmd.io/host", "command": self.command, "env": env}]);
                spec["template"] = json!({"spec": pod});
                // A CmdJob has no other way.
                spec["podReplacementPolicy"] = json!("Failed");
            }
            Side::CmdJob => {
                spec.as_object_mut().unwrap().extend(self.own.as_object().unwrap().clone());
                spec["terminationGracePeriodSeconds"] = GRACE.into();
                spec["target"] = json!({"node": node});
                spec["command"] = json!(self.command);
                spec["env"] = env;
            }
        }
        let resource = side.resource();
        json!({
            "apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": self.name}, "spec": spec,
        })
    }
}
