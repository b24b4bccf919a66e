//! `-o json|yaml|name|wide`.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// KIND/NAME of each.
    Name,
    /// A table with more columns.
    Wide,
}

/// Objects, as kubectl prints them: one alone as it is, several as a `List`.
#[must_use]
pub fn list<T: Serialize>(objects: &[T], is_single: bool) -> Value {
    match objects {
        [object] if is_single => json!(object),
        objects => json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects}),
    }
}

/// A value as text, with a line feed at its end. Names are the caller's: `None` for a format that is not this function's.
#[must_use]
pub fn text(format: Format, value: &Value) -> Option<String> {
    match format {
        // Neither can fail for a Value.
        Format::Json => serde_json::to_string_pretty(value).ok().map(|text| text + "\n"),
        Format::Yaml => serde_yaml_ng::to_string(value).ok(),
        Format::Name | Format::Wide => None,
    }
}

/// The name of a CmdJob as `-o name` prints it.
#[must_use]
pub fn job_name(name: &str) -> String {
    format!("cmdjob.{}/{name}", vk_cmd_crds::labels::GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_named_is_printed_alone() {
        assert_eq!(list(&["a"], true), json!("a"));
        for (objects, is_single) in [(vec!["a"], false), (vec![], true), (vec!["a", "b"], true)] {
            assert_eq!(list(&objects, is_single)["items"], json!(objects));
        }
        assert_eq!(text(Format::Yaml, &json!({"a": 1})).as_deref(), Some("a: 1\n"));
        assert_eq!(text(Format::Json, &json!({"a": 1})).as_deref(), Some("{\n  \"a\": 1\n}\n"));
        assert_eq!(text(Format::Name, &json!(1)), None);
    }
}
