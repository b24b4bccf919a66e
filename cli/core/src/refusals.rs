//! Whether an API server that refuses is asked again.
//!
//! One that has just been started refuses what it will answer: it knows no tokens, no roles and no kinds of others until it has read them
//! all (401, 403, 404). So who has had an answer before does not take the first refusal for the last word.

/// So many refusals one after the other are the last word: with the pauses between them, after about half a minute.
const LAST_WORD: u32 = 6;

/// What has come of asking so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    answered: bool,
    refused: u32,
}

impl Refusals {
    /// Of somebody who has had an answer from elsewhere.
    #[must_use]
    pub fn after_an_answer() -> Self {
        Self { answered: true, refused: 0 }
    }

    /// It has answered.
    pub fn answered(&mut self) {
        *self = Self::after_an_answer();
    }

    /// It has not: with this code, or without any. Whether it is to be asked again.
    pub fn may_change(&mut self, code: Option<u16>) -> bool {
        if !matches!(code, Some(401 | 403 | 404)) {
            return true;
        }
        self.refused = self.refused.saturating_add(1);
        self.answered && self.refused < LAST_WORD
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
    use super::*;

    #[test]
    fn a_refusal_is_the_last_word_at_once_or_after_some() {
        assert!(!Refusals::default().may_change(Some(403)));
        let mut refusals = Refusals::default();
        refusals.answered();
        let asked = (0..LAST_WORD).map(|_| refusals.may_change(Some(404))).collect::<Vec<_>>();
        assert_eq!(asked, [true, true, true, true, true, false]);
        // An answer between them, and it begins anew.
        refusals.answered();
        assert!(refusals.may_change(Some(401)));
        // Whoever is away may come back.
        for code in [None, Some(500), Some(503), Some(429)] {
            assert!((0..100).all(|_| Refusals::default().may_change(code)), "{code:?}");
        }
    }
}
