//! The sizes of a terminal, as they come from a client.

use serde::{Deserialize, Serialize};

/// The most that is kept of sizes that have not come as a whole.
const MAX_SIZE_BYTES: usize = 1024;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// Sizes of a terminal, as JSON one after the other, in whatever pieces.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    rest: Vec<u8>,
}

impl Sizes {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // What does not become a size in time is none.
        if self.rest.len() + bytes.len() > MAX_SIZE_BYTES {
            self.rest.clear();
        }
        self.rest.extend_from_slice(bytes.get(..MAX_SIZE_BYTES).unwrap_or(bytes));
    }

    /// The last size that has come as a whole: only that one matters.
    pub(crate) fn next(&mut self) -> Option<TerminalSize> {
        let mut sizes = serde_json::Deserializer::from_slice(&self.rest).into_iter::<TerminalSize>();
        let mut last = None;
        let taken = loop {
            match sizes.next() {
                Some(Ok(size)) => last = Some(size),
                Some(Err(error)) if error.is_eof() => break sizes.byte_offset(),
                None | Some(Err(_)) => break self.rest.len(),
            }
        };
        self.rest.drain(..taken);
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_whatever_pieces() {
        let mut sizes = Sizes::default();
        sizes.push(b"{\"Width\":80,\"Hei");
        assert_eq!(sizes.next(), None);
        sizes.push(b"ght\":24}\n{\"Width\":81,\"Height\":25}\n{");
        assert_eq!(sizes.next(), Some(TerminalSize { width: 81, height: 25 }));
        sizes.push(b"\"Width\":1,\"Height\":2}");
        assert_eq!(sizes.next(), Some(TerminalSize { width: 1, height: 2 }));
        sizes.push(b"nonsense");
        assert_eq!((sizes.next(), sizes.rest.len()), (None, 0));
        sizes.push(&[b'{'; 5000]);
        assert!(sizes.rest.len() <= MAX_SIZE_BYTES);
    }
}
