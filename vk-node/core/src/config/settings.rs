//! One layer of settings, what comes of several, and what comes of all of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use vk_cmd_crds::{NodeName, labels};
use vk_task::CgroupChoice;

use crate::ending::Walltime;
use crate::images::ImageRule;

use super::{
    CertificateSettings, EndSettings, KubernetesService, MemberConfig, NodeConfig, NodeTaint, PipeConfig, PipeOwner,
    PressureSettings, RelaySettings, Resources, TunnelConfig, TunnelSettings,
};

/// The kubelet's port.
pub(super) const PORT: u16 = 10250;
/// How many pods a node takes where nothing is said.
pub(super) const MAX_PODS: u32 = 250;
/// The kubelet's figures.
pub(super) const STATUS_UPDATE_EVERY: Duration = Duration::from_secs(10);
pub(super) const STATUS_REPORT_EVERY: Duration = Duration::from_secs(300);
pub(super) const LEASE_DURATION: SignedDuration = SignedDuration::from_secs(40);

/// Why there is no directory for the pipe.
pub const NO_HOME: &str = "there is no home directory for the pipe: set $HOME, or name a directory with --hostpipe";

/// The pipe's directory where none is named: `$HOME/hostpipe`, where the original had it.
#[must_use]
pub fn home_pipe(home: Option<PathBuf>) -> Option<PathBuf> {
    Some(home.filter(|home| home.is_absolute())?.join("hostpipe"))
}

/// What one layer says. All of it may be left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Which nodes there are.
    pub names: Option<Names>,
    /// What each of them has that says nothing else of itself.
    pub member: MemberSettings,
    /// See [`NodeConfig::tunnel`].
    pub tunnel: TunnelSettings,
    /// See [`NodeConfig::relay`].
    pub relay: RelaySettings,
    /// See [`NodeConfig::client_ca_file`].
    pub client_ca_file: Option<PathBuf>,
    /// See [`NodeConfig::certificates`].
    pub certificates: CertificateSettings,
    /// Who runs the pipe.
    pub pipe_owner: Option<PipeOwner>,
    /// See [`PipeConfig::directory`].
    pub hostpipe: Option<PathBuf>,
    /// See [`PipeConfig::records`].
    pub records: Option<PathBuf>,
    /// See [`PipeConfig::cgroup`].
    pub cgroup: Option<CgroupChoice>,
    /// See [`PipeConfig::site_file`].
    pub site_file: Option<PathBuf>,
    /// See [`NodeConfig::pressure`].
    pub pressure: PressureSettings,
    /// See [`NodeConfig::status_update_every`].
    pub status_update_every: Option<Duration>,
    /// See [`NodeConfig::status_report_every`].
    pub status_report_every: Option<Duration>,
    /// See [`NodeConfig::lease_duration`], in seconds.
    pub lease_duration_seconds: Option<u32>,
    /// See [`NodeConfig::ending`].
    pub ending: EndSettings,
    /// See [`NodeConfig::images`].
    pub images: Option<Vec<ImageRule>>,
    /// See [`NodeConfig::kubernetes_service`].
    pub kubernetes_service: Option<KubernetesService>,
    /// What is logged.
    pub log: Option<String>,
}

/// What may be said of each node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemberSettings {
    /// See [`MemberConfig::kubeconfig`].
    pub kubeconfig: Option<PathBuf>,
    /// See [`MemberConfig::address`].
    pub address: Option<IpAddr>,
    /// See [`MemberConfig::listen_address`].
    pub listen_address: Option<IpAddr>,
    /// See [`MemberConfig::port`].
    pub port: Option<u16>,
    /// See [`MemberConfig::max_pods`].
    pub max_pods: Option<u32>,
    /// See [`MemberConfig::labels`].
    pub labels: BTreeMap<String, String>,
    /// See [`MemberConfig::taints`].
    pub taints: Option<Vec<NodeTaint>>,
    /// See [`MemberConfig::capacity`].
    pub capacity: Resources,
    /// See [`MemberConfig::reserved`].
    pub reserved: Resources,
    /// The place that the node is at: the labels `vk-cmd.io/site` and `jiriaf.site`.
    pub site: Option<String>,
    /// The nodes that are run as one group: the label `vk-cmd.io/fleet`.
    pub fleet: Option<String>,
    /// What the node is, `cpu` say: the labels `vk-cmd.io/nodetype` and `jiriaf.nodetype`.
    pub node_type: Option<String>,
    /// See [`Walltime::said`].
    pub walltime: Option<Duration>,
    /// See [`Walltime::assumed`].
    pub assumed_walltime: Option<Duration>,
}

