//! Values of which there are many alike, kept once: the nodes' names, amounts and conditions of a hundred thousand pods are a few.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// So many values are kept before it is looked which of them nobody has any more.
const FEW: usize = 64;

/// The values.
#[derive(Debug)]
pub(crate) struct Shared<T: ?Sized> {
    values: HashSet<Arc<T>>,
    /// How many there may be before those that nobody has are dropped.
    limit: usize,
}

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), limit: FEW }
    }
}

impl<T: ?Sized + Hash + Eq> Shared<T> {
    /// The value that is kept, if it is there already; or this one from now on.
    pub(crate) fn one(&mut self, value: &Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(&**value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.limit {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            // So that looking costs no more than a few of these calls each, however many there are.
            self.limit = self.values.len().saturating_mul(2).max(FEW);
        }
        self.values.insert(Arc::clone(value));
        Arc::clone(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_kept_once_and_what_nobody_has_is_dropped() {
        let mut shared = Shared::<str>::default();
        let kept = shared.one(&"a".into());
        assert!(Arc::ptr_eq(&kept, &shared.one(&"a".into())));
        for n in 0..1000 {
            shared.one(&n.to_string().into());
        }
        assert!(shared.values.len() <= FEW);
        assert!(Arc::ptr_eq(&kept, &shared.one(&"a".into())));
    }
}
