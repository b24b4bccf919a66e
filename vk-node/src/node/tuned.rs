//! What of the configuration has changed since the process was started.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use vk_node_core::config::{NodeConfig, Pressure, Tunable};

/// What may change while nodes run, as it is now. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tuned(watch::Receiver<Arc<All>>);

/// By which it is changed.
pub(super) struct Tuning(watch::Sender<Arc<All>>);

struct All {
    nodes: HashMap<String, Tunable>,
    pressure: Pressure,
}

impl All {
    fn of(config: &NodeConfig) -> Self {
        let node = |member| (Tunable::of(member), member);
        let nodes = config.members.iter().map(node).map(|(tunable, member)| (member.name.as_str().to_owned(), tunable));
        Self { nodes: nodes.collect(), pressure: config.pressure }
    }
}

impl Tuning {
    /// As it is at the start.
    pub(super) fn new(config: &NodeConfig) -> Self {
        Self(watch::Sender::new(Arc::new(All::of(config))))
    }

    /// For those who go by it.
    pub(super) fn tuned(&self) -> Tuned {
        Tuned(self.0.subscribe())
    }

    /// Takes up a configuration that was read again. Nodes that are not in it stay as they are.
    pub(super) fn take_up(&self, config: &NodeConfig) {
        self.0.send_modify(|all| {
            let new = All::of(config);
            let mut nodes = all.nodes.clone();
            for (name, tunable) in new.nodes {
                // One that is new begins with the next start.
                if let Some(known) = nodes.get_mut(&name) {
                    *known = std::mem::take(known).after(tunable);
                }
            }
            *all = Arc::new(All { nodes, pressure: new.pressure });
        });
    }
}

impl Tuned {
    /// What it is for a node.
    pub(crate) fn node(&self, name: &str) -> Tunable {
        self.0.borrow().nodes.get(name).cloned().unwrap_or_default()
    }

    /// When a node is short of something.
    pub(super) fn pressure(&self) -> Pressure {
        self.0.borrow().pressure
    }

    /// Waits for a change. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