/// Which nodes a process makes.
#[derive(Clone, Debug, PartialEq)]
pub enum Names {
    /// One.
    One(NodeName),
    /// These, each with what it says of itself.
    Listed(Vec<(NodeName, MemberSettings)>),
    /// So many, named `{prefix}0`, `{prefix}1` and so on.
    Numbered {
        /// What their names begin with.
        prefix: String,
        /// How many.
        count: u32,
    },
}

/// Why there is nothing to start with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

impl MemberSettings {
    /// This layer over a lower one.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        let mut labels = lower.labels;
        labels.extend(self.labels);
        // An address is listened on where the layer says that names it.
        let listen_address = match self.address {
            Some(_) => self.listen_address,
            None => self.listen_address.or(lower.listen_address),
        };
        Self {
            kubeconfig: self.kubeconfig.or(lower.kubeconfig),
            address: self.address.or(lower.address),
            listen_address,
            port: self.port.or(lower.port),
            max_pods: self.max_pods.or(lower.max_pods),
            labels,
            taints: self.taints.or(lower.taints),
            capacity: self.capacity.over(lower.capacity),
            reserved: self.reserved.over(lower.reserved),
            site: self.site.or(lower.site),
            fleet: self.fleet.or(lower.fleet),
            node_type: self.node_type.or(lower.node_type),
            walltime: self.walltime.or(lower.walltime),
            assumed_walltime: self.assumed_walltime.or(lower.assumed_walltime),
        }
    }

    /// The node of this name. `number` is its place among all: nodes without a port of their own have ports in a row.
    fn finish(self, name: NodeName, number: usize, problems: &mut Vec<String>) -> MemberConfig {
        let mut own: BTreeMap<String, String> = BTreeMap::new();
        for (value, keys) in [
            (&self.site, &[labels::SITE, labels::JIRIAF_SITE][..]),
            (&self.fleet, &[labels::FLEET]),
            (&self.node_type, &[labels::NODE_KIND, labels::JIRIAF_NODE_TYPE]),
        ] {
            own.extend(value.iter().flat_map(|value| keys.iter().map(|key| ((*key).to_owned(), value.clone()))));
        }
        own.extend(self.labels);
        let first = self.port.unwrap_or(PORT);
        let port = if first == 0 { Some(0) } else { u16::try_from(usize::from(first) + number).ok() };
        if port.is_none() {
            problems.push(format!("{name} has no port: {first} is the first, and there are too many nodes"));
        }
        MemberConfig {
            name,
            kubeconfig: self.kubeconfig,
            address: self.address,
            listen_address: self.listen_address,
            port: port.unwrap_or_default(),
            max_pods: self.max_pods.unwrap_or(MAX_PODS),
            labels: own,
            taints: self.taints.unwrap_or_default(),
            capacity: self.capacity,
            reserved: self.reserved,
            walltime: Walltime { said: self.walltime, assumed: self.assumed_walltime },
        }
    }
}

