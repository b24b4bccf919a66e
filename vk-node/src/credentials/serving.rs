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
use vk_api_client::chain;
use vk_cmd_crds::NodeName;
use vk_cmd_crds::certificates::{Names, Purpose};
use vk_node_core::certificates::{self, Seen, Setback, Wanted};
use vk_node_core::config::CertificateConfig;

use super::store::Store;
use super::{Terms, pair, signing, wait_until};
use crate::way::Reached;

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

/// One of our own making, for the names that are wanted and the node's own.
fn own(wanted: &Wanted) -> anyhow::Result<Arc<CertifiedKey>> {
    let mut names = wanted.names.clone();
    names.dns.insert(wanted.node.clone());
    pair::self_signed(&names)?.certified()
}

/// The one on disk, if it is what is wanted.
fn kept(store: &Store, wanted: &Wanted) -> Option<(Arc<CertifiedKey>, Seen)> {
    let (pair, seen) = store.current()?;
    match certificates::usable(&seen, wanted, Timestamp::now()) {
        Ok(()) => Some((pair.certified().ok()?, seen)),
        Err(why) => {
            info!(file = %store.current_path().display(), "the serving certificate cannot be used: {why}");
            None
        }
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
        let (key, signed) = match kept(&store, &wanted) {
            Some((key, seen)) => (key, Some(seen)),
            None => (own(&wanted)?, None),
        };
        let shown = Arc::new(Shown(RwLock::new(key)));
        Ok(Self { shown, terms, store, wanted, signed, asks: certificates.serving })
    }

    /// For TLS.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        self.shown.clone()
    }

    /// Asks for a certificate where there is none yet, again whenever most of its time is over, and again when the node is
    /// reached elsewhere, for ever. `client` must be the node itself: the signer gives nobody else a certificate for it.
    pub(crate) async fn keep(mut self, client: Client, mut reach: Reached, hostname: &str) {
        if !self.asks || !self.is_node(&client).await {
            return std::future::pending().await;
        }
        let mut since = Timestamp::now();
        loop {
            let names = reach.borrow_and_update().map(|reach| Names::of(&reach.addresses(hostname)));
            self.be_for(names.unwrap_or_default());
            // Cancel-safe: a request that is not waited for any more is found again by its name, or runs out; and what was
            // signed is put into use without a wait between.
            tokio::select! {
                () = self.next(&client, &mut since) => {}
                // Where nobody is left to change it, it stays.
                Ok(()) = reach.changed() => {}
            }
        }
    }

    /// The names that it is to be for from now on. What the cluster has signed for those before is shown until there is
    /// another: who does not look at names is served by it.
    fn be_for(&mut self, names: Names) {
        if names.is_empty() || names == self.wanted.names {
            return;
        }
        self.wanted.names = names;
        let before = self.signed.take();
        match kept(&self.store, &self.wanted) {
            Some((key, seen)) => {
                self.show(key);
                self.signed = Some(seen);
            }
            None if before.is_some() => {}
            None => match own(&self.wanted) {
                Ok(key) => self.show(key),
                Err(error) => warn!("{}; going on with the certificate before", chain(&*error)),
            },
        }
    }

    /// Waits until the next certificate is due, and gets it.
    async fn next(&mut self, client: &Client, since: &mut Timestamp) {
        if self.wanted.names.is_empty() {
            return std::future::pending().await;
        }
        if let Some(seen) = &self.signed {
            wait_until(certificates::rotate_at(seen, self.terms.rotation(), *since)).await;
        }
        let (pair, seen) = signing::obtain(|| client.clone(), &self.wanted, &self.store, self.terms.lifetime).await;
        match pair.certified() {
            Ok(key) => self.show(key),
            Err(error) => warn!("{}; going on with the certificate before", chain(&*error)),
        }
        (self.signed, *since) = (Some(seen), Timestamp::now());
    }

    fn show(&self, key: Arc<CertifiedKey>) {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = key;
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
                Ok(Err(error)) => debug!(error = chain(&error), "cannot ask who we are"),
                Err(_) => debug!("cannot ask who we are: no answer"),
            }
            tries = tries.saturating_add(1);
            sleep(Duration::try_from(certificates::pause(Setback::Trouble, tries)).unwrap_or_default()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_reached_elsewhere_shows_a_certificate_for_there() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = CertificateConfig {
            bootstrap_kubeconfig: None,
            directory: directory.path().to_owned(),
            serving: true,
            lifetime: None,
            rotate_after: None,
        };
        // It does not know yet where it is reached.
        let mut serving = Serving::new(&certificates, &NodeName::parse("vk-a").unwrap(), Names::default()).unwrap();
        let shown = |serving: &Serving| serving.shown.0.read().unwrap().cert[0].clone();
        let is_for = |serving: &Serving, ip: [u8; 4]| {
            // An address in subjectAltName: its tag, its length, its bytes.
            let wanted = [&[0x87, 4][..], &ip].concat();
            shown(serving).windows(wanted.len()).any(|part| part == wanted)
        };
        let names = |ip: [u8; 4]| Names { ips: [ip.into()].into(), ..Names::default() };
        serving.be_for(names([10, 0, 0, 9]));
        assert!(is_for(&serving, [10, 0, 0, 9]) && !is_for(&serving, [10, 0, 0, 7]));
        let before = shown(&serving);
        serving.be_for(names([10, 0, 0, 9]));
        serving.be_for(Names::default());
        assert_eq!(shown(&serving), before, "that is no news");
        serving.be_for(names([10, 0, 0, 7]));
        assert!(is_for(&serving, [10, 0, 0, 7]) && !is_for(&serving, [10, 0, 0, 9]));
    }
}
