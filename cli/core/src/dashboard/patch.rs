//! What is sent of a table that the page has already: which of its rows stay, and what is new between them.
//!
//! ```text
//!   the page has   a b c d e          is sent   +x  0-1  +C  3-4     it makes   x a b C d e
//! ```
//!
//! The rows of a table with thousands of jobs change by a few from look to look, and it is these that travel and are drawn anew.

use std::collections::HashMap;

use serde::Serialize;

use super::view::Row;

/// A piece of a table, in its order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Piece {
    /// So many of the rows that the page has, from this one on (counted from 0).
    Kept {
        /// The first.
        from: usize,
        /// How many.
        count: usize,
    },
    /// Another row.
    New(Row),
}

/// How the rows `new` are made out of the rows `old`.
#[must_use]
pub fn patch(old: &[Row], new: &[Row]) -> Vec<Piece> {
    let places: HashMap<&str, usize> = old.iter().enumerate().map(|(place, row)| (row.key(), place)).collect();
    let mut pieces: Vec<Piece> = Vec::new();
    for row in new {
        let place = places.get(row.key()).copied().filter(|place| old.get(*place) == Some(row));
        match (place, pieces.last_mut()) {
            (Some(place), Some(Piece::Kept { from, count })) if from.checked_add(*count) == Some(place) => {
                *count = count.saturating_add(1);
            }
            (Some(from), _) => pieces.push(Piece::Kept { from, count: 1 }),
            (None, _) => pieces.push(Piece::New(row.clone())),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(key: u8, cell: u8) -> Row {
        Row::plain(&key.to_string(), vec![cell.to_string()])
    }

    /// As the page does it.
    fn apply(old: &[Row], pieces: &[Piece]) -> Vec<Row> {
        let mut rows = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Kept { from, count } => rows.extend_from_slice(&old[*from..from + count]),
                Piece::New(row) => rows.push(row.clone()),
            }
        }
        rows
    }

    #[test]
    fn what_has_not_changed_is_not_sent() {
        let old: Vec<Row> = (0..200).map(|key| row(key, 0)).collect();
        assert_eq!(patch(&old, &old), [Piece::Kept { from: 0, count: 200 }]);
        let mut new = old.clone();
        new.insert(0, row(201, 7));
        new.truncate(200);
        new[3] = row(2, 1);
        let pieces = patch(&old, &new);
        let expected = [
            Piece::New(row(201, 7)),
            Piece::Kept { from: 0, count: 2 },
            Piece::New(row(2, 1)),
            Piece::Kept { from: 3, count: 196 },
        ];
        assert_eq!(pieces, expected);
        let text = serde_json::to_string(&pieces).unwrap();
        assert!(text.len() < 250 && text.contains(r#"{"from":0,"count":2}"#), "{text}");
        assert_eq!(patch(&[], &old[..1]), [Piece::New(row(0, 0))]);
        assert_eq!(patch(&old, &[]), []);
    }

    proptest! {
        #[test]
        fn the_page_comes_to_the_same_rows(
            old in proptest::collection::btree_map(0..20_u8, 0..3_u8, 0..20),
            new in proptest::collection::btree_map(0..20_u8, 0..3_u8, 0..20),
            turned: bool,
        ) {
            let rows = |all: &std::collections::BTreeMap<u8, u8>| all.iter().map(|(key, cell)| row(*key, *cell)).collect::<Vec<_>>();
            let (old, mut new) = (rows(&old), rows(&new));
            if turned {
                new.reverse();
            }
            prop_assert_eq!(apply(&old, &patch(&old, &new)), new);
        }
    }
}