impl Settings {
    /// This layer over a lower one.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        Self {
            names: self.names.or(lower.names),
            member: self.member.over(lower.member),
            tunnel: self.tunnel.over(lower.tunnel),
            relay: self.relay.over(lower.relay),
            client_ca_file: self.client_ca_file.or(lower.client_ca_file),
            certificates: self.certificates.over(lower.certificates),
            pipe_owner: self.pipe_owner.or(lower.pipe_owner),
            hostpipe: self.hostpipe.or(lower.hostpipe),
            records: self.records.or(lower.records),
            cgroup: self.cgroup.or(lower.cgroup),
            site_file: self.site_file.or(lower.site_file),
            pressure: self.pressure.over(lower.pressure),
            status_update_every: self.status_update_every.or(lower.status_update_every),
            status_report_every: self.status_report_every.or(lower.status_report_every),
            lease_duration_seconds: self.lease_duration_seconds.or(lower.lease_duration_seconds),
            ending: self.ending.over(lower.ending),
            images: self.images.or(lower.images),
            kubernetes_service: self.kubernetes_service.or(lower.kubernetes_service),
            log: self.log.or(lower.log),
        }
    }

    /// What comes of all layers, with the defaults for what none of them says. `home` is the user's home directory, where
    /// the pipe's directory is by default.
    ///
    /// # Errors
    /// All that is missing or does not fit together.
    pub fn finish(self, home: Option<PathBuf>) -> Result<NodeConfig, ConfigError> {
        let mut problems = Vec::new();
        let directory = self.hostpipe.or_else(|| home_pipe(home));
        if directory.is_none() {
            problems.push(NO_HOME.into());
        }
        let tunnel = self.tunnel.finish(&mut problems);
        let members = members(self.names, &self.member, tunnel.as_ref(), &mut problems);
        let relay = self.relay.finish(&mut problems);
        if let (Some(relay), Some(bind)) = (&relay, tunnel.as_ref().and_then(|tunnel| tunnel.bind)) {
            problems.push(format!(
                "the API server reaches the node by the relay {}, so the far end of the tunnel listens for nobody, on {bind} neither: leave \
                 out --tunnel-bind (bind in tunnel), or the relay",
                relay.addresses
            ));
        }
        if relay.is_none() {
            ports_are_their_own(&members, &mut problems);
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        let directory = directory.unwrap_or_default();
        Ok(NodeConfig {
            members,
            tunnel,
            relay,
            client_ca_file: self.client_ca_file,
            certificates: self.certificates.finish(&directory),
            pipe: PipeConfig {
                owner: self.pipe_owner.unwrap_or_default(),
                directory,
                records: self.records,
                cgroup: self.cgroup.unwrap_or_default(),
                site_file: self.site_file,
            },
            pressure: self.pressure.finish(),
            status_update_every: self.status_update_every.unwrap_or(STATUS_UPDATE_EVERY),
            status_report_every: self.status_report_every.unwrap_or(STATUS_REPORT_EVERY),
            lease_duration: self
                .lease_duration_seconds
                .map_or(LEASE_DURATION, |seconds| SignedDuration::from_secs(seconds.into())),
            ending: self.ending.finish(),
            images: self.images.unwrap_or_default(),
            kubernetes_service: self.kubernetes_service,
        })
    }
}

/// Two nodes cannot listen at one place.
fn ports_are_their_own(members: &[MemberConfig], problems: &mut Vec<String>) {
    let mut taken: HashMap<_, &NodeName> = HashMap::new();
    for member in members.iter().filter(|member| member.port != 0) {
        let place = (member.listen_address.or(member.address), member.port);
        if let Some(other) = taken.insert(place, &member.name) {
            let (port, name) = (member.port, &member.name);
            problems.push(format!(
                "nodes: {other} and {name} both have the port {port}: give each its own, or 0 for any that is free"
            ));
        }
    }
}

fn members(
    names: Option<Names>,
    common: &MemberSettings,
    tunnel: Option<&TunnelConfig>,
    problems: &mut Vec<String>,
) -> Vec<MemberConfig> {
    let all: Vec<(NodeName, MemberSettings)> = match names {
        None => {
            problems.push(
                "the node has no name: give one with --node-name, $JOBNAME, $NODENAME, or nodeName in the file of --config (which \
                 vk-node init and vk-node join write)"
                    .into(),
            );
            return Vec::new();
        }
        Some(Names::One(name)) => vec![(name, MemberSettings::default())],
        Some(Names::Listed(all)) => all,
        Some(Names::Numbered { prefix, count }) => {
            let named = (0..count).map(|n| NodeName::parse(&format!("{prefix}{n}")));
            match named.collect::<Result<Vec<_>, _>>() {
                Ok(names) => names.into_iter().map(|name| (name, MemberSettings::default())).collect(),
                Err(error) => {
                    problems.push(format!("nodes: {error}"));
                    return Vec::new();
                }
            }
        }
    };
    if all.is_empty() {
        problems.push("nodes: there is none: write at least one".into());
    }
    let mut seen = HashSet::new();
    for (name, _) in &all {
        if !seen.insert(name) {
            problems.push(format!("nodes: {name} stands there twice"));
        }
    }
    // A node's own port is its own; the others have ports in a row.
    let mut in_a_row = 0;
    let mut made = Vec::with_capacity(all.len());
    for (name, own) in all {
        let number = if own.port.is_some() { 0 } else { in_a_row };
        in_a_row += usize::from(own.port.is_none());
        let settings = own.over(common.clone());
        let settings = match tunnel {
            Some(tunnel) => tunnel.defaults(settings, problems),
            None => settings,
        };
        made.push(settings.finish(name, number, problems));
    }
    made
}
