//! `vk-operator relay`: where nodes that nobody can dial dial in. The relay itself is the crate [`vk_relay`]; here are its
//! command line, and where it has the authority from that signs nodes' certificates.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::warn;
use vk_relay::Limits;
use vk_relay_core::ports::PortRange;

use crate::api::call;
use crate::cli::{HealthAddress, duration};
use crate::{log, run};

/// Where a cluster has the authority that signs the certificates of its clients.
const NAMESPACE: &str = "kube-system";
const CONFIG_MAP: &str = "extension-apiserver-authentication";
const KEY: &str = "client-ca-file";
/// How often that is looked at, and how soon again after it could not be.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(5);

/// The arguments of `vk-operator relay`.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// Where nodes dial.
    #[arg(long, env = "VK_RELAY_LISTEN_ADDRESS", value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8443")]
    pub listen_address: SocketAddr,

    /// The relay's own address, at which the API server reaches it: the pod's.
    #[arg(long, env = "VK_RELAY_ADVERTISE_ADDRESS", value_name = "IP")]
    pub advertise_address: IpAddr,

    /// The address whose ports the API server dials, if it is another than the one that is advertised.
    #[arg(long, env = "VK_RELAY_BIND_ADDRESS", value_name = "IP")]
    pub bind_address: Option<IpAddr>,

    /// The ports of that address that nodes are given, one each.
    #[arg(long, env = "VK_RELAY_NODE_PORTS", value_name = "FIRST-LAST", default_value = "20000-29999")]
    pub node_ports: PortRange,

    /// How long a port stays with a node that is away, even if there is no other left for a new node. The API server takes
    /// who answers there for that node as long as its Node object says so.
    #[arg(long, env = "VK_RELAY_PORT_HOLD", value_name = "DURATION", default_value = "168h", value_parser = duration)]
    pub port_hold: Duration,

    /// Where it is kept which port is whose. It should last as long as the address does. Without it a node may get another's
    /// port after a restart.
    #[arg(long, env = "VK_RELAY_STATE_FILE", value_name = "FILE")]
    pub state_file: Option<PathBuf>,

    /// The relay's certificate, for the name by which nodes dial it, with those that lead to the authority that nodes know.
    /// It is read again within a minute when it is replaced, as is the key.
    #[arg(long, env = "VK_RELAY_TLS_CERT_FILE", value_name = "FILE")]
    pub tls_cert_file: PathBuf,

    /// Its key.
    #[arg(long, env = "VK_RELAY_TLS_KEY_FILE", value_name = "FILE")]
    pub tls_key_file: PathBuf,

    /// The certificate authority that signs nodes' client certificates. Without it: what the cluster says in the ConfigMap
    /// kube-system/extension-apiserver-authentication.
    #[arg(long, env = "VK_RELAY_CLIENT_CA_FILE", value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// The kubeconfig to read that with. Without it: $KUBECONFIG, ~/.kube/config, or the pod's own ServiceAccount.
    #[arg(long, env = "VK_RELAY_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// How many nodes may be connected at a time.
    #[arg(long, env = "VK_RELAY_MAX_NODES", value_name = "N", default_value_t = 2000)]
    pub max_nodes: usize,

    /// How many connections of the API server are passed on to one node at a time.
    #[arg(long, env = "VK_RELAY_MAX_STREAMS_PER_NODE", value_name = "N", default_value_t = 128)]
    pub max_streams_per_node: usize,

    /// How many to all nodes. Each costs some 400 KiB at most, where one side does not read.
    #[arg(long, env = "VK_RELAY_MAX_STREAMS", value_name = "N", default_value_t = 2048)]
    pub max_streams: usize,

    /// How long whoever dials may take until it is known who it is.
    #[arg(long, env = "VK_RELAY_HANDSHAKE_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub handshake_timeout: Duration,

    /// How long what is open goes on after the relay was told to end.
    #[arg(long, env = "VK_RELAY_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "25s", value_parser = duration)]
    pub drain_timeout: Duration,

    /// Where to serve /livez, /readyz and /metrics, e.g. 0.0.0.0:8080. Empty: nowhere.
    #[arg(long, env = "VK_RELAY_HEALTH_ADDRESS", value_name = "ADDRESS:PORT", default_value = "")]
    pub health_address: HealthAddress,

    /// What to log, as tracing's EnvFilter: error, warn, info, debug, trace, or by module.
    #[arg(long, env = "VK_RELAY_LOG", value_name = "FILTER", default_value = "info")]
    pub log_level: tracing_subscriber::EnvFilter,
}

