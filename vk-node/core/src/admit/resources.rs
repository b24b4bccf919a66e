//! What a container may use: limits, graphics processors.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use vk_task::{Gpus, Limits};

use super::fields::Check;
use crate::evict::EPHEMERAL_STORAGE;
use vk_cmd_crds::quantity::{InvalidQuantity, thousandths, units};

/// The extended resource that NVIDIA's device plugin offers.
const NVIDIA: &str = "nvidia.com/gpu";
/// The extended resource that AMD's device plugin offers.
const AMD: &str = "amd.com/gpu";

/// Where a container runs, as far as its fields mean different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Host,
    Image,
}

/// The limits of one container. Requests are the scheduler's to honour.
pub(super) fn limits(check: &mut Check<'_>, resources: Option<&ResourceRequirements>, place: Where) -> (Limits, Gpus) {
    let (mut all, mut gpus) = (Limits::default(), Vec::new());
    let Some(ResourceRequirements { claims, limits, requests: _ }) = resources else { return (all, Gpus::None) };
    check.default("resources.claims", claims.as_ref());
    for (name, quantity) in limits.iter().flatten() {
        let field = format!("resources.limits[{name}]");
        // As the kubelet takes it: a limit of zero is none.
        let some = |number: u64| Some(number).filter(|n| *n > 0);
        match name.as_str() {
            "cpu" => all.cpu_millis = number(check, &field, quantity, thousandths).and_then(some),
            "memory" => all.memory_bytes = number(check, &field, quantity, units).and_then(some),
            // See `evict`.
            EPHEMERAL_STORAGE => drop(number(check, &field, quantity, units)),
            NVIDIA | AMD if place == Where::Host => check.add(
                &field,
                "a command on the host sees the graphics processors that its host shows it: leave the limit out, or \
                 name an image",
            ),
            NVIDIA | AMD => {
                let Some(n) = number(check, &field, quantity, units).and_then(some) else { continue };
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                gpus.push(if name == AMD { Gpus::Amd(n) } else { Gpus::Nvidia(n) });
            }
            // An extended resource: so the API server has seen to. It is counted, and given to nobody.
            other if other.contains('/') => drop(number(check, &field, quantity, units)),
            _ => check
                .add(&field, "vk-node limits cpu, memory and ephemeral-storage, gives images GPUs, and counts extended resources: leave it out"),
        }
    }
    if let [_, second, ..] = gpus[..] {
        check.add("resources.limits", format!("a container gets GPUs of one maker, not {second:?} as well"));
    }
    (all, gpus.first().copied().unwrap_or_default())
}

fn number(
    check: &mut Check<'_>,
    field: &str,
    quantity: &Quantity,
    read: fn(&Quantity) -> Result<u64, InvalidQuantity>,
) -> Option<u64> {
    read(quantity).map_err(|error| check.add(field, format!("{:?}: {error}", quantity.0))).ok()
}
