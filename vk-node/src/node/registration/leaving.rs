//! What a node that goes tells the API server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use tokio::time::{sleep, timeout};
use tracing::warn;
use vk_api_client::chain;
use vk_node_core::node::{self, Trouble};

use super::object::Presence;
use super::{Registration, lock};

/// The longest that a node takes to say good-bye.
const SIGN_OFF_TIMEOUT: Duration = Duration::from_secs(3);
/// The same of one that has ended: nothing else is left to be done, and its object stays if nobody hears of it. Who has sent TERM may not
/// wait so long.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a good-bye that was not taken.
const AGAIN: Duration = Duration::from_millis(500);

impl Registration {
    /// Says that the node has ended, so that nothing is placed on it any more. It is not gone yet.
    pub(in crate::node) async fn close(&self) -> anyhow::Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        let before = lock(&self.told).as_ref().map(|told| told.status.clone());
        self.publish(Some(&Trouble::Left), before.as_ref()).await
    }

    /// Says that the node is going, so that nothing is placed on it while its lease lasts, and gives its name back. One that `left`
    /// with nothing to be told any more says that too, and its object is removed by the operator. The name is given back last:
    /// whoever takes it then takes that word back.
    pub(in crate::node) async fn sign_off(&self, left: bool) {
        let work = async {
            while let Err(error) = self.good_bye(left).await {
                if !left {
                    return warn!("cannot say good-bye: {}; the lease will run out", chain(&*error));
                }
                warn!("cannot say good-bye: {}; trying again", chain(&*error));
                sleep(AGAIN).await;
            }
        };
        let limit = if left { LEAVE_TIMEOUT } else { SIGN_OFF_TIMEOUT };
        if timeout(limit, work).await.is_err() {
            warn!("the API server does not take the good-bye; the lease will run out");
        }
    }

    async fn good_bye(&self, left: bool) -> anyhow::Result<()> {
        let before = lock(&self.told).as_ref().map(|told| told.status.clone());
        let trouble = if left { Trouble::Left } else { Trouble::Shutdown };
        self.publish(Some(&trouble), before.as_ref()).await?;
        if left {
            let uid = self.lineage().first().cloned();
            self.write_marks(Some(node::left(uid.as_deref(), Timestamp::now()))).await?;
        }
        self.name.release().await
    }

    /// Takes back what has been told the API server of a node that ends while it is being registered: its name is free at once.
    pub(in crate::node) async fn withdraw(&self) {
        let is_there = match self.presence() {
            Presence::There => true,
            Presence::Absent => false,
            Presence::Unknown => self.is_there().await,
        };
        if is_there {
            return self.sign_off(false).await;
        }
        match timeout(SIGN_OFF_TIMEOUT, self.name.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("cannot give the name back: {}; the lease will run out", chain(&*error)),
            Err(_) => warn!("the API server does not answer; the lease, if there is one, will run out"),
        }
    }

    /// Whether the Node that was to be made is there. One of which nobody says anything is not told of, and lets its lease run out.
    async fn is_there(&self) -> bool {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let found = timeout(SIGN_OFF_TIMEOUT, nodes.get_metadata_opt(self.profile.name.as_str())).await;
        matches!(found, Ok(Ok(Some(_))))
    }
}
