//! Whether a node has room for one more pod: the kubelet's admission (its `GeneralPredicates`), in its words.
//!
//! Whoever binds a pod to a node counts what is in use there. Two who do so at the same moment, Kubernetes' scheduler and
//! vk-operator say, do not count what the other one binds: the node has the last word.
//!
//! ```text
//!             it is new here                                    it is over, or gone
//!   (pod) ──┬── there is room ─────────────────────▶ held ────────────────────────────▶ free
//!           ├── it was admitted before, or runs ───────▲
//!           └── there is none, or it is meant for other nodes ──▶ refused: Failed, OutOfcpu
//! ```

use std::collections::HashMap;
use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use vk_cmd_crds::amounts::{Amounts, CPU, PODS};
use vk_task::TaskView;

use crate::admit::Refusal;
use crate::meant::NotMeant;

/// In which order it is looked for what is lacking; all else comes after that, by name. The kubelet tells of the first.
const FIRST: [&str; 4] = [PODS, CPU, "memory", "ephemeral-storage"];
/// What the reason of a pod that was refused for lack of room begins with: the kubelet's word.
const OUT_OF: &str = "OutOf";

/// What of a node is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// By whom, by the pods' UIDs.
    held: HashMap<String, Amounts>,
    /// All of that.
    used: Amounts,
}

/// A pod that this process has not seen before.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// As the API server has it.
    pub pod: &'a Pod,
    /// The tasks that the pipe has for it: all of them.
    pub tasks: &'a [TaskView],
    /// Whether it is meant for this node: see [`crate::meant`].
    pub is_meant: bool,
}

/// There is too little of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct OutOf {
    resource: String,
    requested: u64,
    used: u64,
    capacity: u64,
}

impl Room {
    /// Takes in the pods that are new, as far as there is room, and says of each whether it is let in.
    ///
    /// Those that were let in before this process was started keep what they have; of the others the older ones come first,
    /// as with a kubelet that is restarted.
    pub fn take_in(&mut self, arrivals: &[Arrival<'_>], allocatable: &Amounts) -> Vec<Result<(), Refusal>> {
        let mut answers: Vec<Result<(), Refusal>> = arrivals.iter().map(|_| Ok(())).collect();
        let mut new: Vec<(&Arrival<'_>, &mut Result<(), Refusal>)> = Vec::new();
        for (arrival, answer) in arrivals.iter().zip(&mut answers) {
            match arrival.stand() {
                Stand::Over => {}
                Stand::Inside => self.hold(&uid(arrival.pod), Amounts::of_pod(arrival.pod)),
                Stand::AtTheDoor => new.push((arrival, answer)),
            }
        }
        new.sort_by_key(|(Arrival { pod: Pod { metadata, .. }, .. }, _)| {
            (metadata.creation_timestamp.clone(), metadata.namespace.clone(), metadata.name.clone())
        });
        for (Arrival { pod, is_meant, .. }, answer) in new {
            let asked = Amounts::of_pod(pod);
            // In the kubelet's order.
            *answer = match self.fits(&asked, allocatable) {
                Err(lack) => Err(lack.into()),
                Ok(()) if !is_meant => Err(NotMeant.into()),
                Ok(()) => Ok(()),
            };
            if answer.is_ok() {
                self.hold(&uid(pod), asked);
            }
        }
        answers
    }

    /// Whether a pod that asks for so much fits beside the others on a node that has `allocatable`. As with the kubelet, what
    /// is called an extended resource and is unknown to the node is somebody else's to count.
    ///
    /// # Errors
    /// With the first of the resources of which there is too little.
    pub fn fits(&self, asked: &Amounts, allocatable: &Amounts) -> Result<(), OutOf> {
        let rest = asked.iter().map(|(name, _)| name).filter(|name| !FIRST.contains(name));
        for name in FIRST.into_iter().chain(rest) {
            let (requested, used, capacity) = (asked.get(name), self.used.get(name), allocatable.get(name));
            if requested > capacity.saturating_sub(used) && (capacity > 0 || !is_extended(name)) {
                return Err(OutOf { resource: name.to_owned(), requested, used, capacity });
            }
        }
        Ok(())
    }

    /// A pod has so much from now on, whether that fits or not.
    pub fn hold(&mut self, uid: &str, amounts: Amounts) {
        self.free(uid);
        self.used.add(&amounts);
        self.held.insert(uid.to_owned(), amounts);
    }

    /// A pod has nothing any more.
    pub fn free(&mut self, uid: &str) {
        if let Some(amounts) = self.held.remove(uid) {
            self.used.take(&amounts);
        }
    }

    /// Whether a pod has something.
    #[must_use]
    pub fn is_held_by(&self, uid: &str) -> bool {
        self.held.contains_key(uid)
    }
}

/// How it is with a pod that is seen for the first time.
enum Stand {
    /// It has ended, or is to go before anything of it has run.
    Over,
    /// It runs, has run, or waits with something that keeps it from running: it was let in by this node before.
    Inside,
    /// It is new.
    AtTheDoor,
}

impl Arrival<'_> {
    /// Whether it has yet to be let in.
    #[must_use]
    pub fn is_at_the_door(&self) -> bool {
        matches!(self.stand(), Stand::AtTheDoor)
    }

    fn stand(&self) -> Stand {
        let status = self.pod.status.as_ref();
        let is_terminal = status.is_some_and(|s| matches!(s.phase.as_deref(), Some("Succeeded" | "Failed")));
        if self.tasks.iter().any(|task| !task.state.is_final()) {
            return Stand::Inside;
        }
        // Nobody but a node writes these.
        let is_told_of = status.is_some_and(|s| {
            [&s.init_container_statuses, &s.container_statuses].into_iter().flatten().any(|list| !list.is_empty())
        });
        match !self.tasks.is_empty() || is_told_of {
            _ if is_terminal => Stand::Over,
            true => Stand::Inside,
            false if self.pod.metadata.deletion_timestamp.is_some() => Stand::Over,
            false => Stand::AtTheDoor,
        }
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

/// Whether a resource is one that Kubernetes itself knows nothing of (`IsExtendedResourceName`).
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

impl OutOf {
    /// The `reason` of the refused pod.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{OUT_OF}{}", self.resource)
    }

    /// Whether the resource is one that every node has.
    pub(crate) fn is_of_every_node(&self) -> bool {
        FIRST.contains(&self.resource.as_str())
    }
}

impl fmt::Display for OutOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, requested, used, capacity } = self;
        write!(
            f,
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        )
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use proptest::prelude::*;
    use serde_json::{from_value, json};
    use vk_task::{TaskId, TaskState};

