//! Answers that hold for a while.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

/// Up to so many answers, each until its time; the one that was longest not asked for goes first.
pub(super) struct Kept<K: Hash + Eq, V> {
    most: usize,
    answers: Mutex<LruCache<K, (V, Instant)>>,
}

impl<K: Hash + Eq, V: Clone> Kept<K, V> {
    pub(super) fn new(most: usize) -> Self {
        // One with a capacity takes its memory at once, and most nodes are asked by two clients.
        Self { most, answers: Mutex::new(LruCache::unbounded()) }
    }

    /// The answer, if its time is not over.
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, until) = answers.get(key)?;
        if Instant::now() < *until {
            return Some(answer.clone());
        }
        answers.pop(key);
        None
    }

    /// Keeps an answer.
    pub(super) fn put(&self, key: K, answer: V, lasting: Duration) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.put(key, (answer, Instant::now() + lasting));
        while answers.len() > self.most {
            answers.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_have_their_time_and_there_are_not_too_many() {
        let kept: Kept<&str, u32> = Kept::new(2);
        kept.put("a", 1, Duration::from_secs(10));
        kept.put("b", 2, Duration::from_secs(20));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!((kept.get("a"), kept.get("b")), (Some(1), Some(2)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((kept.get("a"), kept.get("b")), (None, Some(2)));
        for key in ["c", "d", "e"] {
            assert_eq!(kept.get("b"), Some(2), "it is asked for all the time");
            kept.put(key, 3, Duration::from_secs(10));
        }
        assert_eq!((kept.get("c"), kept.get("d"), kept.get("e")), (None, None, Some(3)));
    }
}
