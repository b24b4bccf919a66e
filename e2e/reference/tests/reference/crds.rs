//! crds.md: every field of the kinds, as the API server gets them.

use serde_json::Value;
use vk_cmd_crds::crd::Kind;
use vk_reference::{code, table};

use crate::same;

type Row = [String; 5];

fn rows(kind: Kind, part: &str) -> Vec<Row> {
    let crd = serde_json::to_value(kind.definition().unwrap()).unwrap();
    let schema = crd.pointer(&format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}")).unwrap();
    let mut rows = Vec::new();
    let own = checks(schema);
    if !own.is_empty() {
        rows.push([code(part), "object".into(), String::new(), own, "all of it together".into()]);
    }
    walk(schema, "", &mut rows);
    rows
}

/// The fields below this one, each before its own.
fn walk(schema: &Value, path: &str, rows: &mut Vec<Row>) {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let (kind, inner, suffix) = kind_of(field);
        let default = field.get("default").map(|value| code(&value.to_string()));
        let is_required = required.contains(&name.as_str());
        let default = default.unwrap_or_else(|| if is_required { "required".to_owned() } else { String::new() });
        let mut own = checks(field);
        // Of what is in a list or a map, too.
        if !std::ptr::eq(inner, field) && !checks(inner).is_empty() {
            own = format!("{own}{}each: {}", if own.is_empty() { "" } else { "; " }, checks(inner));
        }
        rows.push([code(&path), kind, default, own, description(field)]);
        walk(inner, &format!("{path}{suffix}"), rows);
    }
}

/// What it is; the schema of what is in it; and how the way goes on.
fn kind_of(field: &Value) -> (String, &Value, &'static str) {
    if field["x-kubernetes-int-or-string"] == true {
        return ("number or text".to_owned(), field, "");
    }
    let named = |field: &Value| match (field["type"].as_str(), field["format"].as_str()) {
        (_, Some(format)) if !matches!(format, "int32" | "int64") => format.to_owned(),
        (Some("array"), _) => "list".to_owned(),
        (Some("string"), _) => "text".to_owned(),
        (kind, _) => kind.unwrap_or("anything").to_owned(),
    };
    let of = |inner: &Value| {
        if inner["x-kubernetes-int-or-string"] == true { "number or text".to_owned() } else { named(inner) }
    };
    match (&field["items"], &field["additionalProperties"]) {
        (Value::Object(_), _) => (format!("list of {}", of(&field["items"])), &field["items"], "[]"),
        (_, Value::Object(_)) => {
            (format!("map of {}", of(&field["additionalProperties"])), &field["additionalProperties"], ".*")
        }
        _ => (named(field), field, ""),
    }
}

/// What the API server takes.
fn checks(field: &Value) -> String {
    let mut all = Vec::new();
    if let Some(words) = field["enum"].as_array() {
        let words = words
            .iter()
            .filter_map(Value::as_str)
            .map(|word| if word.is_empty() { "nothing".to_owned() } else { code(word) });
        all.push(format!("one of {}", words.collect::<Vec<_>>().join(", ")));
    }
    for (key, words) in [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "characters, at least"),
        ("maxLength", "characters, at most"),
        ("minItems", "entries, at least"),
        ("maxItems", "entries, at most"),
        ("minProperties", "keys, at least"),
        ("maxProperties", "keys, at most"),
    ] {
        if let Some(number) = field[key].as_f64() {
            all.push(format!("{words} {number}"));
        }
    }
    if let Some(pattern) = field["pattern"].as_str() {
        all.push(code(pattern));
    }
    for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let said = rule["message"].as_str().map(|words| format!("“{words}”"));
        // One whose words depend on what is written.
        all.push(
            said.unwrap_or_else(|| {
                code(rule["messageExpression"].as_str().or(rule["rule"].as_str()).unwrap_or_default())
            }),
        );
    }
    all.join("; ")
}

fn description(field: &Value) -> String {
    let text = field["description"].as_str().unwrap_or_default();
    text.split("\n\n").next().unwrap_or_default().replace('<', "\\<")
}

#[test]
fn every_field_is_told() {
    let head = ["field", "type", "default", "what is taken", "meaning"];
    for (kind, name) in [(Kind::CmdJob, "cmdjob"), (Kind::CmdFleet, "cmdfleet")] {
        for part in ["spec", "status"] {
            let rows = rows(kind, part);
            assert!(rows.len() >= 20, "{name}.{part} has {} fields", rows.len());
            same("crds.md", &format!("{name}-{part}"), &table(head, rows));
        }
    }
}
