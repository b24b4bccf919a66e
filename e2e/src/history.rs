//! What a watch has seen of pods, and what of it must never be: a status that goes backwards. Pure.
//!
//! ```text
//!   pod        Pending ──▶ Running ──▶ Succeeded | Failed            never back, never from one end to the other
//!   container  waiting ──▶ running ──▶ terminated                    by its id; a new run is a new id and counts one more
//!              not started ──▶ started, not ready ──▶ ready          ready ──▶ not ready only if it has ended, or may
//! ```

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod, PodStatus};

/// What the tester knows of what must happen.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The names of the pods whose readiness is made to fall.
    pub may_unready: BTreeSet<String>,
    /// Whether the wall clock was set back: then times of changes may go back with it.
    pub clock_set_back: bool,
    /// Whether the watch was interrupted: what came and went meanwhile was not seen. (Kubernetes for one says of the pods
    /// of a node that it has lost that they are not ready, and the node takes that back.)
    pub may_miss: bool,
}

/// What of these, in the order in which they were seen, goes backwards: a sentence for each.
pub fn regressions(seen: &[Pod], expected: &Expected) -> Vec<String> {
    let mut pods: BTreeMap<&str, Tracked<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for pod in seen {
        let (Some(uid), Some(status)) = (pod.metadata.uid.as_deref(), pod.status.as_ref()) else { continue };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let tracked = pods.entry(uid).or_default();
        let mut faults = Vec::new();
        tracked.take(status, expected.may_unready.contains(name), expected, &mut faults);
        found.extend(faults.into_iter().map(|fault| format!("pod {name} ({uid}): {fault}")));
    }
    found
}

/// The last that was seen of a pod.
#[derive(Default)]
struct Tracked<'a> {
    status: Option<&'a PodStatus>,
    /// What is known of runs, by the container's id.
    runs: BTreeMap<&'a str, Run>,
}

/// What is known of one run of a container.
#[derive(Default, Clone)]
struct Run {
    started_at: Option<Timestamp>,
    /// When and how it ended.
    end: Option<(Option<Timestamp>, i32, Option<String>)>,
    has_run: bool,
}

impl<'a> Tracked<'a> {
    fn take(&mut self, now: &'a PodStatus, may_unready: bool, expected: &Expected, faults: &mut Vec<String>) {
        if let Some(before) = self.status.replace(now) {
            phases(before, now, faults);
            unchanged("startTime", &before.start_time, &now.start_time, faults);
            unchanged("podIP", &before.pod_ip, &now.pod_ip, faults);
            unchanged("qosClass", &before.qos_class, &now.qos_class, faults);
            conditions(before, now, may_unready, expected, faults);
            for (was, is) in pairs(before, now) {
                containers(was, is, may_unready, faults);
            }
        }
        for container in statuses(now) {
            self.run(container, faults);
        }
    }

    /// Holds what is said of runs against what was said of them before.
    fn run(&mut self, container: &'a ContainerStatus, faults: &mut Vec<String>) {
        let id = container.container_id.as_deref();
        for (state, is_current) in [(&container.last_state, false), (&container.state, true)] {
            let Some(state) = state else { continue };
            let ended = state.terminated.as_ref();
            let Some(id) = ended.and_then(|ended| ended.container_id.as_deref()).or(id.filter(|_| is_current)) else {
                continue;
            };
            let run = self.runs.entry(id).or_default();
            if let Some(ended) = ended {
                let at = ended.started_at.as_ref().map(|t| t.0);
                started(id, run, at, faults);
                let end = (ended.finished_at.as_ref().map(|t| t.0), ended.exit_code, ended.reason.clone());
                if run.end.as_ref().is_some_and(|known| *known != end) {
                    faults.push(format!("{id} has ended with {:?} and then with {end:?}", run.end));
                }
                run.end = Some(end);
            } else if let Some(running) = &state.running {
                if run.end.is_some() {
                    faults.push(format!("{id} has ended and runs"));
                }
                started(id, run, running.started_at.as_ref().map(|t| t.0), faults);
                run.has_run = true;
            } else if run.has_run && run.end.is_none() {
                faults.push(format!("{id} ran, and waits without having ended"));
            }
        }
    }
}

