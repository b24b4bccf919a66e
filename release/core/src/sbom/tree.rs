//! What `cargo tree` writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Error;

/// What `--format` is to be: the package, and its features.
pub const FORMAT: &str = "{p}|{f}";

/// A package: in a tree there are never two of one name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// The tree, in which each package is there once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Graph {
    pub(super) root: Key,
    pub(super) nodes: BTreeMap<Key, Node>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// In order, without repetition. A crate may be built twice, for the program and for what builds it.
    pub(super) features: Vec<String>,
    pub(super) needs: BTreeSet<Key>,
}

impl Graph {
    /// Each line is a depth with a package behind it, which is needed by the last one before it that is not as deep.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let mut above: Vec<Key> = Vec::new();
        let mut nodes: BTreeMap<Key, Node> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (depth, key, features) = split(line).ok_or_else(|| Error::Line(line.to_owned()))?;
            if depth > above.len() {
                return Err(Error::Line(line.to_owned()));
            }
            above.truncate(depth);
            if let Some(parent) = above.last().and_then(|parent| nodes.get_mut(parent)) {
                parent.needs.insert(key.clone());
            }
            let node = nodes.entry(key.clone()).or_default();
            node.features.extend(features.into_iter().map(str::to_owned));
            node.features.sort();
            node.features.dedup();
            above.push(key);
        }
        let root = above.into_iter().next().ok_or(Error::Empty)?;
        Ok(Self { root, nodes })
    }
}

/// `2axum-core v0.5.6 (proc-macro) (/a/path)|feature,other (*)`
fn split(line: &str) -> Option<(usize, Key, Vec<&str>)> {
    let (package, features) = line.split_once('|')?;
    let package_at = package.find(|letter: char| !letter.is_ascii_digit())?;
    let (depth, package) = package.split_at(package_at);
    let mut words = package.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    let features = features.trim_end_matches("(*)").trim_end();
    let features = features.split(',').filter(|feature| !feature.is_empty()).collect();
    Some((depth.parse().ok()?, Key { name: name.to_owned(), version: version.to_owned() }, features))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key { name: name.to_owned(), version: "1.0.0".to_owned() }
    }

    #[test]
    fn a_package_that_is_there_twice_is_one() {
        let text = "0a v1.0.0 (/x/a)|\n1b v1.0.0|std\n2c v1.0.0|\n1c v1.0.0| (*)\n1d v1.0.0 (proc-macro)|\n2b v1.0.0|full,std (*)\n";
        let graph = Graph::parse(text).unwrap();
        assert_eq!(graph.root, key("a"));
        let needs = |name: &str| graph.nodes[&key(name)].needs.iter().map(|key| key.name.clone()).collect::<String>();
        assert_eq!(
            (needs("a"), needs("b"), needs("c"), needs("d")),
            ("bcd".into(), "c".into(), String::new(), "b".into())
        );
        assert_eq!(graph.nodes[&key("b")].features, ["full", "std"]);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(matches!(Graph::parse(""), Err(Error::Empty)));
        for line in ["a v1.0.0|", "0a|", "0a 1.0.0|", "0a v1.0.0", "1a v1.0.0|"] {
            assert!(matches!(Graph::parse(line), Err(Error::Line(_))), "{line}");
        }
    }
}
