//! What is in force, and who says so: for people who look for the line that they have to change.
//!
//! ```text
//!   layers, the uppermost first ──▶ merged ──▶ Said ──┬──▶ Shown { path, value, origin } ──▶ a file that says the same
//!   the defaults beneath them ─────────────────────────┘         └── differences ──▶ what another one says
//! ```

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vk_yaml::Document;

use super::{Said, Settings};

/// Who says a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Origin {
    /// A flag of the command line.
    Flag {
        /// Its name, with the dashes.
        name: String,
    },
    /// A variable.
    Variable {
        /// Its name.
        name: String,
    },
    /// The file.
    File {
        /// Its path.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// Nobody.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag { name } => f.write_str(name),
            Self::Variable { name } => write!(f, "${name}"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A setting that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// The keys that lead to it in the file.
    pub path: Vec<String>,
    /// Its value, as the file has it.
    pub value: Value,
    /// Who says so.
    pub from: Origin,
}

/// A layer, and who says what of it.
pub struct Layer<'a> {
    /// What it says.
    pub settings: Settings,
    /// By the keys that lead to a setting.
    pub origin: &'a dyn Fn(&[String]) -> Origin,
}

/// What is in force: the layers over each other, the uppermost first, over the defaults.
#[must_use]
pub fn effective(layers: &[Layer<'_>], home: Option<std::path::PathBuf>) -> Vec<Shown> {
    let merged = layers.iter().fold(Settings::default(), |upper, layer| upper.over(layer.settings.clone()));
    let defaults = merged.defaults(home);
    let by_layer: Vec<Vec<Said>> = layers.iter().map(|layer| layer.settings.said()).collect();
    let origin = |said: &Said| {
        // A layer may say something that another one takes back: what counts is who says this very value.
        let says = layers.iter().zip(&by_layer).find(|(_, all)| all.contains(said));
        says.map_or(Origin::Default, |(layer, _)| (layer.origin)(&said.path))
    };
    merged
        .over(defaults)
        .said()
        .into_iter()
        .map(|said| Shown { from: origin(&said), path: said.path, value: said.value })
        .collect()
}

/// In which line of a file's text a setting stands; the nearest mapping around it where it is not to be found.
#[must_use]
pub fn line_of(text: &str, path: &[String]) -> usize {
    let Ok(document) = Document::load(text) else { return 1 };
    let mut node = document.root();
    for key in path {
        match node.child(key) {
            Some(child) => node = child,
            None => break,
        }
    }
    node.line
}

/// What another configuration says of a setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The keys that lead to it.
    pub path: Vec<String>,
    /// What it is in one; none: it says nothing.
    pub before: Option<Value>,
    /// What it is in the other.
    pub after: Option<Value>,
}

/// In what `after` differs from `before`.
#[must_use]
pub fn differences(before: &[Shown], after: &[Shown]) -> Vec<Difference> {
    let index = |all: &[Shown]| -> BTreeMap<Vec<String>, Value> {
        all.iter().map(|shown| (shown.path.clone(), shown.value.clone())).collect()
    };
    let (old, new) = (index(before), index(after));
    let mut paths: Vec<&Vec<String>> = after.iter().map(|shown| &shown.path).collect();
    paths.extend(before.iter().map(|shown| &shown.path).filter(|path| !new.contains_key(*path)));
    let differs = paths.into_iter().filter(|path| old.get(*path) != new.get(*path));
    differs
        .map(|path| Difference { path: path.clone(), before: old.get(path).cloned(), after: new.get(path).cloned() })
        .collect()
}

/// A file that says what is in force, with a comment behind each setting of who says so.
#[must_use]
pub fn yaml(all: &[Shown]) -> String {
    let mut text = String::from("version: 1\n");
    let mut within: Option<&str> = None;
    let width = all.iter().map(|shown| line(shown).chars().count()).filter(|width| *width <= WIDEST).max().unwrap_or(0);
    for shown in all {
        match shown.path.as_slice() {
            [outer, _] if within != Some(outer) => {
                // Writing to a String does not fail.
                let _ = writeln!(text, "{}:", key(outer));
                within = Some(outer);
            }
            [_, _] => {}
            _ => within = None,
        }
        let _ = writeln!(text, "{:width$}  # {}", line(shown), shown.from);
    }
    text
}

/// Comments behind longer lines are not lined up with the others.
const WIDEST: usize = 60;

fn line(shown: &Shown) -> String {
    match shown.path.as_slice() {
        [outer] => format!("{}: {}", key(outer), scalar(&shown.value)),
        [_, inner] => format!("  {}: {}", key(inner), scalar(&shown.value)),
        // There are no others.
        path => format!("{}: {}", path.join("."), scalar(&shown.value)),
    }
}

fn key(text: &str) -> String {
    plain(text).map_or_else(|| Value::from(text).to_string(), str::to_owned)
}

/// JSON is YAML; text that needs no quotes is written without.
fn scalar(value: &Value) -> String {
    value.as_str().and_then(plain).map_or_else(|| value.to_string(), str::to_owned)
}

