//! A client certificate that the node has asked for itself, and asks for again before its time is over.

use std::path::Path;

use anyhow::{Context, bail};
use jiff::Timestamp;
use kube::{Client, Config};
use tracing::{info, warn};
use vk_api_client::chain;
use vk_cmd_crds::NodeName;
use vk_cmd_crds::certificates::{Names, Purpose};
use vk_node_core::certificates::{self, Seen, Wanted};
use vk_node_core::config::CertificateConfig;

use super::client::Switch;
use super::dial::Dial;
use super::pair::Pair;
use super::store::Store;
use super::{Established, Identity, Keeper, Terms, kubeconfig, signing, wait_until};

/// What keeps the certificate good.
pub(crate) struct Managed {
    terms: Terms,
    store: Store,
    wanted: Wanted,
    config: Config,
    dial: Dial,
    bootstrap: Option<Client>,
    switch: Switch,
    seen: Seen,
    since: Timestamp,
}

/// A client with the node's own certificate: the one on disk, or a first one that `bootstrap` asks for, however long it
/// takes until somebody approves it.
pub(super) async fn establish(
    bootstrap: Option<&Path>,
    certificates: &CertificateConfig,
    node: &NodeName,
    dial: Dial,
) -> anyhow::Result<Established> {
    let terms = Terms::of(certificates, node);
    let store = Store::open(&terms.directory, Purpose::Client)?;
    let wanted = Wanted { purpose: Purpose::Client, node: node.as_str().to_owned(), names: Names::default() };
    let own = store.directory().join(kubeconfig::OWN);
    let before = if own.exists() { Some(kubeconfig::read(Some(&own)).await?) } else { None };
    let (config, bootstrap) = match (bootstrap, before.clone()) {
        (Some(file), _) => {
            let config = kubeconfig::read(Some(file)).await?;
            let client = dial.client(&config).context("the bootstrap kubeconfig cannot be used")?;
            (config, Some(client))
        }
        (None, Some(config)) => (config, None),
        (None, None) => bail!("there is no {} and no --bootstrap-kubeconfig", own.display()),
    };
    // A certificate of another cluster is none.
    let is_of_this_cluster = before
        .is_none_or(|before| (&before.cluster_url, &before.root_cert) == (&config.cluster_url, &config.root_cert));
    let kept = store.current().filter(|_| is_of_this_cluster);
    let usable = kept.and_then(|(pair, seen)| match certificates::usable(&seen, &wanted, Timestamp::now()) {
        Ok(()) => Some((pair, seen)),
        Err(why) => {
            warn!(file = %store.current_path().display(), "the client certificate cannot be used: {why}");
            None
        }
    });
    let (pair, seen) = match (usable, &bootstrap) {
        (Some(kept), _) => kept,
        (None, Some(client)) => signing::obtain(|| client.clone(), &wanted, &store, terms.lifetime).await,
        (None, None) => bail!(
            "there is no good client certificate in {}, and nothing to ask for one with: name a --bootstrap-kubeconfig",
            store.directory().display()
        ),
    };
    kubeconfig::write(store.directory(), &config, &store.current_path())?;
    let (switch, client) = Switch::new(client_of(&dial, &config, &pair)?);
    info!(directory = %store.directory().display(), until = %seen.not_after, "the node has a certificate of its own");
    let public = kubeconfig::with_pair(&config, &pair);
    let since = Timestamp::now();
    let identity = Identity::File(store.current_path());
    let managed = Managed { terms, store, wanted, config, dial, bootstrap, switch, seen, since };
    Ok(Established { client, config: public, identity, keeper: Keeper::Managed(Box::new(managed)) })
}

fn client_of(dial: &Dial, config: &Config, pair: &Pair) -> anyhow::Result<Client> {
    dial.client(&kubeconfig::with_pair(config, pair)).context("the client certificate cannot be used")
}

impl Managed {
    /// Replaces the certificate whenever most of its time is over, for ever.
    pub(super) async fn keep(mut self) {
        loop {
            let at = certificates::rotate_at(&self.seen, self.terms.rotation(), self.since);
            wait_until(at).await;
            let (pair, seen) = signing::obtain(|| self.asker(), &self.wanted, &self.store, self.terms.lifetime).await;
            match client_of(&self.dial, &self.config, &pair) {
                Ok(client) => self.switch.set(client),
                Err(error) => warn!("{}; going on with the one before", chain(&*error)),
            }
            (self.seen, self.since) = (seen, Timestamp::now());
        }
    }

    /// By whom the next certificate is asked for: by the node itself, or anew, if it has slept over its time.
    fn asker(&self) -> Client {
        match &self.bootstrap {
            Some(bootstrap) if self.seen.not_after <= Timestamp::now() => bootstrap.clone(),
            Some(_) | None => self.switch.get(),
        }
    }
}
