//! In what two files of one name differ: for archives the entries, so that one sees at once what is not the same each time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};

use flate2::read::GzDecoder;

use crate::sums::sha256;

/// What differs between two releases, each as its files by their names: nothing if they are the same.
#[must_use]
pub fn releases(one: &BTreeMap<String, Vec<u8>>, other: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        match (one.get(name), other.get(name)) {
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => match entries(one).and_then(|one| Ok((one, entries(other)?))) {
                Ok((one, other)) if one != other => {
                    let all: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
                    let unlike = all.into_iter().filter(|entry| one.get(*entry) != other.get(*entry));
                    differences.extend(unlike.map(|entry| format!("{name}: {entry}")));
                }
                Ok(_) | Err(_) => differences.push(name.clone()),
            },
            (Some(_), None) => differences.push(format!("{name}: only in the first")),
            (None, _) => differences.push(format!("{name}: only in the second")),
        }
    }
    differences
}

/// What an archive holds: for each path the header and the hash of the content.
fn entries(bytes: &[u8]) -> io::Result<BTreeMap<String, String>> {
    let is_compressed = bytes.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn io::Read + '_> = if is_compressed { Box::new(GzDecoder::new(bytes)) } else { Box::new(bytes) };
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(reader).entries()? {
        let mut entry = entry?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let path = entry.path()?.display().to_string();
        found.insert(path, format!("{} {}", sha256(entry.header().as_bytes()), sha256(&content)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edition::Time;
    use crate::tree::{Item, Tree};

    #[test]
    fn what_differs_is_named() {
        let archive = |text: &str, time| {
            let mut tree = Tree::default();
            tree.put("bin/x", Item::Program(text.as_bytes().to_vec()));
            tree.put("bin/y", Item::Data(b"same".to_vec()));
            tree.tar_gz(Time::of_epoch(time)).unwrap()
        };
        let release = |text: &str, time, more: &str| {
            BTreeMap::from([
                ("a.tar.gz".to_owned(), archive(text, time)),
                (format!("{more}.json"), b"{}".to_vec()),
                ("text".to_owned(), text.as_bytes().to_vec()),
            ])
        };
        assert!(releases(&release("1", 1, "m"), &release("1", 1, "m")).is_empty());
        assert_eq!(
            releases(&release("1", 1, "m"), &release("2", 1, "n")),
            ["a.tar.gz: bin/x", "m.json: only in the first", "n.json: only in the second", "text"]
        );
        assert_eq!(
            releases(&release("1", 1, "m"), &release("1", 2, "m")),
            ["a.tar.gz: bin/", "a.tar.gz: bin/x", "a.tar.gz: bin/y"]
        );
    }
}
