//! Which probes of a run are made now.
//!
//! ```text
//!                      no startup probe, or this run was published as started
//!             ┌──────────────────────────────────────────────────┐
//!   running ──┤                                                  ├──▶ started: liveness, readiness
//!             └──▶ startup ──success─────────────────────────────┘        │           │
//!                    │                                                    │ failure   │ for as long as it runs
//!                    │ failure                                            ▼           ▼
//!                    └──────────────────────────────▶ nothing more of this kind: it is being ended
//! ```

use k8s_openapi::api::core::v1::PodStatus;
use vk_task::TaskId;

use super::{Kind, Probes};
use crate::facts::{Probe, Probed};
use crate::runs::ID_SCHEME;

/// What is known of a run that its probes depend on.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The container's probes.
    pub probes: &'a Probes,
    /// The number of the run.
    pub restart: u32,
    /// Whether its program runs.
    pub is_running: bool,
    /// Whether it is being ended: its pod is deleted, or its task has been asked to stop.
    pub is_ending: bool,
    /// Whether it was published as started, see [`was_started`].
    pub was_started: bool,
    /// What probes of the container have told.
    pub probed: Option<&'a Probed>,
}

/// Whether this very run was published as started: that outlives a restart of this node.
#[must_use]
pub fn was_started(published: &PodStatus, run: &TaskId) -> bool {
    let lists = [&published.init_container_statuses, &published.container_statuses];
    lists.into_iter().flatten().flatten().any(|container| {
        let id = container.container_id.as_deref().and_then(|id| id.strip_prefix(ID_SCHEME));
        id == Some(run.as_str()) && container.started == Some(true)
    })
}

/// The kinds of probes that are to be made of a run. While it is being ended only its readiness is of interest.
pub fn wanted(seen: Seen<'_>) -> impl Iterator<Item = Kind> {
    let probed = seen.probed.filter(|probed| probed.restart == seen.restart);
    let startup = probed.map_or(&Probe::Unknown, |probed| &probed.startup);
    let has_started = match startup {
        Probe::Success => true,
        Probe::Unknown => seen.probes.startup.is_none() || seen.was_started,
        Probe::Failure { .. } => false,
    };
    let may_live = !probed.is_some_and(|probed| matches!(probed.liveness, Probe::Failure { .. }));
    Kind::ALL.into_iter().filter(move |kind| {
        let is_due = match kind {
            Kind::Startup => !has_started && *startup == Probe::Unknown && !seen.is_ending,
            Kind::Liveness => has_started && may_live && !seen.is_ending,
            Kind::Readiness => has_started,
        };
        seen.is_running && is_due && seen.probes.get(*kind).is_some()
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Container;
    use k8s_openapi::serde_json::{from_value, json};

    use super::*;

    fn all() -> Probes {
        let probe = json!({"tcpSocket": {"port": 1}});
        let container: Container =
            from_value(json!({"name": "c", "startupProbe": probe, "livenessProbe": probe, "readinessProbe": probe}))
                .unwrap();
        crate::probe::read(&container, &mut vec![])
    }

    fn seen(probes: &Probes) -> Seen<'_> {
        Seen { probes, restart: 1, is_running: true, is_ending: false, was_started: false, probed: None }
    }

    fn kinds(seen: Seen<'_>) -> Vec<Kind> {
        wanted(seen).collect()
    }

    #[test]
    fn the_others_wait_for_startup() {
        let probes = all();
        let seen = seen(&probes);
        let failure = || Probe::Failure { message: String::new() };
        let both = vec![Kind::Liveness, Kind::Readiness];
        let with = |startup, liveness| Probed { restart: 1, startup, liveness, readiness: Probe::Unknown };
        for (probed, expected) in [
            (with(Probe::Unknown, Probe::Unknown), vec![Kind::Startup]),
            (with(Probe::Success, Probe::Unknown), both.clone()),
            (with(Probe::Success, failure()), vec![Kind::Readiness]),
            (with(failure(), Probe::Unknown), vec![]),
            // What an earlier run told says nothing.
            (Probed { restart: 0, ..with(Probe::Success, failure()) }, vec![Kind::Startup]),
        ] {
            assert_eq!(kinds(Seen { probed: Some(&probed), ..seen }), expected, "{probed:?}");
        }
        assert_eq!(kinds(Seen { was_started: true, ..seen }), both);
        assert_eq!(kinds(Seen { was_started: true, is_ending: true, ..seen }), [Kind::Readiness]);
        assert_eq!(kinds(Seen { is_ending: true, ..seen }), []);
        assert_eq!(kinds(Seen { is_running: false, was_started: true, ..seen }), []);
    }

    #[test]
    fn only_what_there_is_is_made() {
        let probes = Probes { liveness: all().liveness, ..Probes::default() };
        assert_eq!(kinds(seen(&probes)), [Kind::Liveness]);
        assert_eq!(kinds(seen(&Probes::default())), []);
    }

    #[test]
    fn it_is_this_very_run_that_was_started() {
        let status: PodStatus = from_value(json!({"containerStatuses": [{
            "name": "c", "containerID": format!("{ID_SCHEME}u_c_1"), "started": true, "image": "", "imageID": "",
            "ready": false, "restartCount": 1,
        }]}))
        .unwrap();
        assert!(was_started(&status, &TaskId::for_container("u", "c", 1).unwrap()));
        assert!(!was_started(&status, &TaskId::for_container("u", "c", 2).unwrap()));
        assert!(!was_started(&PodStatus::default(), &TaskId::for_container("u", "c", 1).unwrap()));
    }
}
