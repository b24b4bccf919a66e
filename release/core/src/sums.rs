//! `SHA256SUMS`, as `sha256sum` writes and checks it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// What the file is called.
pub const FILE: &str = "SHA256SUMS";

/// The SHA-256 of these bytes, in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The file's text for these files.
#[must_use]
pub fn of(files: &BTreeMap<String, Vec<u8>>) -> String {
    files.iter().map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_that_of_sha256sum() {
        let files = [("b".to_owned(), b"".to_vec()), ("a".to_owned(), b"abc".to_vec())].into();
        // From FIPS 180-4's examples, and `sha256sum /dev/null`.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a\n\
                        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b\n";
        assert_eq!(of(&files), expected);
    }
}