    use super::*;

    fn amounts(text: &[(&str, &str)]) -> Amounts {
        let all: Vec<_> = text.iter().map(|(name, n)| ((*name).to_owned(), Quantity((*n).to_owned()))).collect();
        Amounts::read(all.iter().map(|(name, quantity)| (name, quantity)))
    }

    #[test]
    fn what_is_lacking_is_told_in_the_kubelets_words() {
        let node =
            amounts(&[("pods", "2"), ("cpu", "2"), ("memory", "1Gi"), ("ephemeral-storage", "10"), ("x.io/fpga", "1")]);
        let mut room = Room::default();
        room.hold("a", amounts(&[("pods", "1"), ("cpu", "500m"), ("memory", "1Gi")]));
        for (asked, expected) in [
            (vec![("pods", "1"), ("cpu", "1500m")], None),
            (vec![("pods", "1")], None),
            (
                vec![("pods", "1"), ("cpu", "1501m")],
                Some(("OutOfcpu", "cpu, requested: 1501, used: 500, capacity: 2000")),
            ),
            (
                vec![("pods", "1"), ("memory", "1")],
                Some(("OutOfmemory", "memory, requested: 1, used: 1073741824, capacity: 1073741824")),
            ),
            (
                vec![("pods", "1"), ("ephemeral-storage", "11"), ("a/b", "1"), ("x.io/fpga", "2")],
                Some(("OutOfephemeral-storage", "ephemeral-storage, requested: 11, used: 0, capacity: 10")),
            ),
            (
                vec![("pods", "1"), ("x.io/fpga", "2")],
                Some(("OutOfx.io/fpga", "x.io/fpga, requested: 2, used: 0, capacity: 1")),
            ),
            // Nobody here has these: whoever has bound the pod knows who does.
            (vec![("pods", "1"), ("a/b", "1")], None),
            (
                vec![("pods", "1"), ("hugepages-2Mi", "1")],
                Some(("OutOfhugepages-2Mi", "hugepages-2Mi, requested: 1, used: 0, capacity: 0")),
            ),
            // Of several the first one in the kubelet's order.
            (
                vec![("pods", "1"), ("cpu", "3"), ("memory", "2Gi"), ("a-first/one", "1")],
                Some(("OutOfcpu", "cpu, requested: 3000, used: 500, capacity: 2000")),
            ),
        ] {
            let lack = room.fits(&amounts(&asked), &node).err();
            let told = lack.as_ref().map(|lack| (lack.reason(), lack.to_string()));
            let expected =
                expected.map(|(reason, rest)| (reason.to_owned(), format!("Node didn't have enough resource: {rest}")));
            assert_eq!(told, expected, "{asked:?}");
        }
        room.hold("b", amounts(&[("pods", "1")]));
        let lack = room.fits(&amounts(&[("pods", "1"), ("cpu", "9")]), &node).unwrap_err();
        assert_eq!(lack.reason(), "OutOfpods");
        assert_eq!(lack.to_string(), "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2");
    }