fn plain(text: &str) -> Option<&str> {
    const WORDS: [&str; 12] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf", "infinity"];
    let first = |c: char| c.is_ascii_alphabetic() || c == '/';
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-' | '@' | '=');
    let is_plain = text.starts_with(first) && text.chars().all(rest);
    (is_plain && !WORDS.contains(&text.to_ascii_lowercase().as_str())).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::config::read;

    const HOME: &str = "/home/u";

    fn of_file(text: &str) -> Vec<Shown> {
        let settings = read(text, Path::new("/etc/vk")).unwrap();
        let origin = |path: &[String]| Origin::File { path: "node.yaml".into(), line: line_of(text, path) };
        effective(&[Layer { settings, origin: &origin }], Some(HOME.into()))
    }

    /// What is shown can be written to a file, and then says the same.
    fn is_the_same_when_it_is_read(text: &str) {
        let shown = of_file(text);
        let again = of_file(&yaml(&shown));
        assert_eq!(differences(&shown, &again), [], "{}", yaml(&shown));
        let finished = |text: &str| read(text, Path::new("/etc/vk")).unwrap().finish(Some(HOME.into())).unwrap();
        assert_eq!(finished(text), finished(&yaml(&shown)));
    }

    #[test]
    fn what_is_shown_is_a_file_that_says_the_same() {
        is_the_same_when_it_is_read("version: 1\nnodeName: vk-a\n");
        is_the_same_when_it_is_read(include_str!("../../../../docs/reference/node.yaml"));
        is_the_same_when_it_is_read("version: 1\nnodes: {prefix: vk-gw-, count: 3}\nport: 20000\n");
        is_the_same_when_it_is_read(
            "version: 1\nnodes:\n- {name: vk-a, port: 7, labels: {a: own}, capacity: {cpu: 500m}}\n- {name: vk-b}\nlabels: {'on': 'yes', a: '1e3'}\n",
        );
        is_the_same_when_it_is_read(
            "version: 1\nnodeName: vk-a\ntunnel: ssh:me@there\nrelay: {address: '[::1]:1', caFile: ca}\n",
        );
        is_the_same_when_it_is_read(
            "version: 1\nnodeName: vk-a\npressure: {memory.available: 5%}\nnodeStatusUpdateFrequency: 1500ms\n",
        );
    }

    #[test]
    fn it_says_where_each_is_from() {
        let file = "version: 1\nnodeName: vk-a\nport: 1\nlabels:\n  a: file\n  b: file\nlistenAddress: 10.0.0.2\n";
        let from_file = read(file, Path::new("/etc/vk")).unwrap();
        let in_file = |path: &[String]| Origin::File { path: "node.yaml".into(), line: line_of(file, path) };
        let mut flags = Settings::default();
        flags.member.port = Some(2);
        flags.member.labels.insert("a".into(), "flag".into());
        flags.member.address = Some("10.0.0.9".parse().unwrap());
        let by_flag = |path: &[String]| Origin::Flag { name: format!("--{}", path[0]) };
        let layers = [Layer { settings: flags, origin: &by_flag }, Layer { settings: from_file, origin: &in_file }];
        let shown = effective(&layers, Some(HOME.into()));
        let from = |path: &[&str]| shown.iter().find(|s| s.path == path).map(|s| s.from.to_string());
        assert_eq!(from(&["nodeName"]).as_deref(), Some("node.yaml:2"));
        assert_eq!(from(&["port"]).as_deref(), Some("--port"));
        assert_eq!(from(&["labels", "a"]).as_deref(), Some("--labels"));
        assert_eq!(from(&["labels", "b"]).as_deref(), Some("node.yaml:6"));
        assert_eq!(from(&["maxPods"]).as_deref(), Some("default"));
        assert_eq!(from(&["listenAddress"]), None, "the flag with another address takes it back");
        let text = yaml(&shown);
        assert!(text.contains("nodeName: vk-a") && text.contains("# node.yaml:2"), "{text}");
    }

    #[test]
    fn differences_are_told_both_ways() {
        let before = of_file("version: 1\nnodeName: vk-a\nport: 1\nlabels: {a: b}\n");
        let after = of_file("version: 1\nnodeName: vk-a\nport: 2\nfleet: f\n");
        let all = differences(&before, &after);
        let told: Vec<_> = all.iter().map(|d| (d.path.join("."), d.before.is_some(), d.after.is_some())).collect();
        let wanted = [("port", true, true), ("fleet", false, true), ("labels.a", true, false)];
        assert_eq!(told, wanted.map(|(path, before, after)| (path.to_owned(), before, after)));
    }

    /// A key that is new is not forgotten here.
    #[test]
    fn all_that_the_documented_example_says_is_shown() {
        let text = include_str!("../../../../docs/reference/node.yaml");
        let document = Document::load(text).unwrap();
        let shown = of_file(text);
        for key in crate::config::read::keys().into_iter().filter(|key| document.root().child(key).is_some()) {
            assert!(shown.iter().any(|s| s.path[0] == key), "{key} is not shown");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_shown(value in "[ -~é\n]{0,30}") {
            let said = Shown { path: vec!["kubeconfig".into()], value: Value::from(value.clone()), from: Origin::Default };
            let text = yaml(&[said]);
            let document = Document::load(&text).unwrap();
            prop_assert_eq!(document.root().child("kubeconfig").unwrap().as_str().map(str::to_owned), Some(value));
        }
    }
}
