//! Which rows the page has, so that only what is new of a table travels: see [`vk_cli_core::dashboard::patch`].

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use vk_cli_core::dashboard::patch::{Piece, patch};
use vk_cli_core::dashboard::view::Row;

/// So many tables are remembered: one for each tab of a browser is enough. Whoever has an older one is sent all rows.
const REMEMBERED: usize = 16;

/// What was sent last.
#[derive(Debug, Default)]
pub(super) struct Sent(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    tables: VecDeque<(u64, Vec<Row>)>,
    version: u64,
}

/// A table as it travels.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pieces {
    /// What the page says next time.
    version: u64,
    /// Of which version the rows are that it keeps. None: it keeps no rows.
    since: Option<u64>,
    pieces: Vec<Piece>,
}

impl Sent {
    /// What is to be sent to a page that has the rows of `since`.
    pub(super) fn pieces(&self, since: Option<u64>, rows: Vec<Row>) -> Pieces {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.tables.iter().position(|(version, _)| Some(*version) == since);
        let old = known.and_then(|place| last.tables.remove(place));
        last.version = last.version.saturating_add(1);
        let version = last.version;
        let pieces = patch(old.as_ref().map(|(_, rows)| rows.as_slice()).unwrap_or_default(), &rows);
        let since = old.as_ref().map(|(version, _)| *version);
        // An answer may be lost on its way: then the page says the old version again.
        last.tables.extend(old);
        last.tables.push_back((version, rows));
        while last.tables.len() > REMEMBERED {
            last.tables.pop_front();
        }
        Pieces { version, since, pieces }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_sent_what_it_has_not() {
        let sent = Sent::default();
        let first = sent.pieces(None, Vec::new());
        assert_eq!(first, Pieces { version: 1, since: None, pieces: Vec::new() });
        // Two tabs, and an answer that was lost.
        assert_eq!(sent.pieces(Some(1), Vec::new()).since, Some(1));
        assert_eq!(sent.pieces(Some(1), Vec::new()).since, Some(1));
        // One that has slept for long.
        for _ in 0..REMEMBERED {
            sent.pieces(None, Vec::new());
        }
        assert_eq!(sent.pieces(Some(1), Vec::new()).since, None);
        assert!(sent.0.lock().unwrap().tables.len() <= REMEMBERED);
    }
}
