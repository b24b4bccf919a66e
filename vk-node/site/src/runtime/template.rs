//! Command lines with placeholders.
//!
//! `{image}` stands for a text within a word; `{command...}` is a word of its own and stands for any number of words.
//! `{{` and `}}` are braces.

/// The placeholders for texts that every template may have.
const EVERYWHERE: [&str; 3] = ["image", "id", "name"];

/// A list of words with placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template(Vec<Word>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// These, one after the other, are one word.
    One(Vec<Piece>),
    /// Any number of words.
    Many(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(String),
}

impl Template {
    /// The words of a part, which may have these placeholders besides those for everywhere.
    pub(crate) fn part(texts: &[String], more: &[&str]) -> Result<Self, Vec<String>> {
        Self::parse(texts, &[&EVERYWHERE[..], more].concat(), &[])
    }

    /// The words of a command about a container that exists.
    pub(crate) fn named(texts: &[String]) -> Result<Self, Vec<String>> {
        Self::parse(texts, &EVERYWHERE, &[])
    }

    /// Reads words; tells all that is wrong with them.
    pub(super) fn parse(texts: &[String], values: &[&str], lists: &[&str]) -> Result<Self, Vec<String>> {
        let (mut words, mut wrong) = (Vec::new(), Vec::new());
        for text in texts {
            match word(text, values, lists) {
                Ok(word) => words.push(word),
                Err(message) => wrong.push(message),
            }
        }
        if texts.is_empty() {
            wrong.push("it is empty: write the words of a command line".to_owned());
        }
        if wrong.is_empty() { Ok(Self(words)) } else { Err(wrong) }
    }

    /// How often a placeholder stands in it.
    pub(super) fn count(&self, name: &str) -> usize {
        let in_word = |word: &Word| match word {
            Word::Many(many) => usize::from(many == name),
            Word::One(pieces) => pieces.iter().filter(|p| matches!(p, Piece::Value(value) if value == name)).count(),
        };
        self.0.iter().map(in_word).sum()
    }

    /// The words, with `value` and `list` in place of the placeholders.
    pub(super) fn fill(&self, value: impl Fn(&str) -> String, list: impl Fn(&str) -> Vec<String>) -> Vec<String> {
        let mut words = Vec::new();
        for word in &self.0 {
            match word {
                Word::Many(name) => words.extend(list(name)),
                Word::One(pieces) => words.push(
                    pieces
                        .iter()
                        .map(|piece| match piece {
                            Piece::Text(text) => text.clone(),
                            Piece::Value(name) => value(name),
                        })
                        .collect(),
                ),
            }
        }
        words
    }
}

fn word(text: &str, values: &[&str], lists: &[&str]) -> Result<Word, String> {
    let known = || {
        let all = values.iter().map(|v| format!("{{{v}}}")).chain(lists.iter().map(|l| format!("{{{l}...}}")));
        all.collect::<Vec<_>>().join(", ")
    };
    if let Some(name) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix("...}"))
        && lists.contains(&name)
    {
        return Ok(Word::Many(name.to_owned()));
    }
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        plain.push_str(before);
        if let Some(after) = brace.strip_prefix("{{") {
            plain.push('{');
            rest = after;
        } else if let Some(after) = brace.strip_prefix("}}") {
            plain.push('}');
            rest = after;
        } else if let Some((name, after)) = brace.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            if let Some(list) = name.strip_suffix("...").filter(|list| lists.contains(list)) {
                return Err(format!(
                    "{text:?}: {{{list}...}} stands for any number of words, and must be a word of its own"
                ));
            }
            if !values.contains(&name) {
                return Err(format!("{text:?}: there is no {{{name}}} here, only {}; write {{{{ for a brace", known()));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Value(name.to_owned()));
            rest = after;
        } else {
            return Err(format!("{text:?}: a brace is alone; write {{{{ or }}}} for one"));
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(Word::One(pieces))
}
