//! A panic is a mistake of ours that one object has brought out: the others go on, and that one is looked at again later. What was under
//! way is as after a crash, which every step survives.
//!
//! kube-runtime does not see to it: its `applier` polls reconciles in its own task, and its `Controller` has them in tasks of which it
//! unwraps the results. Either way one panic would end the whole operator, which after its restart would come upon the same object.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;

/// What comes of it, or what the panic has said.
pub async fn unless_panicked<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(said)
}

/// The same of what does not wait.
pub fn unless_panics<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(said)
}

fn said(panic: Box<dyn Any + Send>) -> String {
    let fixed = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    fixed.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_no_more_than_an_error() {
        let work = |n: u32| match n {
            0 => "done",
            1 => panic!("a word"),
            _ => panic!("a word and {n}"),
        };
        let expected = [Ok("done"), Err("a word".to_owned()), Err("a word and 2".to_owned())];
        for (n, expected) in (0..).zip(expected) {
            assert_eq!(unless_panics(|| work(n)), expected);
            assert_eq!(unless_panicked(async { work(n) }).await, expected);
        }
    }
}
