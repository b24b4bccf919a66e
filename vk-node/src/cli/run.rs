//! The flags of `vk-node run`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use vk_cmd_crds::NodeName;
use vk_node_core::config::{
    CertificateSettings, EndSettings, MemberSettings, Names, PipeOwner, RelayAddresses, RelaySettings, Resources,
    Settings, TunnelSettings, home_pipe,
};
use vk_node_core::ending::{self, OnTerm, Warning};
use vk_node_core::profile;
use vk_node_core::tunnel::{Bind, Destination};
use vk_task::CgroupChoice;

use crate::join;

use super::values::{label, numbered, on_term, resource};

/// What the pipe is started with; a node passes it on to the pipe that it starts.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Pipe {
    /// The directory by which the pipe is reached [default: $HOME/hostpipe].
    #[arg(long, env = "VK_NODE_HOSTPIPE", value_name = "DIR")]
    pub(super) hostpipe: Option<PathBuf>,
    /// Where records and logs of tasks go, on a disk of this host [default: the pipe's directory, or where that is on a
    /// shared file system the first local one of /var/tmp, /tmp, $TMPDIR].
    #[arg(long, env = "VK_NODE_RECORDS", value_name = "DIR")]
    pub(super) records: Option<PathBuf>,
    /// The cgroup (version 2) that is delegated for tasks: `auto` takes the pipe's own if it is delegated, `off` takes
    /// none [default: auto].
    #[arg(long, env = "VK_NODE_CGROUP", value_name = "DIR|auto|off")]
    pub(super) cgroup: Option<CgroupChoice>,
    /// What the site allows [default: /etc/vk-cmd/site.yaml, or else site.yaml in the pipe's directory, if there].
    #[arg(long, env = "VK_NODE_SITE", value_name = "FILE")]
    pub(super) site: Option<PathBuf>,
}

/// The settings that are wanted most; the file of `--config` has all of them. See docs/reference/node.md.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Run {
    /// The file with the node's settings: docs/reference/node.md. What is given here stands over it [default: node.yaml in the pipe's
    /// directory, if it is there, or else what vk-node join has written].
    #[arg(long, env = "VK_NODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The node's name: `vk-` and then lower-case letters, digits, dashes and dots.
    #[arg(long, env = "JOBNAME", value_name = "NAME", value_parser = |text: &str| NodeName::parse(text))]
    node_name: Option<NodeName>,
    /// Many nodes in this process, named PREFIX0, PREFIX1 and so on.
    #[arg(long, value_name = "PREFIX=COUNT", value_parser = numbered)]
    nodes: Option<Names>,
    /// The kubeconfig by which the API server is reached [default: as kubectl finds it].
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Who runs the pipe [default: node].
    #[arg(long, value_enum)]
    pipe: Option<Owner>,
    #[command(flatten)]
    own_pipe: Pipe,
    /// The address at which the API server reaches this node [default: the one used to reach the API server].
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The address that the node listens on [default: the address].
    #[arg(long, value_name = "IP")]
    listen_address: Option<IpAddr>,
    /// The port of the kubelet's API; 0 takes any that is free [default: 10250].
    #[arg(long, value_name = "PORT")]
    kubelet_port: Option<u16>,
    /// The certificate authority whose clients may ask the kubelet's API [default: that of the kubeconfig].
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    #[command(flatten)]
    certificates: Certificates,
    #[command(flatten)]
    tunnel: TunnelFlags,
    #[command(flatten)]
    relay: Relay,
    #[command(flatten)]
    end: End,
    /// How many pods this node takes [default: 250].
    #[arg(long, value_name = "N")]
    max_pods: Option<u32>,
    /// More labels for the node.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// More resources that the node offers and the scheduler counts: `nvidia.com/gpu=4`, say.
    #[arg(long = "resource", value_name = "NAME=COUNT", value_parser = resource)]
    resources: Vec<(String, u64)>,
}

/// A tunnel by ssh, for a site that nobody can connect to: docs/how-to/tunnel.md.
#[derive(Clone, Debug, Default, Args)]
struct TunnelFlags {
    /// Reach the API server, and be reached, through a connection of this machine's ssh: ssh:USER@HOST or ssh:NAME.
    #[arg(long, env = "VK_NODE_TUNNEL", value_name = "ssh:USER@HOST", value_parser = |text: &str| text.parse::<Destination>())]
    tunnel: Option<Destination>,
    /// What its far end listens on for this node, an address or * [default: the node's address, which is 127.0.0.1 then].
    #[arg(long, value_name = "IP", value_parser = |text: &str| text.parse::<Bind>())]
    tunnel_bind: Option<Bind>,
    /// The config that ssh reads instead of ~/.ssh/config.
    #[arg(long, value_name = "FILE")]
    tunnel_ssh_config: Option<PathBuf>,
}

