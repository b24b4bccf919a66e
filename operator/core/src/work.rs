//! Counts, in tests, how many jobs, pods, nodes and lines are looked at: so that a test can show that one event costs no more
//! when there are more of them. Outside tests it is nothing.

#[cfg(test)]
thread_local! {
    static WORK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One was looked at.
#[inline]
pub(crate) fn done() {
    #[cfg(test)]
    WORK.with(|work| work.set(work.get() + 1));
}

/// How many were looked at meanwhile.
#[cfg(test)]
pub(crate) fn count<R>(act: impl FnOnce() -> R) -> (R, u64) {
    let before = WORK.with(std::cell::Cell::get);
    let result = act();
    (result, WORK.with(std::cell::Cell::get) - before)
}