fn started(id: &str, run: &mut Run, at: Option<Timestamp>, faults: &mut Vec<String>) {
    if run.started_at.is_some() && run.started_at != at {
        faults.push(format!("{id} was started at {:?} and then at {at:?}", run.started_at));
    }
    run.started_at = at;
}

fn phases(before: &PodStatus, now: &PodStatus, faults: &mut Vec<String>) {
    let rank = |status: &PodStatus| match status.phase.as_deref() {
        Some("Running") => 1,
        Some("Succeeded") => 2,
        Some("Failed") => 3,
        Some(_) | None => 0,
    };
    let (was, is) = (rank(before), rank(now));
    if is < was || (was == 2 && is == 3) {
        faults.push(format!("phase {:?} after {:?}", now.phase, before.phase));
    }
}

/// What is there stays as it is.
fn unchanged<T: PartialEq + std::fmt::Debug>(
    what: &str,
    before: &Option<T>,
    now: &Option<T>,
    faults: &mut Vec<String>,
) {
    if before.is_some() && before != now {
        faults.push(format!("{what} {now:?} after {before:?}"));
    }
}

fn conditions(before: &PodStatus, now: &PodStatus, may_unready: bool, expected: &Expected, faults: &mut Vec<String>) {
    for was in before.conditions.iter().flatten() {
        let Some(is) = now.conditions.iter().flatten().find(|is| is.type_ == was.type_) else {
            faults.push(format!("the condition {} is gone", was.type_));
            continue;
        };
        let since = |c: &k8s_openapi::api::core::v1::PodCondition| c.last_transition_time.as_ref().map(|t| t.0);
        let has_changed = was.status != is.status;
        if (!has_changed && !expected.may_miss && since(was) != since(is))
            || (!expected.clock_set_back && since(is) < since(was))
        {
            faults.push(format!(
                "{} is {} since {:?}, and was {} since {:?}",
                is.type_,
                is.status,
                since(is),
                was.status,
                since(was)
            ));
        }
        let has_cause = may_unready || statuses(now).any(|c| c.state.as_ref().is_some_and(|s| s.running.is_none()));
        // Kubernetes' own word about the pods of a node that it has not heard from.
        let is_of_lost_node = expected.may_miss && is.type_ == "Ready";
        if has_changed && was.status == "True" && !has_cause && !is_of_lost_node {
            faults.push(format!("{} became {} although all runs", is.type_, is.status));
        }
    }
}

fn containers(was: &ContainerStatus, is: &ContainerStatus, may_unready: bool, faults: &mut Vec<String>) {
    let name = &is.name;
    if is.restart_count < was.restart_count {
        faults.push(format!("{name}: restartCount {} after {}", is.restart_count, was.restart_count));
    }
    if was.container_id.is_some() && was.container_id != is.container_id && is.restart_count <= was.restart_count {
        faults.push(format!("{name}: {:?} after {:?}, and no restart", is.container_id, was.container_id));
    }
    if was.container_id == is.container_id && is.restart_count != was.restart_count {
        faults.push(format!("{name}: restartCount {} of the same run", is.restart_count));
    }
    let runs = |state: &Option<ContainerState>| state.as_ref().is_some_and(|state| state.running.is_some());
    if runs(&is.state) && was.container_id == is.container_id {
        if was.ready && !is.ready && !may_unready {
            faults.push(format!("{name} runs on and is not ready any more"));
        }
        if was.started == Some(true) && is.started != Some(true) {
            faults.push(format!("{name} runs on and is not started any more"));
        }
    }
}

fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten()
}

