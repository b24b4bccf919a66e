//! docs/reference/cmdjob.md and cmdfleet.md name every field. Reasons are in reasons.md, which is written from the code (e2e/reference).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so that it failed")]

use vk_cmd_crds::crd;

const DOC: &str = include_str!("../../docs/reference/cmdjob.md");

#[test]
fn every_field_of_the_spec_is_there() {
    let crd = serde_json::to_value(crd::cmdjob().unwrap()).unwrap();
    let fields = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
    for field in fields.as_object().unwrap().keys() {
        let rows = DOC.lines().filter(|line| line.starts_with('|'));
        let named = rows.filter_map(|row| row.split('|').nth(1)).any(|names| names.contains(&format!("`{field}`")));
        assert!(named, "{field} has no row in docs/reference/cmdjob.md");
    }
}

const FLEET_DOC: &str = include_str!("../../docs/reference/cmdfleet.md");

/// The names in the first columns of the tables.
fn has_row(doc: &str, name: &str) -> bool {
    let rows = doc.lines().filter(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1)).any(|names| names.contains(&format!("`{name}`")))
}

#[test]
fn every_field_of_a_fleet_is_there() {
    let crd = serde_json::to_value(crd::cmdfleet().unwrap()).unwrap();
    for part in ["spec", "status"] {
        let fields = format!("/spec/versions/0/schema/openAPIV3Schema/properties/{part}/properties");
        for field in crd.pointer(&fields).unwrap().as_object().unwrap().keys() {
            assert!(has_row(FLEET_DOC, field), "{part}.{field} has no row in docs/reference/cmdfleet.md");
        }
    }
}
