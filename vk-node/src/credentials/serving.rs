//! What the kubelet's API shows of the node: a certificate that the cluster has signed, or one of the node's own making.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, PostParams};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use vk_cmd_crds::NodeName;
use vk_cmd_crds::certificates::{Names, Purpose};
use vk_node_core::certificates::{self, Seen, Setback, Wanted};
use vk_node_core::config::CertificateConfig;

use super::store::Store;
use super::{Terms, pair, signing, wait_until};

/// The longest that one request to the API server may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The certificate of the moment. New handshakes show it; what is open stays open.
#[derive(Debug)]
pub(crate) struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// What keeps it good.
pub(crate) struct Serving {
    shown: Arc<Shown>,
    terms: Terms,
    store: Store,
    wanted: Wanted,
    /// What the one on disk says, if it is shown.
    signed: Option<Seen>,
    asks: bool,
}

impl Serving {
    /// Begins with the certificate on disk, if it is one for these names, or with one of our own making.
    ///
    /// # Errors
    /// When neither can be had.
    pub(crate) fn new(certificates: &CertificateConfig, node: &NodeName, names: Names) -> anyhow::Result<Self> {
        let terms = Terms::of(certificates, node);
        let store = Store::open(&terms.directory, Purpose::Serving)?;
        let wanted = Wanted { purpose: Purpose::Serving, node: node.as_str().to_owned(), names };
        let kept =
            store.current().and_then(|(pair, seen)| match certificates::usable(&seen, &wanted, Timestamp::now()) {
                Ok(()) => Some((pair.certified().ok()?, seen)),
                Err(why) => {
                    info!(file = %store.current_path().display(), "the serving certificate cannot be used: {why}");
                    None
                }
            });
        let (key, signed) = match kept {
            Some((key, seen)) => (key, Some(seen)),
            None => {
                let mut names = wanted.names.clone();
                names.dns.insert(wanted.node.clone());
                (pair::self_signed(&names)?.certified()?, None)
            }
        };
        let shown = Arc::new(Shown(RwLock::new(key)));
        Ok(Self { shown, terms, store, wanted, signed, asks: certificates.serving })
    }

    /// For TLS.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        self.shown.clone()
    }

    /// Asks for a certificate where there is none yet, and again whenever most of its time is over, for ever. `client`
    /// must be the node itself: the signer gives nobody else a certificate for it.
    pub(crate) async fn keep(mut self, client: Client) {
        if !self.asks || self.wanted.names.is_empty() || !self.is_node(&client).await {
            return std::future::pending().await;
        }
        let mut since = Timestamp::now();
        loop {
            if let Some(seen) = &self.signed {
                wait_until(certificates::rotate_at(seen, self.terms.rotation(), since)).await;
            }
            let (pair, seen) = signing::obtain(|| client.clone(), &self.wanted, &self.store, self.terms.lifetime).await;
            match pair.certified() {
                Ok(key) => *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = key,
                Err(error) => warn!("{error:#}; going on with the certificate before"),
            }
            (self.signed, since) = (Some(seen), Timestamp::now());
        }
    }

    /// Whether the client is this node, to the API server.
    async fn is_node(&self, client: &Client) -> bool {
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let (plain, question) = (PostParams::default(), SelfSubjectReview::default());
        let mut tries = 0_u32;
        loop {
            match timeout(CALL_TIMEOUT, reviews.create(&plain, &question)).await {
                Ok(Ok(review)) => {
                    let user = review.status.and_then(|status| status.user_info).and_then(|user| user.username);
                    let user = user.unwrap_or_default();
                    let is_node = user == self.wanted.common_name();
                    if !is_node {
                        info!(
                            user,
                            "the serving certificate is one of our own making: only {} gets another",
                            self.wanted.common_name()
                        );
                    }
                    return is_node;
                }
                Ok(Err(error)) => debug!(%error, "cannot ask who we are"),
                Err(_) => debug!("cannot ask who we are: no answer"),
            }
            tries = tries.saturating_add(1);
            sleep(Duration::try_from(certificates::pause(Setback::Trouble, tries)).unwrap_or_default()).await;
        }
    }
}
