//! How many pods the node has refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use vk_node_core::admit::Refusal;

/// How many, by the kubelet's names of what for, for `/metrics`. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rejections(Arc<Mutex<BTreeMap<String, u64>>>);

impl Rejections {
    pub(super) fn count(&self, refusal: &Refusal) {
        // A panic of another holder leaves the map whole.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(refusal.counted_as()).or_default() += 1;
    }

    /// So far.
    pub(crate) fn so_far(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
