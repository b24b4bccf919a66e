//! CmdFleets: the API server's checks, and what the operator makes of them.

mod drain;
mod killed;
mod life;
mod rows;
mod silence;

use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vk_cmd_crds::{CmdFleet, CmdFleetStatus};
use vk_cmd_e2e::site::{Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room};

/// A CmdFleet. It is removed when its test has ended well.
pub(crate) struct Fleet {
    pub(crate) api: Api<CmdFleet>,
    pub(crate) name: String,
}

impl Room {
    /// Makes a CmdFleet.
    pub(crate) async fn fleet(&self, name: &str, spec: Value) -> Fleet {
        let api: Api<CmdFleet> = Api::all(self.client.clone());
        let spec = serde_json::from_value(spec).unwrap();
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        api.create(&PostParams::default(), &CmdFleet { metadata, spec, status: None }).await.unwrap();
        Fleet { api, name: name.to_owned() }
    }

    /// So many nodes of a fleet in one process, named after it.
    pub(crate) async fn nodes_of(&self, fleet: &str, count: u32, flags: &[&str]) -> Site {
        self.nodes_for(fleet, count, flags, &[]).await
    }

    /// The same, with these variables.
    pub(crate) async fn nodes_for(
        &self,
        fleet: &str,
        count: u32,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Site {
        let plane = self.ground.plane;
        let first = format!("vk-{fleet}-0");
        let mut settings = Settings::new(&first, plane.kubeconfig(), Some(plane.client_ca().into()));
        settings.address = Some(std::net::Ipv4Addr::LOCALHOST.into());
        let label = format!("vk-cmd.io/fleet={fleet}");
        let names = format!("vk-{fleet}-={count}");
        let all = ["--nodes", &names, "--label", &label].into_iter().chain(flags.iter().copied());
        settings.node_flags = all.map(Into::into).collect();
        settings.environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.site_with(settings).await
    }
}

impl Fleet {
    /// Waits until its status says what `wanted` asks for.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&CmdFleetStatus) -> bool) -> CmdFleetStatus {
        let what = format!("the fleet {} {what}", self.name);
        let reached = wait::until(&what, LONG, GLANCE, async || {
            let fleet = self.api.get(&self.name).await?;
            let is_current =
                fleet.status.as_ref().and_then(|status| status.observed_generation) == fleet.metadata.generation;
            let status = fleet.status.unwrap_or_default();
            Ok(if is_current && wanted(&status) { Probe::Ready(status) } else { Probe::not_yet(format!("{status:?}")) })
        });
        reached.await.unwrap()
    }

    /// Waits until its condition Ready has this reason.
    pub(crate) async fn is(&self, reason: &str) -> CmdFleetStatus {
        self.until(&format!("to be {reason}"), |status| reason_of(status) == Some(reason)).await
    }

    /// Changes its spec.
    pub(crate) async fn change(&self, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.api.patch(&self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Removes it.
    pub(crate) async fn remove(&self) {
        self.api.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// The reason of the condition Ready.
pub(crate) fn reason_of(status: &CmdFleetStatus) -> Option<&str> {
    status.conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.reason.as_str())
}
