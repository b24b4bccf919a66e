//! What the operator remembers between looks, for all of them that go on side by side.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use vk_operator_core::effects::At;
use vk_operator_core::memory;

/// The memory.
#[derive(Debug)]
pub struct Memory {
    all: Mutex<memory::Memory>,
    started: Instant,
}

impl Default for Memory {
    fn default() -> Self {
        Self { all: Mutex::default(), started: Instant::now() }
    }
}

impl Memory {
    /// Does something in it.
    pub fn with<R>(&self, act: impl FnOnce(&mut memory::Memory) -> R) -> R {
        // A panic elsewhere does not spoil a map.
        act(&mut self.all.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Forgets an object that is gone.
    pub fn gone(&self, namespace: &str, name: &str) {
        self.with(|memory| memory.gone(At { namespace, name }));
    }

    /// How long there has been one.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }
}
