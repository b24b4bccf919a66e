//! What a node and its pods use, as the kubelet tells it: see docs/reference/metrics.md.
//!
//! ```text
//!   Stats of the pipe, now and a little before ──┐
//!   the pods of the node ────────────────────────┴──gather──▶ Summary ──▶ /stats/summary (JSON)
//!                                                                └──text──▶ /metrics/resource (for Prometheus)
//! ```

mod gather;
mod resource;
pub mod summary;
pub mod text;

pub use self::gather::{Given, gather};
pub use self::resource::resource_metrics;
