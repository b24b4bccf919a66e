//! Staying small: a node waits most of the time, on machines where others pay for the memory it keeps.

use std::time::Duration;

/// How often free memory is given back.
const EVERY: Duration = Duration::from_secs(15);

/// Gives memory that a burst of pods has needed back to the kernel, for ever: the allocator keeps what is free between
/// what is used. And unmaps what was used of the program's own pages since the last time: of 18 MiB of a node that waits 15
/// were those, charged to it though the page cache has them once for all. What is needed again costs a few dozen page
/// faults that read nothing.
pub(super) async fn keep() {
    loop {
        tokio::time::sleep(EVERY).await;
        give_back();
        vk_shim::forget_program();
    }
}

#[cfg(target_env = "gnu")]
#[allow(unsafe_code)]
fn give_back() {
    // SAFETY: malloc_trim may be called at any time by any thread; it touches only memory that nobody has.
    let _ = unsafe { nix::libc::malloc_trim(0) };
}

/// Other C libraries give memory back by themselves, or cannot be asked to.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}