/// How many handshakes are under way at a time: enough to keep a processor busy, and no more than memory for.
const HANDSHAKES: usize = 128;

/// Runs the relay until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot be started, or cannot go on.
pub async fn run(args: RelayArgs) -> anyhow::Result<()> {
    let log = log::begin(&args.log_level, None).context("cannot begin to log")?;
    let config = config(&args)?;
    let client_ca = watch::Sender::new(None);
    let known = client_ca.subscribe();
    let shutdown = run::shutdown()?;
    let authority: std::pin::Pin<Box<dyn Future<Output = ()>>> = match &args.client_ca_file {
        Some(file) => {
            client_ca.send_replace(Some(read(file)?));
            Box::pin(follow_file(file.clone(), client_ca))
        }
        None => {
            let kube = run::kube_config(args.kubeconfig.as_deref()).await.context(
                "the relay has no authority that signs nodes' certificates: name a file with --client-ca-file, or let it \
                 read the cluster's",
            )?;
            let client = vk_api_client::client(&kube).context("cannot set up the way to the API server")?;
            Box::pin(follow_cluster(client, client_ca))
        }
    };
    // Cancel-safe: the others only read, and go on for ever.
    let ended = tokio::select! {
        ended = Box::pin(vk_relay::run(config, known, shutdown)) => ended,
        () = authority => Ok(()),
        () = log.run() => Ok(()),
    };
    ended.context("the relay has stopped")
}

fn config(args: &RelayArgs) -> anyhow::Result<vk_relay::Config> {
    Ok(vk_relay::Config {
        listen: args.listen_address,
        advertise: args.advertise_address,
        bind: args.bind_address.unwrap_or(args.advertise_address),
        ports: args.node_ports,
        hold: args.port_hold.try_into().context("--port-hold is longer than there is time")?,
        state_file: args.state_file.clone(),
        certificate_file: args.tls_cert_file.clone(),
        key_file: args.tls_key_file.clone(),
        limits: Limits {
            nodes: args.max_nodes,
            streams_per_node: args.max_streams_per_node,
            streams: args.max_streams,
            handshakes: HANDSHAKES,
            handshake: args.handshake_timeout,
        },
        health: args.health_address.0,
        drain: args.drain_timeout,
    })
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Tells what is in the file, for ever.
async fn follow_file(file: PathBuf, told: watch::Sender<Option<Vec<u8>>>) {
    loop {
        sleep(LOOK_EVERY).await;
        // One that is not there for a moment is about to be.
        if let Ok(pem) = read(&file) {
            tell(&told, pem);
        }
    }
}

/// Tells what the cluster says, for ever.
async fn follow_cluster(client: Client, told: watch::Sender<Option<Vec<u8>>>) {
    let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
    loop {
        let pause = match call("read the authority of clients", maps.get(CONFIG_MAP)).await {
            Ok(map) => match map.data.and_then(|mut data| data.remove(KEY)) {
                Some(pem) => {
                    tell(&told, pem.into_bytes());
                    LOOK_EVERY
                }
                None => {
                    warn!(
                        "the ConfigMap {NAMESPACE}/{CONFIG_MAP} has no {KEY}: this cluster knows no client by a \
                         certificate. Name the authority with --client-ca-file"
                    );
                    LOOK_EVERY
                }
            },
            Err(error) => {
                warn!("{:#}; trying again", anyhow::Error::from(error));
                AGAIN
            }
        };
        sleep(pause).await;
    }
}

fn tell(told: &watch::Sender<Option<Vec<u8>>>, pem: Vec<u8>) {
    told.send_if_modified(|before| {
        let is_new = before.as_ref() != Some(&pem);
        *before = Some(pem);
        is_new
    });
}
