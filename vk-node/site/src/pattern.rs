//! Patterns for names and paths, and rules made of them.

use globset::{GlobBuilder, GlobMatcher};

/// A pattern: `*` stands for any characters but `/`, `**` for any at all, `?` for one, `[a-z]` for one of these,
/// `{a,b}` for one of these; a backslash takes a character as it is. `*` alone is anything.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    /// Makes a pattern of its text.
    ///
    /// # Errors
    /// Why it is none, for people.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a pattern is empty: write * for anything".to_owned());
        }
        let glob = if text == "*" { "**" } else { text };
        let made = GlobBuilder::new(glob).literal_separator(true).backslash_escape(true).build();
        let matcher = made.map_err(|e| format!("{text:?} is no pattern: {}", e.kind()))?.compile_matcher();
        Ok(Self { text: text.to_owned(), matcher })
    }

    /// Whether it describes `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// Some patterns, of which one is enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patterns(pub Vec<Pattern>);

impl Patterns {
    /// The first that describes `text`.
    #[must_use]
    pub fn first_match(&self, text: &str) -> Option<&Pattern> {
        self.0.iter().find(|p| p.matches(text))
    }
}

/// Who or what is allowed. A denial wins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Only these; `None`: all.
    pub allow: Option<Patterns>,
    /// Not these.
    pub deny: Patterns,
}

impl Rule {
    /// Whether `text` is allowed.
    #[must_use]
    pub fn permits(&self, text: &str) -> bool {
        self.deny.first_match(text).is_none() && self.allow.as_ref().is_none_or(|a| a.first_match(text).is_some())
    }

    /// The rule as a vk-node publishes it in an annotation: JSON, `{"allow": [PATTERN…], "deny": [PATTERN…]}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let texts = |patterns: &Patterns| patterns.0.iter().map(|p| p.text.clone()).collect();
        let told = Told { allow: self.allow.as_ref().map(texts), deny: texts(&self.deny) };
        serde_json::to_string(&told).unwrap_or_default()
    }

    /// Reads what [`Rule::to_json`] has written.
    ///
    /// # Errors
    /// Why it is no rule, for people.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let told: Told = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let patterns = |texts: Vec<String>| {
            let all: Result<Vec<Pattern>, String> = texts.iter().map(|text| Pattern::new(text)).collect();
            all.map(Patterns)
        };
        Ok(Self { allow: told.allow.map(patterns).transpose()?, deny: patterns(told.deny)? })
    }

    /// Whether it allows everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.deny.0.is_empty()
            && self.allow.as_ref().is_none_or(|a| a.0.iter().any(|p| matches!(p.as_str(), "*" | "**")))
    }
}

/// A rule as it is told.
#[derive(serde::Serialize, serde::Deserialize)]
struct Told {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(text)
    }

    #[test]
    fn a_star_stays_in_its_directory() {
        assert!(matches("/opt/*", "/opt/x") && !matches("/opt/*", "/opt/x/y") && !matches("/opt/*", "/opt"));
        assert!(matches("/opt/**", "/opt/x/y") && !matches("/opt/**", "/opt"));
        assert!(matches("python3*", "python3.11") && !matches("python3*", "/usr/bin/python3"));
        assert!(matches("*", "/any/thing") && matches("a:*", "a:b"));
        assert!(matches("ghcr.io/site/*:v?", "ghcr.io/site/tool:v1"));
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        assert!(Pattern::new("").is_err() && Pattern::new("[a").is_err() && Pattern::new("{a").is_err());
    }

    #[test]
    fn a_rule_is_read_as_it_was_told() {
        let of = |texts: &[&str]| Patterns(texts.iter().map(|t| Pattern::new(t).unwrap()).collect());
        for (rule, text) in [
            (Rule::default(), "{}"),
            (Rule { allow: Some(Patterns::default()), deny: Patterns::default() }, r#"{"allow":[]}"#),
            (Rule { allow: Some(of(&["a", "team-*"])), deny: of(&["b"]) }, r#"{"allow":["a","team-*"],"deny":["b"]}"#),
        ] {
            assert_eq!(rule.to_json(), text);
            assert_eq!(Rule::from_json(text).as_ref(), Ok(&rule));
        }
        assert!(Rule::from_json(r#"{"allow":["[a"]}"#).is_err() && Rule::from_json("x").is_err());
    }

    #[test]
    fn a_denial_wins() {
        let of = |texts: &[&str]| Patterns(texts.iter().map(|t| Pattern::new(t).unwrap()).collect());
        let rule = Rule { allow: Some(of(&["team-*"])), deny: of(&["team-x"]) };
        assert!(rule.permits("team-a") && !rule.permits("team-x") && !rule.permits("other"));
        assert!(!Rule { allow: Some(Patterns::default()), deny: Patterns::default() }.permits("a"));
        assert!(Rule::default().permits("a") && Rule::default().is_open() && !rule.is_open());
    }
}
