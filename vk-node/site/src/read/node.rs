//! YAML with the lines it came from, and a reader that collects what is wrong with it.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use super::{Problem, SiteError};

/// Reads the text as YAML: one document.
pub(super) fn load(text: &str) -> Result<MarkedYaml<'_>, SiteError> {
    let problem = |line, message| Err(SiteError(vec![Problem { line, message }]));
    let mut documents = match MarkedYaml::load_from_str(text) {
        Ok(documents) => documents,
        Err(e) => return problem(e.marker().line(), format!("this is no YAML: {}", e.info())),
    };
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document),
        (Some(second), false) => problem(second.span.start.line(), "there is a second document: write one".to_owned()),
        (None, _) => problem(1, "the file is empty: write at least `version: 1`, or remove it".to_owned()),
    }
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    yaml: &'a MarkedYaml<'a>,
    /// The keys that lead to it.
    pub(super) path: String,
    pub(super) line: usize,
}

/// A mapping whose keys are known.
pub(super) struct Map<'a> {
    node: Node<'a>,
    pub(super) path: String,
    pub(super) line: usize,
}

impl<'a> Node<'a> {
    pub(super) fn root(yaml: &'a MarkedYaml<'a>) -> Self {
        Self { yaml, path: String::new(), line: yaml.span.start.line() }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.yaml.data, YamlData::Mapping(_))
    }

    pub(super) fn is_empty_map(&self) -> bool {
        matches!(&self.yaml.data, YamlData::Mapping(entries) if entries.is_empty())
    }

    /// The value, if it is a single one.
    fn scalar(&self) -> Option<&'a Scalar<'a>> {
        if let YamlData::Value(scalar) = &self.yaml.data { Some(scalar) } else { None }
    }

    pub(super) fn as_str(&self) -> Option<&'a str> {
        if let Some(Scalar::String(text)) = self.scalar() { Some(text) } else { None }
    }

    /// The items of a list; none if it is no list.
    pub(super) fn items(&self) -> Vec<Self> {
        let YamlData::Sequence(items) = &self.yaml.data else { return Vec::new() };
        let item = |(i, yaml): (usize, &'a MarkedYaml<'a>)| Self {
            yaml,
            path: format!("{}[{i}]", self.path),
            line: yaml.span.start.line(),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The value of a key.
    pub(super) fn child(&self, key: &str) -> Option<Self> {
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
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.node.child(key)
    }
}

/// Reads values and collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn problem(&mut self, line: usize, message: String) {
        self.problems.push(Problem { line, message });
    }

    pub(super) fn at(&mut self, node: &Node<'_>, message: String) {
        let message = if node.path.is_empty() { message } else { format!("{}: {message}", node.path) };
        self.problem(node.line, message);
    }

    fn expected(&mut self, node: &Node<'_>, wanted: &str) {
        self.at(node, format!("this is {}, and {wanted} is wanted", node.what()));
    }

    /// A mapping that may have these keys and no others.
    pub(super) fn map<'a>(&mut self, node: &Node<'a>, known: &[&str]) -> Option<Map<'a>> {
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
    pub(super) fn open_map<'a>(&mut self, node: &Node<'a>) -> Vec<(String, Node<'a>)> {
        if !node.is_map() {
            self.expected(node, "a mapping");
        }
        node.children()
    }

    pub(super) fn list<'a>(&mut self, node: &Node<'a>) -> Vec<Node<'a>> {
        if !matches!(node.yaml.data, YamlData::Sequence(_)) {
            self.expected(node, "a list");
        }
        node.items()
    }

    /// Text; a number is taken as it is written where that is the same.
    pub(super) fn text(&mut self, node: &Node<'_>) -> Option<String> {
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

    pub(super) fn texts(&mut self, node: &Node<'_>) -> Vec<String> {
        self.list(node).iter().filter_map(|node| self.text(node)).collect()
    }

    pub(super) fn boolean(&mut self, node: &Node<'_>) -> Option<bool> {
        if let Some(Scalar::Boolean(value)) = node.scalar() {
            return Some(*value);
        }
        self.expected(node, "true or false");
        None
    }

    pub(super) fn signed(&mut self, node: &Node<'_>) -> Option<i64> {
        if let Some(Scalar::Integer(n)) = node.scalar() {
            return Some(*n);
        }
        self.expected(node, "a whole number");
        None
    }

    pub(super) fn integer(&mut self, node: &Node<'_>) -> Option<u64> {
        self.integer_as(node)
    }

    /// A whole number of a type that may have no room for it.
    pub(super) fn integer_as<T: TryFrom<i64>>(&mut self, node: &Node<'_>) -> Option<T> {
        let n = self.signed(node)?;
        let made = T::try_from(n).ok();
        if made.is_none() {
            self.at(node, format!("{n} is out of range"));
        }
        made
    }

    /// A number of bytes: `1048576`, `1Mi`, `64G`.
    pub(super) fn bytes(&mut self, node: &Node<'_>) -> Option<u64> {
        let Some(text) = node.as_str() else { return self.integer(node) };
        let made = quantity(text);
        if made.is_none() {
            self.at(node, format!("{text:?} is no number of bytes: write 1048576, 512Mi or 64G, say"));
        }
        made
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node<'_>, words: &[(&str, T)]) -> Option<T> {
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

/// The suffixes of Kubernetes' quantities that bytes are written with.
fn quantity(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, suffix) = text.split_at(at);
    let factor: u64 = match suffix {
        "k" => 1000,
        "M" => 1000_u64.pow(2),
        "G" => 1000_u64.pow(3),
        "T" => 1000_u64.pow(4),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The word that was probably meant.
fn nearest<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    let lower = text.to_lowercase();
    let near = words.iter().map(|word| (strsim::osa_distance(&lower, &word.to_lowercase()), *word)).min()?;
    // More than a third of the letters wrong is another word.
    (near.0 <= text.len().div_ceil(3)).then_some(near.1)
}
