//! Whether a node that is to go has anything left: to run, or to tell.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use tracing::warn;
use vk_api_client::chain;

use super::{Context, call};

impl Context {
    /// Whether nothing of the node's pods runs and the end of each is told, as far as is known here.
    pub(crate) async fn is_cleared(&self) -> bool {
        // Until the watch has told of them, none of the pods is known.
        self.pods.wait_until_ready().await.is_ok()
            && self.mirror.is_live()
            && self.all_are_told()
            && self.nothing_runs()
    }

    /// The same, and the API server has no pod here that is not over: one may have been placed a moment ago.
    pub(crate) async fn is_cleared_for_good(&self) -> bool {
        let open = format!("spec.nodeName={},status.phase!=Succeeded,status.phase!=Failed", self.node.name);
        // Without a resource version it is answered from what is agreed on at this moment.
        let pods: Api<Pod> = Api::all(self.client.clone());
        match call(pods.list_metadata(&ListParams::default().fields(&open))).await {
            Ok(list) => list.items.is_empty() && self.is_cleared().await,
            Err(error) => {
                warn!("cannot see whether pods are left: {}; trying again", chain(&error));
                false
            }
        }
    }

    fn nothing_runs(&self) -> bool {
        let pods = self.mirror.pods_of(&self.node.name);
        pods.iter().all(|key| self.mirror.of_pod(&key.uid).iter().all(|task| task.state.is_final()))
    }

    fn all_are_told(&self) -> bool {
        self.pods.state().iter().all(|kept| kept.read().is_ok_and(|pod| self.memory.is_over(&pod)))
    }
}
