//! YAML with the lines it came from, and a reader that collects what is wrong with it.

use std::time::Duration;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use crate::{Problem, Problems, quantity};

/// A file's text as YAML: one document.
#[derive(Debug)]
pub struct Document<'a>(MarkedYaml<'a>);

impl<'a> Document<'a> {
    /// Reads the text.
    ///
    /// # Errors
    /// When it is no YAML, or not one document.
    pub fn load(text: &'a str) -> Result<Self, Problems> {
        let problem = |line, message| Err(Problems(vec![Problem { line, message }]));
        let mut documents = match MarkedYaml::load_from_str(text) {
            Ok(documents) => documents,
            Err(e) => {
                let line = e.marker().line();
                let which =
                    twice(text, line, e.info()).map(|key| format!(": {key} stands there twice")).unwrap_or_default();
                return problem(line, format!("this is no YAML: {}{which}", e.info()));
            }
        };
        match (documents.pop(), documents.is_empty()) {
            (Some(document), true) => Ok(Self(document)),
            (Some(second), false) => {
                problem(second.span.start.line(), "there is a second document: write one".to_owned())
            }
            (None, _) => problem(1, "the file is empty: write at least `version: 1`, or remove it".to_owned()),
        }
    }

    /// All of it.
    #[must_use]
    pub fn root(&'a self) -> Node<'a> {
        Node { yaml: &self.0, path: String::new(), line: self.0.span.start.line() }
    }
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    yaml: &'a MarkedYaml<'a>,
    /// The keys that lead to it.
    pub path: String,
    /// The line where it stands, from 1.
    pub line: usize,
}

/// A mapping whose keys are known.
#[derive(Clone, Debug)]
pub struct Map<'a> {
    node: Node<'a>,
    /// The keys that lead to it.
    pub path: String,
    /// The line where it begins, from 1.
    pub line: usize,
}

impl<'a> Node<'a> {
    /// Whether it is a mapping.
    #[must_use]
    pub fn is_map(&self) -> bool {
        matches!(self.yaml.data, YamlData::Mapping(_))
    }

    /// Whether it is a mapping without keys.
    #[must_use]
    pub fn is_empty_map(&self) -> bool {
        matches!(&self.yaml.data, YamlData::Mapping(entries) if entries.is_empty())
    }

    /// The value, if it is a single one.
    fn scalar(&self) -> Option<&'a Scalar<'a>> {
        if let YamlData::Value(scalar) = &self.yaml.data { Some(scalar) } else { None }
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        if let Some(Scalar::String(text)) = self.scalar() { Some(text) } else { None }
    }

    /// The items of a list; none if it is no list.
    #[must_use]
    pub fn items(&self) -> Vec<Self> {
        let YamlData::Sequence(items) = &self.yaml.data else { return Vec::new() };
        let item = |(i, yaml): (usize, &'a MarkedYaml<'a>)| Self {
            yaml,
            path: format!("{}[{i}]", self.path),
            line: yaml.span.start.line(),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The value of a key.
    #[must_use]
    pub fn child(&self, key: &str) -> Option<Self> {
        self.children().into_iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The keys that are text, with their values.
    fn children(&self) -> Vec<(String, Self)> {
        let YamlData::Mapping(entries) = &self.yaml.data else { return Vec::new() };
        let mut children = Vec::new();
        for (key, yaml) in entries {
            if let YamlData::Value(Scalar::String(name)) = &key.data {
                let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
                children.push((name.to_string(), Self { yaml, path, line: key.span.start.line() }));
            }
        }
        children
    }

    fn what(&self) -> &'static str {
        match &self.yaml.data {
            YamlData::Mapping(_) => "a mapping",
            YamlData::Sequence(_) => "a list",
            YamlData::Value(Scalar::Null) => "nothing",
            YamlData::Value(Scalar::Boolean(_)) => "true or false",
            YamlData::Value(Scalar::Integer(_) | Scalar::FloatingPoint(_)) => "a number",
            YamlData::Value(Scalar::String(_)) => "text",
            YamlData::Representation(..) | YamlData::Tagged(..) | YamlData::Alias(_) | YamlData::BadValue => {
                "something that this file may not have"
            }
        }
    }
}

impl<'a> Map<'a> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Node<'a>> {
        self.node.child(key)
    }
}

