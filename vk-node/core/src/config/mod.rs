//! What `vk-node run` is started with.
//!
//! ```text
//!   flags and their variables ─┐
//!   the original's variables ──┼─ each a layer of Settings ──over──▶ Settings ──finish──▶ NodeConfig
//!   the file (node.yaml) ──────┘                                                 └─────▶ ConfigError: all at once
//! ```
//!
//! What is in force, and which layer says it, is told by `shown`; what of it changes while a node runs, by `reload`.
//!
//! A setting that stands in several layers is taken from the uppermost; labels and amounts are taken key by key. The file
//! is described in `docs/reference/node.md`, with an example of every key in `docs/reference/node.yaml`.

mod aliases;
mod certificates;
mod configz;
mod ending;
mod label;
mod pressure;
mod read;
mod relay;
mod reload;
mod resources;
mod said;
mod settings;
mod shown;
#[cfg(test)]
mod tests;
mod tunnel;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use vk_cmd_crds::NodeName;
use vk_task::CgroupChoice;

use crate::ending::{EndPlan, Walltime};
use crate::images::ImageRule;

pub use aliases::{from_environment, variable_of};
pub use certificates::{CertificateConfig, CertificateSettings};
pub use configz::configz;
pub use ending::EndSettings;
pub use label::{label_problem, value_problem};
pub use pressure::{Pressure, PressureSettings, Threshold};
pub use read::{keys, read};
pub use relay::{NoAddress, RelayAddress, RelayAddresses, RelayConfig, RelaySettings};
pub use reload::{Reload, TAKEN_UP, Tunable, reload};
pub use resources::{Resources, resource_name_problem};
pub use said::Said;
pub use settings::{ConfigError, MemberSettings, NO_HOME, Names, Settings, home_pipe};
pub use shown::{Difference, Layer, Origin, Shown, differences, effective, line_of, yaml};
pub use tunnel::{TunnelConfig, TunnelSettings};

/// What is logged where nothing is said of it.
pub const LOG: &str = "info";

/// What a process of `vk-node run` works with. There is at least one member.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeConfig {
    /// The nodes that it makes, in the order of their ports.
    pub members: Vec<MemberConfig>,
    /// By what the API servers are reached and reach the nodes, where they do not straight.
    pub tunnel: Option<TunnelConfig>,
    /// The relays by one of which the API server reaches the nodes; `None`: by their ports.
    pub relay: Option<RelayConfig>,
    /// The certificate authority whose clients may ask the kubelet's API; `None`: that of the kubeconfig.
    pub client_ca_file: Option<PathBuf>,
    /// How the nodes come to their own certificates.
    pub certificates: CertificateConfig,
    /// The pipe that all of them work with.
    pub pipe: PipeConfig,
    /// When a node is short of something.
    pub pressure: Pressure,
    /// How often it is looked whether a node's status has changed.
    pub status_update_every: Duration,
    /// How often a status that has not changed is written all the same.
    pub status_report_every: Duration,
    /// How long a node's lease holds after each renewal; it is renewed four times as often.
    pub lease_duration: SignedDuration,
    /// How the nodes come to their ends.
    pub ending: EndPlan,
    /// What images stand for on these nodes.
    pub images: Vec<ImageRule>,
    /// Where pods reach the API server, where it is not where the cluster says.
    pub kubernetes_service: Option<KubernetesService>,
}

/// One node.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberConfig {
    /// Its name.
    pub name: NodeName,
    /// The kubeconfig by which it reaches the API server; `None`: as kubectl finds it.
    pub kubeconfig: Option<PathBuf>,
    /// The address at which the API server reaches it; `None`: that of this host on the way to the API server.
    pub address: Option<IpAddr>,
    /// The address that it listens on; `None`: the address itself.
    pub listen_address: Option<IpAddr>,
    /// The port of its kubelet API, of the far end's where it is behind a tunnel; 0: any that is free.
    pub port: u16,
    /// How many pods it takes.
    pub max_pods: u32,
    /// Labels besides those that every vk-node has.
    pub labels: BTreeMap<String, String>,
    /// Taints that it is made with, besides that of every vk-node.
    pub taints: Vec<NodeTaint>,
    /// What it offers: instead of what the host has, or besides it.
    pub capacity: Resources,
    /// What of that is not for pods.
    pub reserved: Resources,
    /// How long the node is there, from its first start.
    pub walltime: Walltime,
}

/// A taint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTaint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
    /// What it does.
    pub effect: TaintEffect,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaintEffect {
    /// They are not placed there.
    NoSchedule,
    /// They are placed elsewhere if possible.
    PreferNoSchedule,
    /// They are removed from there.
    NoExecute,
}

impl TaintEffect {
    /// The effects by their names in core/v1.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("NoSchedule", Self::NoSchedule),
        ("PreferNoSchedule", Self::PreferNoSchedule),
        ("NoExecute", Self::NoExecute),
    ];

    /// Its name in core/v1.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// The host side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipeConfig {
    /// Who runs it.
    pub owner: PipeOwner,
    /// The directory by which it is reached.
    pub directory: PathBuf,
    /// Where it keeps its records, where it is not to choose itself.
    pub records: Option<PathBuf>,
    /// The cgroup that it uses.
    pub cgroup: CgroupChoice,
    /// The site's file, where it is not in one of the usual places.
    pub site_file: Option<PathBuf>,
}

/// Who runs the pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PipeOwner {
    /// The node starts one where none answers.
    #[default]
    Node,
    /// Somebody else starts it: the node is in a container, the pipe is on the host.
    External,
}

/// Where pods reach the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesService {
    /// The value of `KUBERNETES_SERVICE_HOST`.
    pub host: String,
    /// The value of `KUBERNETES_SERVICE_PORT`.
    pub port: u16,
}