/// Each container with what was said of it before.
fn pairs<'a>(
    before: &'a PodStatus,
    now: &'a PodStatus,
) -> impl Iterator<Item = (&'a ContainerStatus, &'a ContainerStatus)> {
    statuses(now).filter_map(|is| Some((statuses(before).find(|was| was.name == is.name)?, is)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(phase: &str, container: Value, since: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "status": {
                "phase": phase,
                "containerStatuses": [container],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
            },
        }))
        .unwrap()
    }

    fn running(restarts: u32, started_at: &str, ready: bool) -> Value {
        json!({
            "name": "c", "image": "", "imageID": "", "restartCount": restarts, "containerID": format!("vk-cmd://{restarts}"),
            "ready": ready, "started": true, "state": {"running": {"startedAt": started_at}},
        })
    }

    fn ended(restarts: u32, started_at: &str, code: i32) -> Value {
        let id = format!("vk-cmd://{restarts}");
        json!({
            "name": "c", "image": "", "imageID": "", "restartCount": restarts, "containerID": id, "ready": false,
            "state": {"terminated": {"containerID": id, "exitCode": code, "startedAt": started_at, "finishedAt": T[2]}},
        })
    }

    const T: [&str; 3] = ["2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z", "2026-01-01T00:00:09Z"];

    fn found(seen: &[Pod]) -> Vec<String> {
        regressions(seen, &Expected::default())
    }

    #[test]
    fn a_life_forward_is_no_regression() {
        let life = [
            pod("Pending", json!({"name": "c", "image": "", "imageID": "", "restartCount": 0, "ready": false}), T[0]),
            pod("Running", running(0, T[0], false), T[0]),
            pod("Running", running(0, T[0], true), T[0]),
            pod("Running", ended(0, T[0], 1), T[0]),
            pod("Running", running(1, T[1], true), T[0]),
            pod("Succeeded", ended(1, T[1], 0), T[0]),
        ];
        assert_eq!(found(&life), Vec::<String>::new());
    }

    #[test]
    fn each_way_back_is_found() {
        for (before, now, fault) in [
            (pod("Running", running(0, T[0], true), T[0]), pod("Pending", running(0, T[0], true), T[0]), "phase"),
            (
                pod("Succeeded", ended(0, T[0], 0), T[0]),
                pod("Failed", ended(0, T[0], 0), T[0]),
                "phase Some(\"Failed\")",
            ),
            (
                pod("Running", running(1, T[0], true), T[0]),
                pod("Running", running(0, T[0], true), T[0]),
                "restartCount 0 after 1",
            ),
            (
                pod("Running", running(0, T[0], true), T[0]),
                pod("Running", running(0, T[1], true), T[0]),
                "was started at",
            ),
            (
                pod("Running", running(0, T[0], true), T[0]),
                pod("Running", running(0, T[0], false), T[0]),
                "not ready any more",
            ),
            (pod("Running", ended(0, T[0], 0), T[0]), pod("Running", running(0, T[0], true), T[0]), "ended and runs"),
            (pod("Running", ended(0, T[0], 0), T[0]), pod("Running", ended(0, T[0], 1), T[0]), "and then with"),
            (pod("Running", running(0, T[0], true), T[1]), pod("Running", running(0, T[0], true), T[0]), "since"),
            (pod("Running", running(0, T[0], true), T[0]), pod("Running", running(0, T[0], true), T[1]), "since"),
        ] {
            let faults = found(&[before, now]);
            assert!(faults.iter().any(|found| found.contains(fault)), "{fault:?} is not in {faults:?}");
        }
    }

    #[test]
    fn another_pod_of_the_name_begins_anew() {
        let before = pod("Succeeded", ended(0, T[0], 0), T[1]);
        let mut after = pod("Pending", running(0, T[1], false), T[0]);
        after.metadata.uid = Some("other".into());
        assert_eq!(found(&[before, after]), Vec::<String>::new());
    }
}
