//! Amounts of resources as quantities, for a fleet's status.

use std::collections::BTreeMap;

use vk_cmd_crds::amounts::{Amounts, CPU};
use vk_cmd_crds::quantity::binary_text;

/// As Kubernetes writes them: {cpu: "2", memory: 4Gi, pods: "110"}.
pub(crate) fn quantities(amounts: &Amounts) -> BTreeMap<String, String> {
    amounts.iter().map(|(name, amount)| (name.to_owned(), quantity(name, amount))).collect()
}

fn quantity(name: &str, amount: u64) -> String {
    match name {
        CPU if amount.is_multiple_of(1000) => (amount / 1000).to_string(),
        CPU => format!("{amount}m"),
        "memory" | "ephemeral-storage" => binary_text(amount),
        other if other.starts_with("hugepages-") => binary_text(amount),
        _ => amount.to_string(),
    }
}
