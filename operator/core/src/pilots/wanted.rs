//! How many nodes what waits would fill.

use std::sync::Arc;

use jiff::SignedDuration;
use vk_cmd_crds::amounts::Amounts;

use crate::place::Demand;
use crate::work;

/// What the queue needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needed {
    /// So many new nodes would be filled, or begun; no more than was asked about.
    pub(super) nodes: u32,
    /// So many attempts would not fit into an empty one.
    pub(super) misfits: usize,
}

/// How many empty nodes of this shape the attempts that wait would fill, up to `most`. `time` is how long a new node is of use.
///
/// Counted as they will be placed, near enough: the large ones first, each on the first node that has room.
pub(super) fn needed(waiting: &[(Arc<Demand>, usize)], shape: &Amounts, time: SignedDuration, most: u32) -> Needed {
    let mut all: Vec<&(Arc<Demand>, usize)> = waiting.iter().collect();
    all.sort_by_key(|(demand, _)| std::cmp::Reverse(demand.amounts.part_of(shape)));
    let mut nodes: Vec<Amounts> = Vec::new();
    let mut misfits = 0_usize;
    for (demand, count) in all {
        work::done();
        let each = times(shape, &demand.amounts);
        if each == 0 || demand.walltime.is_some_and(|walltime| walltime > time) {
            misfits = misfits.saturating_add(*count);
            continue;
        }
        let mut left = u64::try_from(*count).unwrap_or(u64::MAX);
        for free in &mut nodes {
            place(free, &demand.amounts, &mut left);
        }
        while left > 0 && u32::try_from(nodes.len()).is_ok_and(|nodes| nodes < most) {
            let mut free = shape.clone();
            place(&mut free, &demand.amounts, &mut left);
            nodes.push(free);
        }
    }
    Needed { nodes: u32::try_from(nodes.len()).unwrap_or(u32::MAX), misfits }
}

/// Takes as many of `left` as there is room for.
fn place(free: &mut Amounts, each: &Amounts, left: &mut u64) {
    let fit = times(free, each).min(*left);
    for _ in 0..fit {
        free.take(each);
    }
    *left = left.saturating_sub(fit);
}

/// How often one goes into the other.
fn times(free: &Amounts, each: &Amounts) -> u64 {
    let parts = each.iter().filter(|(_, amount)| *amount > 0);
    // Each takes a pod of a node, so that there is at least one.
    parts.filter_map(|(name, amount)| free.get(name).checked_div(amount)).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
    use proptest::prelude::*;

    use super::*;
    use crate::place::Meant;

    fn amounts(cpu: u64, pods: u64) -> Amounts {
        let all = [("cpu".to_owned(), Quantity(cpu.to_string())), ("pods".to_owned(), Quantity(pods.to_string()))];
        Amounts::read(all.iter().map(|(name, quantity)| (name, quantity)))
    }

    fn waits(cpu: u64, count: usize, walltime: Option<i64>) -> (Arc<Demand>, usize) {
        let demand = Demand {
            namespace: "n".into(),
            target: Meant::Fleet("f".into()),
            amounts: amounts(cpu, 1),
            walltime: walltime.map(SignedDuration::from_secs),
        };
        (Arc::new(demand), count)
    }

    fn of(waiting: &[(Arc<Demand>, usize)], most: u32) -> (u32, usize) {
        let needed = needed(waiting, &amounts(8, 4), SignedDuration::from_secs(100), most);
        (needed.nodes, needed.misfits)
    }

    #[test]
    fn nodes_are_counted_as_they_would_be_filled() {
        assert_eq!(of(&[], 10), (0, 0));
        // Four pods to a node, however small they are.
        assert_eq!(of(&[waits(0, 5, None)], 10), (2, 0));
        assert_eq!(of(&[waits(8, 3, None)], 10), (3, 0));
        // Small ones go beside large ones.
        assert_eq!(of(&[waits(1, 3, None), waits(5, 1, None)], 10), (1, 0));
        assert_eq!(of(&[waits(0, 1000, None)], 7), (7, 0));
        // What no node of the kind can take asks for none.
        assert_eq!(of(&[waits(9, 5, None), waits(1, 2, Some(101)), waits(1, 1, Some(100))], 10), (1, 7));
    }

    proptest! {
        /// Never more nodes than attempts, never more than allowed, and more of a queue never needs fewer.
        #[test]
        fn more_to_do_needs_no_fewer_nodes(counts in prop::collection::vec((0..9_u64, 0..20_usize), 0..6), more in 0..9_u64, most in 0..40_u32) {
            let mut waiting: Vec<_> = counts.iter().map(|(cpu, count)| waits(*cpu, *count, None)).collect();
            let (before, misfits) = of(&waiting, most);
            let all: usize = counts.iter().map(|(_, count)| count).sum();
            prop_assert!(before <= most && before as usize <= all && misfits <= all);
            waiting.push(waits(more, 1, None));
            prop_assert!(of(&waiting, most).0 + 1 >= before);
        }
    }
}