/// Reads values and collects what is wrong.
#[derive(Debug, Default)]
pub struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    /// What was wrong.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Checks that the file is of this version.
    pub fn version(&mut self, map: &Map<'_>, version: u64) {
        match map.get("version") {
            None => self.problem(map.line, format!("there is no version: write `version: {version}`")),
            Some(node) => match self.integer(&node) {
                Some(other) if other != version => self.at(
                    &node,
                    format!("the file is of version {other}, and this vk-node knows version {version}: update it"),
                ),
                Some(_) | None => {}
            },
        }
    }

    /// Something is wrong at this line.
    pub fn problem(&mut self, line: usize, message: String) {
        self.problems.push(Problem { line, message });
    }

    /// Something is wrong with this value.
    pub fn at(&mut self, node: &Node<'_>, message: String) {
        let message = if node.path.is_empty() { message } else { format!("{}: {message}", node.path) };
        self.problem(node.line, message);
    }

    fn expected(&mut self, node: &Node<'_>, wanted: &str) {
        self.at(node, format!("this is {}, and {wanted} is wanted", node.what()));
    }

    /// A mapping that may have these keys and no others.
    pub fn map<'a>(&mut self, node: &Node<'a>, known: &[&str]) -> Option<Map<'a>> {
        let YamlData::Mapping(entries) = &node.yaml.data else {
            self.expected(node, &format!("a mapping with {}", known.join(", ")));
            return None;
        };
        for key in entries.keys() {
            let YamlData::Value(Scalar::String(name)) = &key.data else {
                self.problem(key.span.start.line(), format!("{}: a key that is no text", node.path));
                continue;
            };
            if !known.contains(&&**name) {
                let place = if node.path.is_empty() { "this file".to_owned() } else { node.path.clone() };
                let hint = match nearest(name, known) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => format!("write one of {}", known.join(", ")),
                };
                self.problem(key.span.start.line(), format!("{place} has no key {name:?}: {hint}"));
            }
        }
        Some(Map { node: node.clone(), path: node.path.clone(), line: node.line })
    }

    /// A mapping with any keys.
    pub fn open_map<'a>(&mut self, node: &Node<'a>) -> Vec<(String, Node<'a>)> {
        if !node.is_map() {
            self.expected(node, "a mapping");
        }
        node.children()
    }

    /// A list.
    pub fn list<'a>(&mut self, node: &Node<'a>) -> Vec<Node<'a>> {
        if !matches!(node.yaml.data, YamlData::Sequence(_)) {
            self.expected(node, "a list");
        }
        node.items()
    }

    /// Text; a number is taken as it is written where that is the same.
    pub fn text(&mut self, node: &Node<'_>) -> Option<String> {
        let text = match node.scalar() {
            Some(Scalar::String(text)) => text.to_string(),
            Some(Scalar::Integer(n)) => n.to_string(),
            Some(Scalar::Null | Scalar::Boolean(_) | Scalar::FloatingPoint(_)) | None => {
                self.expected(node, "text (put it in quotes)");
                return None;
            }
        };
        if text.contains('\0') {
            self.at(node, "it holds a NUL character, which no program can be given".to_owned());
            return None;
        }
        Some(text)
    }

    /// A list of text.
    pub fn texts(&mut self, node: &Node<'_>) -> Vec<String> {
        self.list(node).iter().filter_map(|node| self.text(node)).collect()
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, node: &Node<'_>) -> Option<bool> {
        if let Some(Scalar::Boolean(value)) = node.scalar() {
            return Some(*value);
        }
        self.expected(node, "true or false");
        None
    }

    /// A whole number.
    pub fn signed(&mut self, node: &Node<'_>) -> Option<i64> {
        if let Some(Scalar::Integer(n)) = node.scalar() {
            return Some(*n);
        }
        self.expected(node, "a whole number");
        None
    }

    /// A whole number that is not negative.
    pub fn integer(&mut self, node: &Node<'_>) -> Option<u64> {
        self.integer_as(node)
    }

    /// A whole number of an unsigned type, which may have no room for it.
    pub fn integer_as<T: TryFrom<i64>>(&mut self, node: &Node<'_>) -> Option<T> {
        let n = self.signed(node)?;
        let made = T::try_from(n).ok();
        if made.is_none() {
            // Each of these types begins with 0.
            let bits = u32::try_from(8 * size_of::<T>()).unwrap_or(u32::MAX);
            let most = 1_i64.checked_shl(bits).filter(|_| bits < 63).map_or(i64::MAX, |over| over - 1);
            self.at(node, format!("{n} is out of range: write 0 to {most}"));
        }
        made
    }

    /// A number of bytes: `1048576`, `1Mi`, `64G`.
    pub fn bytes(&mut self, node: &Node<'_>) -> Option<u64> {
        let Some(text) = node.as_str() else { return self.integer(node) };
        let made = quantity::bytes(text);
        if made.is_none() {
            self.at(node, format!("{text:?} is no number of bytes: write 1048576, 512Mi or 64G, say"));
        }
        made
    }

    /// A time: `10s`, `1m30s`.
    pub fn duration(&mut self, node: &Node<'_>) -> Option<Duration> {
        let made = node.as_str().and_then(quantity::duration);
        if made.is_none() {
            self.at(node, "this is no time: write 10s or 1m30s, say".to_owned());
        }
        made
    }

    /// One of some words.
    pub fn word<T: Copy>(&mut self, node: &Node<'_>, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = nearest(&text, &all).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            self.at(node, format!("{text:?} is none of {}{hint}", all.join(", ")));
        }
        found
    }
}

/// The key of a line that is said to be there already: which one it is the parser does not say.
fn twice<'a>(text: &'a str, line: usize, info: &str) -> Option<&'a str> {
    let line = text.lines().nth(line.checked_sub(1)?).filter(|_| info.contains("duplicate"))?;
    line.split_once(':').map(|(key, _)| key.trim()).filter(|key| !key.is_empty() && !key.contains(['{', '[']))
}

/// The word that was probably meant: one that differs by a letter, or else is a part of it or it of that, or else the most similar.
fn nearest<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    /// A part that is shorter says nothing.
    const PART: usize = 3;
    let lower = text.to_lowercase();
    let by_letter = |word: &&&'a str| strsim::osa_distance(&lower, &word.to_lowercase()) <= 1;
    let is_part = |word: &&&'a str| {
        let word = word.to_lowercase();
        word.len().min(lower.len()) >= PART && (word.contains(&lower) || lower.contains(&word))
    };
    if let Some(word) = words.iter().find(by_letter) {
        return Some(word);
    }
    if let Some(word) = words.iter().filter(is_part).min_by_key(|word| word.len().abs_diff(lower.len())) {
        return Some(word);
    }
    let near = words.iter().map(|word| (strsim::osa_distance(&lower, &word.to_lowercase()), *word)).min()?;
    // More than a third of the letters wrong is another word.
    (near.0 <= text.len().div_ceil(3)).then_some(near.1)
}
