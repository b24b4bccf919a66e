//! What is measured of the way in, and of the tunnel by which the API server is reached. See docs/reference/metrics.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vk_node_core::stats::text::{FamilyKind, Text};

/// What is measured. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Figures {
    /// Of the connection to the relay, where there is to be one.
    pub(crate) relay: Option<Counts>,
    /// Of the tunnel that all nodes of the process share, where there is to be one.
    pub(crate) tunnel: Option<Counts>,
}

/// What is counted of one connection that is made again and again. Cheap to clone: all clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_up: AtomicBool,
    made: AtomicU64,
    failed: AtomicU64,
    passed: AtomicU64,
}

impl Counts {
    /// It is up.
    pub(crate) fn up(&self) {
        self.0.made.fetch_add(1, Ordering::Relaxed);
        self.0.is_up.store(true, Ordering::Relaxed);
    }

    /// It is not any more, and nothing went wrong.
    pub(crate) fn down(&self) {
        self.0.is_up.store(false, Ordering::Relaxed);
    }

    /// It was lost, or did not come to be.
    pub(crate) fn failed(&self) {
        self.down();
        self.0.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection has come by it.
    pub(crate) fn passed(&self) {
        self.0.passed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Figures {
    /// Writes them down.
    pub(crate) fn write(&self, text: &mut Text) {
        if let Some(relay) = &self.relay {
            let said = [
                ("vk_node_relay_connected", "Whether a relay has let the node in, and the connection stands."),
                ("vk_node_relay_connections_total", "Times that a relay has let the node in."),
                ("vk_node_relay_failures_total", "Connections to a relay that were lost, or did not come to be."),
            ];
            relay.write(text, said);
            let help = "Connections to the kubelet's API that have come by the relay.";
            text.single("vk_node_relay_streams_total", help, FamilyKind::Counter, float(&relay.0.passed));
        }
        if let Some(tunnel) = &self.tunnel {
            let said = [
                ("vk_node_tunnel_connected", "Whether the tunnel is up."),
                ("vk_node_tunnel_connections_total", "Times that the tunnel came up."),
                ("vk_node_tunnel_failures_total", "Connections of the tunnel that were lost, or did not come to be."),
            ];
            tunnel.write(text, said);
        }
    }
}

impl Counts {
    /// Under these names: whether it is up, how often it was, how often it failed; each with what it means.
    fn write(&self, text: &mut Text, [up, made, failed]: [(&str, &str); 3]) {
        let is_up = f64::from(u8::from(self.0.is_up.load(Ordering::Relaxed)));
        text.single(up.0, up.1, FamilyKind::Gauge, is_up);
        text.single(made.0, made.1, FamilyKind::Counter, float(&self.0.made));
        text.single(failed.0, failed.1, FamilyKind::Counter, float(&self.0.failed));
    }
}

#[expect(clippy::cast_precision_loss, reason = "the format knows no other numbers")]
fn float(count: &AtomicU64) -> f64 {
    count.load(Ordering::Relaxed) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(figures: &Figures) -> String {
        let mut text = Text::default();
        figures.write(&mut text);
        let text = text.into_string();
        text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn a_way_that_is_lost_and_found_is_counted() {
        assert_eq!(written(&Figures::default()), "", "a node that listens itself has none");
        let (relay, tunnel) = (Counts::default(), Counts::default());
        let figures = Figures { relay: Some(relay.clone()), tunnel: Some(tunnel.clone()) };
        relay.failed();
        relay.up();
        relay.passed();
        tunnel.up();
        tunnel.down();
        let all = "vk_node_relay_connected 1\nvk_node_relay_connections_total 1\nvk_node_relay_failures_total 1\n\
                   vk_node_relay_streams_total 1\nvk_node_tunnel_connected 0\nvk_node_tunnel_connections_total 1\n\
                   vk_node_tunnel_failures_total 0\n";
        assert_eq!(written(&figures), all);
    }
}
