//! What a node and its pods use, as the kubelet tells it: see docs/metrics.md.

pub mod text;