    fn pod(uid: &str, created: &str, rest: &str) -> Pod {
        let text = format!(
            "{{metadata: {{uid: {uid}, name: {uid}, namespace: n, creationTimestamp: '2026-01-02T03:04:{created}Z'}}, \
             spec: {{containers: [{{name: c, resources: {{requests: {{cpu: 1}}}}}}]}}{rest}}}"
        );
        serde_yaml_ng::from_str(&text).unwrap()
    }

    #[test]
    fn who_was_in_before_stays_in_and_of_the_others_the_older_ones_come_first() {
        let node = amounts(&[("pods", "9"), ("cpu", "3")]);
        let told = ", status: {phase: Running, containerStatuses: [{name: c, image: i, imageID: i, ready: true, restartCount: 0}]}";
        let run = json!({"kind": "pod", "namespace": "n", "pod": "started", "uid": "started", "container": "c", "restart": 0});
        let tasks = [TaskView {
            id: TaskId::for_container("started", "c", 0).unwrap(),
            origin: from_value(run).unwrap(),
            state: TaskState::Accepted { at: Timestamp::UNIX_EPOCH },
            stop: None,
            lingering: Vec::new(),
            reported: false,
            termination_message: None,
        }];
        let pods = [
            pod("younger", "03", ""),
            pod("over", "00", ", status: {phase: Succeeded}"),
            pod("older", "02", ""),
            pod("told-of", "05", told),
            pod("started", "04", ""),
            pod("refused-before", "01", ", status: {phase: Failed, reason: OutOfcpu}"),
            pod("elsewhere", "01", ""),
        ];
        let of = |pod: &Pod| if uid(pod) == "started" { &tasks[..] } else { &[] };
        let arrivals: Vec<Arrival<'_>> =
            pods.iter().map(|pod| Arrival { pod, tasks: of(pod), is_meant: uid(pod) != "elsewhere" }).collect();
        let mut room = Room::default();
        let answers = room.take_in(&arrivals, &node);
        let refused: Vec<String> =
            arrivals.iter().zip(&answers).filter(|(_, answer)| answer.is_err()).map(|(a, _)| uid(a.pod)).collect();
        assert_eq!(refused, ["younger", "elsewhere"]);
        assert_eq!(room.used, amounts(&[("pods", "3"), ("cpu", "3")]));
        // What runs is never refused, whatever the node has by now.
        let mut less = Room::default();
        let answers = less.take_in(&arrivals, &amounts(&[("pods", "9"), ("cpu", "1")]));
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 3);
        assert!(less.is_held_by("told-of") && less.is_held_by("started"));
    }

    #[test]
    fn what_is_to_go_before_it_has_run_takes_nothing() {
        let mut going = pod("going", "00", "");
        going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
        let mut room = Room::default();
        assert_eq!(room.take_in(&[Arrival { pod: &going, tasks: &[], is_meant: true }], &Amounts::NOTHING), [Ok(())]);
        assert_eq!(room, Room::default());
    }

    proptest! {
        /// Nobody who asks first is let in beyond what there is, and what is given back can be had again.
        #[test]
        fn it_is_never_more_than_full(asks in proptest::collection::vec((0_u8..6, 0_u32..5, any::<bool>()), 0..60)) {
            let node = amounts(&[("pods", "3"), ("cpu", "8m")]);
            let mut room = Room::default();
            for (uid, cpu, goes) in asks {
                let uid = uid.to_string();
                if goes {
                    room.free(&uid);
                } else if !room.is_held_by(&uid) {
                    let asked = amounts(&[("pods", "1"), ("cpu", &format!("{cpu}m"))]);
                    if room.fits(&asked, &node).is_ok() {
                        room.hold(&uid, asked);
                    }
                }
                let mut sum = Amounts::default();
                room.held.values().for_each(|amounts| sum.add(amounts));
                prop_assert_eq!(&sum, &room.used);
                prop_assert!(sum.get("pods") <= 3 && sum.get("cpu") <= 8);
            }
        }
    }
}
