//! Amounts of resources, by name.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use vk_cmd_crds::quantity::{self, InvalidQuantity};

/// Amounts by the resource's name: processors in thousandths, all else in units (bytes, devices).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(pub BTreeMap<String, u64>);

/// The resource that is counted in thousandths.
const CPU: &str = "cpu";
/// The resources that every node has, besides `pods`.
const OWN: [&str; 3] = [CPU, "memory", "ephemeral-storage"];

/// Why a text names no resource that a node may offer: `cpu`, `memory`, `ephemeral-storage`, `hugepages-2Mi`, or an
/// extended resource like `nvidia.com/gpu`.
#[must_use]
pub fn resource_name_problem(name: &str) -> Option<String> {
    if OWN.contains(&name) || name.starts_with("hugepages-") {
        return None;
    }
    if name == "pods" {
        return Some("how many pods a node takes is said by maxPods".to_owned());
    }
    match name.split_once('/') {
        Some((domain, _)) if domain == "kubernetes.io" || domain.ends_with(".kubernetes.io") => {
            Some(format!("{name:?} is in a domain of Kubernetes' own, and an extended resource is in another"))
        }
        Some(_) => super::label::key_problem(name),
        None => Some(format!(
            "{name:?} is no resource: write {}, or the name of an extended resource, nvidia.com/gpu say",
            OWN.join(", ")
        )),
    }
}

impl Resources {
    /// An amount in the resource's unit, from the text of a quantity.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn amount(name: &str, text: &str) -> Result<u64, InvalidQuantity> {
        let quantity = Quantity(text.to_owned());
        if name == CPU { quantity::thousandths(&quantity) } else { quantity::units(&quantity) }
    }

    /// The amount of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// These, and those of `lower` that are not among them.
    #[must_use]
    pub fn over(mut self, lower: Self) -> Self {
        for (name, amount) in lower.0 {
            self.0.entry(name).or_insert(amount);
        }
        self
    }

    /// What is left of these without `reserved`; never less than nothing.
    #[must_use]
    pub fn without(&self, reserved: &Self) -> Self {
        let left = |(name, amount): (&String, &u64)| {
            (name.clone(), amount.saturating_sub(reserved.get(name).unwrap_or_default()))
        };
        Self(self.0.iter().map(left).collect())
    }

    /// As core/v1 has them.
    #[must_use]
    pub fn quantities(&self) -> BTreeMap<String, Quantity> {
        self.0.iter().map(|(name, amount)| (name.clone(), Quantity(text(name, *amount)))).collect()
    }
}

fn text(name: &str, amount: u64) -> String {
    match name {
        CPU if amount.is_multiple_of(1000) => (amount / 1000).to_string(),
        CPU => format!("{amount}m"),
        _ if !name.contains('/') && amount >= 1024 && amount.is_multiple_of(1024) => format!("{}Ki", amount / 1024),
        _ => amount.to_string(),
    }
}
