//! Files that variables come from (`fileKeyRef`): an init container has left them in an `emptyDir` of the pod. Which ones are
//! needed, and what is in them: lines `NAME='value'`, in the subset of the shell's language that Kubernetes takes.

use std::collections::{BTreeMap, BTreeSet};
use std::str::Lines;

use k8s_openapi::api::core::v1::{EnvVar, FileKeySelector};
use vk_task::{DirName, FilePath};

use crate::admit::clean;

/// A file in a volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvFile {
    /// The volume.
    pub volume: DirName,
    /// Where in it.
    pub path: FilePath,
}

/// What was found of those that were asked for: `None` where there is no such file.
pub type EnvFiles = BTreeMap<EnvFile, Option<String>>;

impl EnvFile {
    /// The file that a variable comes from.
    ///
    /// # Errors
    /// When it could be none, for people.
    pub fn of(selector: &FileKeySelector) -> Result<Self, String> {
        Ok(Self {
            volume: DirName::new(&*selector.volume_name).map_err(|error| error.to_string())?,
            path: clean(&selector.path).map_err(|error| error.to_string())?,
        })
    }
}

/// The files that must be read before these variables can be built.
#[must_use]
pub fn needed(env: &[EnvVar]) -> BTreeSet<EnvFile> {
    let selectors = env.iter().filter_map(|var| var.value_from.as_ref()?.file_key_ref.as_ref());
    selectors.filter_map(|selector| EnvFile::of(selector).ok()).collect()
}

/// The value of `key` in a file; `None` where it has none, or an empty one, which the kubelet does not tell apart.
///
/// # Errors
/// What is wrong with the file before the key is found, in the kubelet's words.
pub(crate) fn value(text: &str, key: &str) -> Result<Option<String>, String> {
    let mut lines = text.lines();
    let mut number = 0;
    while let Some(line) = lines.next() {
        number += 1;
        let wrong = |what: &str| Err(format!("invalid environment variable format at line {number}: {what}"));
        let line = line.trim_start_matches(BLANK);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { return wrong("missing '='") };
        if name.trim_end_matches(BLANK).is_empty() {
            return wrong("empty variable name");
        }
        if name.ends_with(BLANK) {
            return wrong("whitespace before '=' is not allowed");
        }
        // In a shell, what follows would be another word.
        if value.starts_with(BLANK) {
            if name == key {
                return Ok(None);
            }
            continue;
        }
        let Some(value) = value.strip_prefix('\'') else { return wrong("value must be enclosed in single quotes") };
        let begun = number;
        let Some((value, after)) = quoted(value, &mut lines, &mut number) else {
            return Err(format!("invalid environment variable format starting at line {begun}: unclosed single quote"));
        };
        let after = after.trim_start_matches(BLANK);
        if !after.is_empty() && !after.starts_with('#') {
            return Err(format!(
                "invalid environment variable format at line {number}: unexpected content after closing quote"
            ));
        }
        if name == key {
            return Ok(Some(value).filter(|value| !value.is_empty()));
        }
    }
    Ok(None)
}

const BLANK: [char; 2] = [' ', '\t'];

/// What comes before the next quote, which may be some lines away, and what follows it on its line.
fn quoted<'a>(first: &'a str, lines: &mut Lines<'a>, number: &mut usize) -> Option<(String, &'a str)> {
    let (mut value, mut rest) = (String::new(), first);
    loop {
        if let Some((before, after)) = rest.split_once('\'') {
            value.push_str(before);
            return Some((value, after));
        }
        value.push_str(rest);
        value.push('\n');
        rest = lines.next()?;
        *number += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The cases are those of the description of the kubelet's parser.
    #[test]
    fn files_are_read_as_the_kubelet_reads_them() {
        let text = "# comment\n\n  \t\nA='1'\n\tB='two words' # why\nC='a\n b#='\nD= 'x'\nE=''\nF='$A \\n \"q\"'\n";
        for (key, expected) in [
            ("A", Some("1")),
            ("B", Some("two words")),
            ("C", Some("a\n b#=")),
            ("D", None),
            ("E", None),
            ("F", Some("$A \\n \"q\"")),
            ("NONE", None),
        ] {
            assert_eq!(value(text, key).unwrap().as_deref(), expected, "{key}");
        }
        for (text, why) in [
            ("A", "at line 1: missing '='"),
            ("\n='1'", "at line 2: empty variable name"),
            ("A ='1'", "at line 1: whitespace before '='"),
            ("A=1", "at line 1: value must be enclosed"),
            ("A=\"1\"", "at line 1: value must be enclosed"),
            ("A='1' b", "at line 1: unexpected content"),
            ("A='1''2'", "at line 1: unexpected content"),
            ("\nA='1\n2", "starting at line 2: unclosed"),
        ] {
            assert!(value(text, "B").unwrap_err().contains(why), "{text:?}");
        }
        // What comes after the key is not looked at.
        assert_eq!(value("A='1'\nnonsense", "A").unwrap().as_deref(), Some("1"));
    }

    proptest! {
        #[test]
        fn a_value_comes_back(before in "[a-z#= \n\"$\\\\]{0,20}") {
            let text = format!("X='x'\nA='{before}'\n");
            let expected = Some(before).filter(|value| !value.is_empty());
            prop_assert_eq!(value(&text, "A"), Ok(expected));
        }

        #[test]
        fn nothing_makes_it_panic(text in "[A'=# \n\t]{0,40}") {
            let _ = value(&text, "A");
        }
    }
}
