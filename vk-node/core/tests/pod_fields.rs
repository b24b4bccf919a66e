//! The tables of `docs/reference/pod-fields.md` against the schema of core/v1 and against admission: every field of a pod's
//! specification has a row, every row is of a field there is, and what a row says is refused is refused, in its words.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says so that it failed")]

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use serde_json::{Value, json};
use vk_node_core::admit::admit;
use vk_node_core::facts::{NodeFacts, SiteUser};

const DOCUMENT: &str = include_str!("../../../docs/reference/pod-fields.md");
/// After a path: what is beneath it goes with it.
const AND_BENEATH: &str = "…";
/// The words of a row that is about a field which this node refuses.
const REFUSED: &str = "refused";
/// What the second column may say.
const WAYS: [&str; 4] = ["node", "before", "nothing", REFUSED];

/// A row of the table.
#[derive(Debug)]
struct Row {
    /// `volumes[].nfs`.
    path: String,
    with_beneath: bool,
    /// A value for which it holds, where not for all.
    value: Option<Value>,
    way: String,
    text: String,
}

fn rows() -> Vec<Row> {
    let is_row = |line: &&str| line.starts_with("| `") && line.matches(" | ").count() >= 2;
    DOCUMENT.lines().filter(is_row).filter_map(row).collect()
}

/// Rows of other tables have other words in their second column.
fn row(line: &str) -> Option<Row> {
    let mut cells = line.trim_matches('|').splitn(3, " | ").map(str::trim);
    let (field, way, text) = (cells.next()?, cells.next()?, cells.next()?);
    WAYS.contains(&way).then(|| {
        let (path, value) = match field.trim_matches('`').split_once(": ") {
            Some((path, value)) => (path, Some(serde_yaml_ng::from_str(value).unwrap())),
            None => (field.trim_matches('`'), None),
        };
        Row {
            path: path.trim_end_matches(AND_BENEATH).to_owned(),
            with_beneath: path.ends_with(AND_BENEATH),
            value,
            way: way.to_owned(),
            text: text.to_owned(),
        }
    })
}

/// The schema of a pod's specification.
struct Schema(Value);

impl Schema {
    fn new() -> Self {
        Self(serde_json::to_value(schemars::schema_for!(PodSpec)).unwrap())
    }

    fn resolve<'a>(&'a self, at: &'a Value) -> &'a Value {
        match at.get("$ref").and_then(Value::as_str) {
            Some(reference) => &self.0["$defs"][reference.rsplit('/').next().unwrap()],
            None => ["allOf", "anyOf"]
                .iter()
                .find_map(|many| at.get(many)?.as_array()?.iter().find(|one| one.get("$ref").is_some()))
                .map_or(at, |one| self.resolve(one)),
        }
    }

    /// All fields, with `[]` after lists.
    fn paths(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        self.walk(&self.0, "", &mut all);
        all
    }

    fn walk(&self, at: &Value, path: &str, all: &mut BTreeSet<String>) {
        let at = self.resolve(at);
        if let Some(items) = at.get("items") {
            self.walk(items, &format!("{path}[]"), all);
        }
        for (name, field) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            all.insert(path.clone());
            self.walk(field, &path, all);
        }
    }

    /// Something that could stand at `at`, in which the field at the end of `path` is set.
    fn sample(&self, at: &Value, path: &[&str], value: Option<&Value>) -> Value {
        let at = self.resolve(at);
        if path.is_empty()
            && let Some(value) = value
        {
            return value.clone();
        }
        let kind = at["type"].as_array().map_or(&at["type"], |kinds| &kinds[0]).as_str().unwrap_or_default();
        match kind {
            "array" => json!([self.sample(&at["items"], path, value)]),
            "integer" => json!(1),
            "number" => json!(1.0),
            "boolean" => json!(true),
            "object" => {
                let mut object = serde_json::Map::new();
                let field = path.first().map(|part| part.trim_end_matches("[]"));
                let required = at["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
                for name in required.chain(field).collect::<BTreeSet<_>>() {
                    let rest = if Some(name) == field { &path[1..] } else { &[] };
                    let value = if Some(name) == field { value } else { None };
                    object.insert(name.to_owned(), self.sample(&at["properties"][name], rest, value));
                }
                if object.is_empty() && at.get("additionalProperties").is_some() {
                    object.insert("key".to_owned(), self.sample(&at["additionalProperties"], &[], None));
                }
                Value::Object(object)
            }
            // Quantities and numbers or names of ports are texts too.
            _ => json!("1"),
        }
    }
}

/// Init and ephemeral containers are read as the others; what they have more has a row of its own.
fn is_covered(path: &str, rows: &[Row]) -> bool {
    let as_main =
        path.replacen("initContainers[]", "containers[]", 1).replacen("ephemeralContainers[]", "containers[]", 1);
    [path, &as_main].iter().any(|path| {
        rows.iter().any(|row| {
            let beneath = path.strip_prefix(row.path.as_str()).is_some_and(|rest| rest.starts_with(['.', '[']));
            row.path == **path || (row.with_beneath && beneath)
        })
    })
}

#[test]
fn every_field_has_a_row_and_every_row_a_field() {
    let (paths, rows) = (Schema::new().paths(), rows());
    let missing: Vec<_> = paths.iter().filter(|path| !is_covered(path, &rows)).collect();
    assert!(missing.is_empty(), "fields without a row in docs/reference/pod-fields.md: {missing:#?}");
    let unknown: Vec<_> = rows.iter().filter(|row| !paths.contains(&row.path)).map(|row| &row.path).collect();
    assert!(unknown.is_empty(), "rows of docs/reference/pod-fields.md about no field of core/v1: {unknown:#?}");
}

/// The least pod, with one field more.
fn pod_with(row: &Row, schema: &Schema) -> Pod {
    let mut spec = json!({"containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["true"]}]});
    let parts: Vec<&str> = row.path.split('.').collect();
    merge(&mut spec, schema.sample(&schema.0, &parts, row.value.as_ref()));
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec})).unwrap()
}

/// Puts `from` into `into`; what a list holds goes to the first of the list that is there.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                match into.get_mut(&name) {
                    // The least container's own fields stay.
                    Some(Value::String(_)) => {}
                    Some(there) => merge(there, value),
                    None => {
                        into.insert(name, value);
                    }
                }
            }
        }
        (Value::Array(into), Value::Array(from)) => {
            for (i, value) in from.into_iter().enumerate() {
                match into.get_mut(i) {
                    Some(there) if there.is_object() => merge(there, value),
                    Some(_) => {}
                    None => into.push(value),
                }
            }
        }
        (into, from) => *into = from,
    }
}

#[test]
fn what_is_said_to_be_refused_is_refused_in_these_words() {
    let schema = Schema::new();
    let node =
        NodeFacts { name: "vk-a".into(), user: SiteUser::Known { uid: 1000, gid: 1000 }, ..NodeFacts::default() };
    let mut wrong = BTreeMap::new();
    for row in rows().iter().filter(|row| row.way == REFUSED) {
        let Err(refusal) = admit(&pod_with(row, &schema), &node) else {
            wrong.insert(row.path.clone(), "is admitted".to_owned());
            continue;
        };
        let said: Vec<String> = refusal.0.iter().map(|p| format!("{}: {}", p.field, p.message)).collect();
        if !refusal.0.iter().any(|problem| problem.message.contains(&row.text)) {
            wrong.insert(row.path.clone(), format!("is refused, but not in the words {:?}: {said:?}", row.text));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
