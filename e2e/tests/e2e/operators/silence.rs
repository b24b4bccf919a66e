//! What the operators have asked the API server for, by its own audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use rustix::process::Signal;
use vk_cmd_crds::CmdJob;
use vk_cmd_e2e::audit::{AuditLog, Entry};
use vk_cmd_e2e::wait::{self, Probe};

use super::load::END;
use super::team::Team;
use crate::ground::{GLANCE, Room};

/// For so long nothing must be asked for. Longer than any pause of an operator that is not waiting for something.
const QUIET: Duration = Duration::from_secs(6);

/// The requests of operators about what is in a namespace.
pub(super) struct Requests<'a> {
    log: &'a AuditLog,
    room: &'a Room,
}

impl<'a> Requests<'a> {
    /// Those of this room.
    pub(super) fn of(log: &'a AuditLog, room: &'a Room) -> Self {
        Self { log, room }
    }

    /// Those from this place on, and the place behind them.
    fn since(&self, place: usize) -> (Vec<Entry>, usize) {
        let (mut entries, place) = self.log.entries_from(place).unwrap();
        let namespace = Some(self.room.namespace.as_str());
        entries
            .retain(|entry| entry.object_ref.as_ref().is_some_and(|object| object.namespace.as_deref() == namespace));
        (entries, place)
    }

    /// Every attempt's pod was made once, whoever has asked for it how often.
    pub(super) fn made_each_pod_once(&self) {
        let mut made: BTreeMap<String, u32> = BTreeMap::new();
        for entry in self.since(0).0 {
            let object = entry.object_ref.clone().unwrap();
            if (entry.verb.as_str(), entry.resource(), entry.code()) == ("create", "pods", 201) {
                *made.entry(object.name.unwrap()).or_default() += 1;
            }
        }
        assert!(!made.is_empty(), "the audit log tells of no pods");
        let twice: Vec<_> = made.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "made more than once: {twice:?}");
    }

    /// How many of each there were.
    pub(super) fn counted(&self) -> BTreeMap<String, u32> {
        let mut counts = BTreeMap::new();
        for entry in self.since(0).0 {
            *counts.entry(entry.act()).or_default() += 1;
        }
        counts
    }

    /// From each of these moments until the first write that followed.
    pub(super) fn until_next_write(&self, moments: impl Iterator<Item = jiff::Timestamp>) -> Vec<Duration> {
        let writes = self.since(0).0.into_iter().filter(Entry::is_write);
        let mut times: Vec<_> = writes.map(|entry| entry.request_received_timestamp).collect();
        times.sort_unstable();
        let next = |at| times.get(times.partition_point(|time| *time < at)).copied();
        moments.filter_map(|at| Duration::try_from(next(at)?.duration_since(at)).ok()).collect()
    }

    /// Nobody asks for anything any more; and one who begins anew looks at everything and finds nothing to write.
    pub(super) async fn fall_silent(&self, team: &mut Team<'_>) {
        self.are_over().await;
        let (_, place) = self.since(0);
        let next = team.end(Signal::KILL).await;
        let jobs: Api<CmdJob> = Api::all(self.room.client.clone());
        let jobs = jobs.list_metadata(&ListParams::default()).await.unwrap().items.len();
        let jobs = f64::from(u32::try_from(jobs).unwrap());
        wait::until("an operator to have looked at all jobs", END, GLANCE, async || {
            let looks = team.members()[next].measured("controller_runtime_reconcile_total{").await;
            Ok(if looks >= Some(jobs) { Probe::Ready(()) } else { Probe::not_yet(format!("{looks:?} of {jobs}")) })
        })
        .await
        .unwrap();
        self.are_over().await;
        let writes: Vec<_> = self.since(place).0.into_iter().filter(Entry::is_write).collect();
        assert!(writes.is_empty(), "written with nothing to do: {writes:?}");
    }

    /// Waits until there have been none for a while.
    async fn are_over(&self) {
        let mut place = None;
        wait::until("the operators to be silent", END, QUIET, async || {
            let (new, end) = self.since(place.unwrap_or_default());
            let is_silent = place == Some(end) || (place.is_some() && new.is_empty());
            place = Some(end);
            let last: Vec<_> = new.iter().rev().take(5).map(|entry| (entry.act(), &entry.object_ref)).collect();
            Ok(if is_silent { Probe::Ready(()) } else { Probe::not_yet(format!("{last:?}")) })
        })
        .await
        .unwrap();
    }
}
