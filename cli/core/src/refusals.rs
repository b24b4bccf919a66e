//! Whether an API server that refuses is asked again.
//!
//! One that has just been started refuses what it will answer: it knows no tokens, no roles and no kinds of others until it has read them
//! all (401, 403, 404). So who has had an answer before does not take the first refusal for the last word.

use std::time::Instant;

use crate::tries::Tries;

/// What has come of asking so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    answered: bool,
    refused: Tries,
}

impl Refusals {
    /// Of somebody who has had an answer from elsewhere.
    #[must_use]
    pub fn after_an_answer() -> Self {
        Self { answered: true, refused: Tries::default() }
    }

    /// It has answered.
    pub fn answered(&mut self) {
        *self = Self::after_an_answer();
    }

    /// It has not: with this code, or without any. Whether it is to be asked again.
    pub fn may_change(&mut self, code: Option<u16>, now: Instant) -> bool {
        if !matches!(code, Some(401 | 403 | 404)) {
            return true;
        }
        self.refused.fail(now);
        self.answered && !self.refused.are_over(now)
    }
}

/// What to do about a refusal, where that is known.
#[must_use]
pub fn advice(code: u16) -> Option<&'static str> {
    match code {
        401 => Some("the API server does not take these credentials: log in anew, or renew the token that has run out"),
        403 => Some("you may not: `kubectl cmdjob doctor` tells what is missing"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refusal_is_the_last_word_at_once_or_after_some() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert!(!Refusals::default().may_change(Some(403), begin));
        let mut refusals = Refusals::default();
        refusals.answered();
        let asked = [0, 1, 3, 12, 29, 30].map(|seconds| refusals.may_change(Some(404), after(seconds)));
        assert_eq!(asked, [true, true, true, true, true, false]);
        // An answer between them, and it begins anew.
        refusals.answered();
        assert!(refusals.may_change(Some(401), after(31)));
        // Whoever is away may come back.
        for code in [None, Some(500), Some(503), Some(429)] {
            assert!((0..100).all(|n| refusals.may_change(code, after(n * 60))), "{code:?}");
        }
    }
}
