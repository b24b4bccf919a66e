//! What a node that goes tells the API server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use tracing::warn;
use vk_node_core::node::{self, Trouble};

use super::{Registration, lock};

/// The longest that a node takes to say good-bye.
const SIGN_OFF_TIMEOUT: Duration = Duration::from_secs(3);
/// The same of one that has ended: nothing else is left to be done.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

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
            let before = lock(&self.told).as_ref().map(|told| told.status.clone());
            let trouble = if left { Trouble::Left } else { Trouble::Shutdown };
            self.publish(Some(&trouble), before.as_ref()).await?;
            if left {
                let uid = self.lineage().first().cloned();
                self.write_marks(Some(node::left(uid.as_deref(), Timestamp::now()))).await?;
            }
            self.name.release().await
        };
        let limit = if left { LEAVE_TIMEOUT } else { SIGN_OFF_TIMEOUT };
        match timeout(limit, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("cannot say good-bye: {error:#}; the lease will run out"),
            Err(_) => warn!("the API server does not answer the good-bye; the lease will run out"),
        }
    }

    /// Takes back what has been told the API server of a node that ends while it is being registered: its name is free at once.
    pub(in crate::node) async fn withdraw(&self) {
        if self.has_node() {
            return self.sign_off(false).await;
        }
        match timeout(SIGN_OFF_TIMEOUT, self.name.release()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!("cannot give the name back: {error:#}; the lease will run out"),
            Err(_) => warn!("the API server does not answer; the lease, if there is one, will run out"),
        }
    }
}
