//! Who the node is: to the API server, and to those who ask its own API.
//!
//! ```text
//!   bootstrap token ──▶ request ── approved, signed ──▶ client certificate ──▶ Client (changes inside, for ever the same)
//!                          ▲                                  │ most of its time is over
//!                          └──────────────────────────────────┘ asked for by itself
//!
//!   self-signed ──▶ Serving (what new handshakes show) ◀── signed ── request by the Client, again when it grows old
//! ```
//!
//! What is asked for and when is decided in [`vk_node_core::certificates`]. Both certificates are on disk, in the kubelet's
//! layout, so that a node that starts again asks for nothing. Connections that are open when a certificate changes stay
//! as they are: a watch goes on, and so does whoever follows a log.

mod client;
mod dial;
mod files;
mod identity;
mod kubeconfig;
mod managed;
mod pair;
mod serving;
mod signing;
mod store;

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use kube::{Client, Config};
use vk_cmd_crds::NodeName;
use vk_cmd_crds::certificates::Purpose;
use vk_node_core::certificates::Rotation;
use vk_node_core::config::CertificateConfig;

use self::dial::Dial;
use crate::tunnel::Tunnel;

pub(crate) use dial::endpoint;
pub(crate) use identity::{ClientPair, Identity, certificate};
pub(crate) use kubeconfig::{of_one, pem_of};
pub(crate) use serving::{Serving, Shown};
pub(crate) use store::keep_private;

/// The longest that one wait is, so that a clock that jumps is noticed.
const LOOK_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// A way to the API server.
pub(crate) struct Established {
    /// The client. What it shows of itself changes while it is used.
    pub(crate) client: Client,
    /// Where the API server is and whom it is known by; its credentials are not to be used.
    pub(crate) config: Config,
    /// What the node shows of itself elsewhere.
    pub(crate) identity: Identity,
    /// Keeps the client's credentials good. Must be run.
    pub(crate) keeper: Keeper,
}

/// What keeps a client's credentials good.
pub(crate) enum Keeper {
    /// They do not change.
    Nothing,
    /// They are in files that others replace.
    Files(Box<files::Files>),
    /// They are certificates that the node asks for itself.
    Managed(Box<managed::Managed>),
}

/// Finds a node's way to the API server, by the tunnel if there is one, waiting for its first certificate as long as it takes.
///
/// # Errors
/// When what is given leads nowhere.
pub(crate) async fn establish(
    kubeconfig: Option<&Path>,
    certificates: &CertificateConfig,
    node: &NodeName,
    tunnel: Option<Tunnel>,
) -> anyhow::Result<Established> {
    let dial = Dial::new(tunnel);
    if is_managed(kubeconfig, certificates, node) {
        return managed::establish(bootstrap(certificates, node), certificates, node, dial).await;
    }
    let config = kubeconfig::read(kubeconfig).await?;
    let client = dial.client(&config)?;
    let identity = Identity::Login(Box::new(config.auth_info.clone()));
    Ok(match files::Files::of(&config, dial) {
        Some(files) => {
            let (client, files) = files.watched(client);
            Established { client, config, identity, keeper: Keeper::Files(Box::new(files)) }
        }
        None => Established { client, config, identity, keeper: Keeper::Nothing },
    })
}

/// What a node would show of itself at its next start.
pub(crate) struct Present {
    /// The way to the API server.
    pub(crate) config: Config,
    /// The same, to be asked.
    pub(crate) client: Client,
    /// Whether it is only good for asking for a certificate.
    pub(crate) is_bootstrap: bool,
}

/// What a node would show of itself at its next start, without asking for anything.
///
/// # Errors
/// When what is given leads nowhere.
pub(crate) async fn present(
    kubeconfig: Option<&Path>,
    certificates: &CertificateConfig,
    node: &NodeName,
) -> anyhow::Result<Present> {
    let own = own(certificates, node);
    let (config, is_bootstrap) = if !is_managed(kubeconfig, certificates, node) {
        (kubeconfig::read(kubeconfig).await?, false)
    } else {
        match bootstrap(certificates, node).filter(|_| !own.exists()) {
            Some(file) => (kubeconfig::read(Some(file)).await?, true),
            None => (kubeconfig::read(Some(&own)).await?, false),
        }
    };
    let client = Dial::new(None).client(&config)?;
    Ok(Present { config, client, is_bootstrap })
}

/// What one of the nodes that go by `server` shows of itself elsewhere: a certificate of its own that is where a node keeps
/// it, or what all of them go by.
pub(crate) fn identity(certificates: &CertificateConfig, node: &NodeName, server: &Identity) -> Identity {
    let own = store::current_path(&certificates.directory_of(node), Purpose::Client);
    if own.exists() { Identity::File(own) } else { server.clone() }
}

/// Whether the node asks for its certificate itself: its way to the API server is then nobody else's.
pub(crate) fn is_managed(kubeconfig: Option<&Path>, certificates: &CertificateConfig, node: &NodeName) -> bool {
    bootstrap(certificates, node).is_some() || (kubeconfig.is_none() && own(certificates, node).exists())
}

/// The kubeconfig that the node asks for its first certificate with. A file that is gone by now has done its work.
fn bootstrap<'a>(certificates: &'a CertificateConfig, node: &NodeName) -> Option<&'a Path> {
    let file = certificates.bootstrap_kubeconfig.as_deref();
    file.filter(|file| file.exists() || !own(certificates, node).exists())
}

/// The kubeconfig that the node has written itself.
fn own(certificates: &CertificateConfig, node: &NodeName) -> PathBuf {
    certificates.directory_of(node).join(kubeconfig::OWN)
}

impl Keeper {
    /// Does so, for ever.
    pub(crate) async fn keep(self) {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Files(files) => files.keep().await,
            Self::Managed(managed) => managed.keep().await,
        }
    }
}

/// What does not change about the requests of one node.
#[derive(Clone)]
struct Terms {
    directory: PathBuf,
    lifetime: Option<i32>,
    rotate_after: Option<SignedDuration>,
}

impl Terms {
    fn of(certificates: &CertificateConfig, node: &NodeName) -> Self {
        let seconds = |time: std::time::Duration| i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        Self {
            directory: certificates.directory_of(node),
            lifetime: certificates.lifetime.map(seconds),
            rotate_after: certificates
                .rotate_after
                .map(|time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)),
        }
    }

    /// When a certificate that is taken into use now is to be replaced.
    fn rotation(&self) -> Rotation {
        self.rotate_after.map_or_else(|| Rotation::Jittered(random()), Rotation::After)
    }
}

/// A random number from 0 to 1.
fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness there would be no key to rotate; the middle will do.
    match rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}

/// Waits for a time of the clock on the wall, which may jump.
async fn wait_until(time: Timestamp) {
    loop {
        let left = time.duration_since(Timestamp::now());
        if left <= SignedDuration::ZERO {
            return;
        }
        tokio::time::sleep(std::time::Duration::try_from(left.min(LOOK_EVERY)).unwrap_or_default()).await;
    }
}