/// The relay that the node dials where nobody can dial it: docs/how-to/relay.md.
#[derive(Clone, Debug, Default, Args)]
struct Relay {
    /// The relay by which the API server reaches this node; several with commas between them: the node is on one of them, and goes
    /// to the next when that is away. The node listens on no port then.
    #[arg(long, env = "VK_NODE_RELAY", value_name = "HOST:PORT", value_parser = |text: &str| text.parse::<RelayAddresses>())]
    relay: Option<RelayAddresses>,
    /// The certificate authority that the relay's certificate is of, or several of them.
    #[arg(long, env = "VK_NODE_RELAY_CA_FILE", value_name = "FILE")]
    relay_ca_file: Option<PathBuf>,
}

/// The end of the node: docs/explanation/walltime.md.
#[derive(Clone, Debug, Default, Args)]
struct End {
    /// How long the node is there, D-HH:MM:SS as sbatch --time takes it, or 2h30m; 0s: it has no end [default: what the batch
    /// system says of its job, or $JIRIAF_WALLTIME].
    #[arg(long, env = "VK_NODE_WALLTIME", value_name = "TIME", value_parser = |text: &str| ending::length(text))]
    walltime: Option<Duration>,
    /// The signal by which tasks are warned of the end, and how many seconds before it, as sbatch --signal takes it: USR1@120.
    /// Pods may name another by the annotation vk-cmd.io/warning-signal [default: none].
    #[arg(long, env = "VK_NODE_WARNING_SIGNAL", value_name = "SIGNAL[@SECONDS]", value_parser = |text: &str| text.parse::<Warning>())]
    warning_signal: Option<Warning>,
    /// What SIGTERM and SIGINT mean: `keep` ends this process only, and the next start goes on with the tasks; `end` ends the
    /// tasks too; `auto` is `end` in a job of a batch system [default: auto].
    #[arg(long, env = "VK_NODE_ON_TERM", value_name = "auto|keep|end", value_parser = on_term)]
    on_term: Option<OnTerm>,
    /// How many seconds after its SIGTERM the batch system sends SIGKILL: Slurm's KillWait [default: 30].
    #[arg(long, env = "VK_NODE_KILL_WAIT", value_name = "SECONDS")]
    kill_wait: Option<u64>,
}

/// The node's own certificates: docs/explanation/identity.md.
#[derive(Clone, Debug, Default, Args)]
struct Certificates {
    /// The kubeconfig of a bootstrap token, with which a node asks for its first certificate. It is not read any more once
    /// there is one; --kubeconfig is not read at all.
    #[arg(long, env = "VK_NODE_BOOTSTRAP_KUBECONFIG", value_name = "FILE")]
    bootstrap_kubeconfig: Option<PathBuf>,
    /// Where certificates are kept, each node's in a directory of its name [default: pki in the pipe's directory].
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Whether to ask the cluster for a serving certificate too; until there is one, or without, the node makes one itself
    /// [default: true].
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    server_tls_bootstrap: Option<bool>,
    /// How many seconds certificates are asked for. For tests.
    #[arg(long, value_name = "SECONDS", hide = true)]
    cert_lifetime: Option<u64>,
    /// After how many seconds a certificate is replaced. For tests.
    #[arg(long, value_name = "SECONDS", hide = true)]
    cert_rotate_after: Option<u64>,
}

/// The file of settings that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// None: flags and variables say all there is.
    None,
    /// This one.
    One(PathBuf),
    /// It cannot be told which of these: several nodes have joined, and none of them is named.
    Several(Vec<PathBuf>),
}

impl Meant {
    /// The file, if there is one, and only one.
    pub(crate) fn one(self) -> Option<PathBuf> {
        match self {
            Self::One(file) => Some(file),
            Self::None | Self::Several(_) => None,
        }
    }
}

/// Who runs the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Owner {
    /// The node starts one where none answers.
    Node,
    /// Somebody else starts it: the node is in a container, the pipe is on the host.
    External,
}

impl Run {
    /// With nothing but these: for commands that only look for the pipe.
    pub(crate) fn of(config: Option<PathBuf>, hostpipe: Option<PathBuf>) -> Self {
        Self { config, own_pipe: Pipe { hostpipe, ..Pipe::default() }, ..Self::default() }
    }

    /// The site's file, if it is named here.
    pub(crate) fn site_file(&self) -> Option<PathBuf> {
        self.own_pipe.site.clone()
    }

