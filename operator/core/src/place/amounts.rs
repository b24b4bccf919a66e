//! Amounts of resources by a name, and in words. How they are counted: [`vk_cmd_crds::amounts`].

use std::collections::HashMap;
use std::fmt;

use vk_cmd_crds::amounts::{Amounts, CPU, PODS};
use vk_cmd_crds::quantity::binary_text;

/// Amounts by a name, of nodes or of namespaces. Who has none is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(HashMap<String, Amounts>);

static NOTHING: Amounts = Amounts::NOTHING;

impl Sums {
    /// Those of one name.
    pub fn of(&self, name: &str) -> &Amounts {
        self.0.get(name).unwrap_or(&NOTHING)
    }

    /// More for this name.
    pub fn add(&mut self, name: &str, amounts: &Amounts) {
        match self.0.get_mut(name) {
            Some(sum) => sum.add(amounts),
            None => drop(self.0.insert(name.to_owned(), amounts.clone())),
        }
    }

    /// Less for this name.
    pub fn take(&mut self, name: &str, amounts: &Amounts) {
        if let Some(sum) = self.0.get_mut(name) {
            sum.take(amounts);
            if *sum == NOTHING {
                self.0.remove(name);
            }
        }
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One amount for people: "4 nvidia.com/gpu", "500m cpu", "4Gi memory".
pub(super) struct Worded<'a>(pub(super) &'a str, pub(super) u64);

impl fmt::Display for Worded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, amount) = *self;
        match name {
            CPU if amount % 1000 == 0 => write!(f, "{} cpu", amount / 1000),
            CPU => write!(f, "{amount}m cpu"),
            "memory" | "ephemeral-storage" => write!(f, "{} {name}", binary_text(amount)),
            PODS if amount == 1 => write!(f, "a pod"),
            other => write!(f, "{amount} {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_said_as_people_write_them() {
        for (name, amount, text) in [
            ("cpu", 4000, "4 cpu"),
            ("cpu", 500, "500m cpu"),
            ("memory", 4 << 30, "4Gi memory"),
            ("memory", 1000, "1000 memory"),
            ("nvidia.com/gpu", 4, "4 nvidia.com/gpu"),
            ("pods", 1, "a pod"),
        ] {
            assert_eq!(Worded(name, amount).to_string(), text);
        }
    }
}
