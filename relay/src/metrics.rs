//! What the relay measures.

use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};
use strum::VariantArray as _;

/// What is measured.
pub(crate) struct Metrics {
    registry: Registry,
    nodes: IntGauge,
    welcomed: IntCounter,
    refused: IntCounterVec,
    streams: IntGauge,
    opened: IntCounter,
    turned_away: IntCounterVec,
    bytes: IntCounterVec,
}

/// Why whoever dialled was not let in.
#[derive(Clone, Copy, Debug, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Refused {
    /// No handshake: no certificate of the cluster's authority, or another protocol, or too slow.
    Handshake,
    /// Somebody whom the authority knows and who is no vk-node.
    NotANode,
    /// There is no place for another node.
    Full,
    /// The authority is not known yet.
    NotReady,
}

/// Why a connection to a node's port was not passed on.
#[derive(Clone, Copy, Debug, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Turned {
    /// It does not begin as TLS does.
    NotTls,
    /// There are too many of them.
    Busy,
    /// The node has not taken it.
    ByNode,
}

/// A stream that is open, for as long as this is there.
pub(crate) struct Open<'a>(&'a IntGauge);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(crate) fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let counters = |name: &str, help: &str, label: &str| -> prometheus::Result<IntCounterVec> {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let this = Self {
            nodes: gauge("vk_relay_nodes", "Nodes that are connected.")?,
            welcomed: counter("vk_relay_welcomed_total", "Connections of nodes that were let in.")?,
            refused: counters("vk_relay_refused_total", "Connections that were not let in.", "why")?,
            streams: gauge("vk_relay_streams", "Connections to nodes' ports that are passed on now.")?,
            opened: counter("vk_relay_streams_total", "Connections to nodes' ports that were passed on.")?,
            turned_away: counters("vk_relay_turned_away_total", "Those that were not.", "why")?,
            bytes: counters("vk_relay_bytes_total", "Bytes that were passed on.", "direction")?,
            registry,
        };
        // What has not happened yet is there as 0: Prometheus sees no increase to the first value of what was not there.
        for why in Refused::VARIANTS {
            this.refused.with_label_values(&[<&str>::from(why)]);
        }
        for why in Turned::VARIANTS {
            this.turned_away.with_label_values(&[<&str>::from(why)]);
        }
        this.bytes();
        Ok(this)
    }

    /// So many nodes are here.
    pub(crate) fn nodes(&self, count: usize) {
        self.nodes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn welcomed(&self) {
        self.welcomed.inc();
    }

    pub(crate) fn refused(&self, why: Refused) {
        self.refused.with_label_values(&[<&str>::from(why)]).inc();
    }

    /// A stream has been opened.
    pub(crate) fn stream(&self) -> Open<'_> {
        self.opened.inc();
        self.streams.inc();
        Open(&self.streams)
    }

    pub(crate) fn open_streams(&self) -> i64 {
        self.streams.get()
    }

    pub(crate) fn turned_away(&self, why: Turned) {
        self.turned_away.with_label_values(&[<&str>::from(why)]).inc();
    }

    /// What counts the bytes to nodes, and from them.
    pub(crate) fn bytes(&self) -> (IntCounter, IntCounter) {
        (self.bytes.with_label_values(&["to_node"]), self.bytes.with_label_values(&["from_node"]))
    }

    /// For Prometheus.
    pub(crate) fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing to memory does not fail, and what is registered can be written.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}