    /// The file of settings: the one that is named, or that of the pipe's directory if there is one, or the one that `vk-node join`
    /// has written.
    pub(crate) fn file(&self) -> Meant {
        if let Some(named) = &self.config {
            return Meant::One(named.clone());
        }
        let Some(hostpipe) = self.hostpipe() else { return Meant::None };
        let own = hostpipe.join(profile::CONFIG);
        if own.exists() {
            return Meant::One(own);
        }
        let mut joined = self.joined(&hostpipe);
        match joined.len() {
            0 | 1 => joined.pop().map_or(Meant::None, Meant::One),
            _ => Meant::Several(joined),
        }
    }

    /// What `vk-node join` has written, of the node that is named if one is. Whoever says by what else the node shows who it is means
    /// that, and not the fleet that the machine has joined.
    fn joined(&self, hostpipe: &Path) -> Vec<PathBuf> {
        if self.nodes.is_some() || self.certificates.bootstrap_kubeconfig.is_some() {
            return Vec::new();
        }
        let mut files = join::joined(hostpipe);
        if let Some(name) = &self.node_name {
            let is_its = |file: &PathBuf| file.parent().is_some_and(|parent| parent.ends_with(name.as_str()));
            files.retain(|file| self.kubeconfig.is_none() && is_its(file));
        }
        files
    }

    fn hostpipe(&self) -> Option<PathBuf> {
        self.own_pipe.hostpipe.clone().or_else(|| home_pipe(std::env::home_dir()))
    }
}

/// What flags and their variables say.
pub(super) fn given(run: Run) -> Settings {
    let Pipe { hostpipe, records, cgroup, site } = run.own_pipe;
    Settings {
        names: run.nodes.or(run.node_name.map(Names::One)),
        member: MemberSettings {
            kubeconfig: run.kubeconfig,
            address: run.address,
            listen_address: run.listen_address,
            port: run.kubelet_port,
            max_pods: run.max_pods,
            labels: run.labels.into_iter().collect(),
            capacity: Resources(run.resources.into_iter().collect()),
            walltime: run.end.walltime,
            ..MemberSettings::default()
        },
        tunnel: TunnelSettings {
            to: run.tunnel.tunnel,
            bind: run.tunnel.tunnel_bind,
            config_file: run.tunnel.tunnel_ssh_config,
            ..TunnelSettings::default()
        },
        relay: RelaySettings { addresses: run.relay.relay, ca_file: run.relay.relay_ca_file },
        ending: EndSettings {
            warning: run.end.warning_signal,
            on_term: run.end.on_term,
            kill_wait: run.end.kill_wait.map(Duration::from_secs),
            ..EndSettings::default()
        },
        client_ca_file: run.client_ca_file,
        certificates: CertificateSettings {
            bootstrap_kubeconfig: run.certificates.bootstrap_kubeconfig,
            directory: run.certificates.cert_dir,
            serving: run.certificates.server_tls_bootstrap,
            lifetime: run.certificates.cert_lifetime.map(Duration::from_secs),
            rotate_after: run.certificates.cert_rotate_after.map(Duration::from_secs),
        },
        pipe_owner: run.pipe.map(|owner| match owner {
            Owner::Node => PipeOwner::Node,
            Owner::External => PipeOwner::External,
        }),
        hostpipe,
        records,
        cgroup,
        site_file: site,
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_named_is_the_directorys_own_or_that_of_the_only_node_that_has_joined() {
        let directory = tempfile::tempdir().unwrap();
        let hostpipe = directory.path();
        let run = |node_name: Option<&str>| Run {
            node_name: node_name.map(|name| NodeName::parse(name).unwrap()),
            ..Run::of(None, Some(hostpipe.to_owned()))
        };
        let joins = |name: &str| {
            let place = hostpipe.join("join").join(name);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("node.yaml"), "").unwrap();
            place.join("node.yaml")
        };
        assert_eq!(run(None).file(), Meant::None);
        let a = joins("vk-a");
        assert_eq!(run(None).file(), Meant::One(a.clone()));
        let b = joins("vk-b");
        assert_eq!(run(None).file(), Meant::Several(vec![a.clone(), b.clone()]));
        assert_eq!(run(Some("vk-b")).file(), Meant::One(b.clone()));
        assert_eq!(run(Some("vk-c")).file(), Meant::None);
        // Who says by what the node shows who it is means that.
        let by_token =
            Certificates { bootstrap_kubeconfig: Some("token.kubeconfig".into()), ..Certificates::default() };
        assert_eq!(Run { certificates: by_token, ..run(None) }.file(), Meant::None);
        let own = hostpipe.join("node.yaml");
        std::fs::write(&own, "").unwrap();
        assert_eq!(run(None).file(), Meant::One(own));
        assert_eq!(Run::of(Some("named".into()), Some(hostpipe.to_owned())).file(), Meant::One("named".into()));
    }
}
