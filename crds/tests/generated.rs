//! The generated files in the repository are what the types say.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so that it failed")]

use std::path::Path;

use vk_cmd_crds::crd::{self, Kind};

#[track_caller]
fn same(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let found = std::fs::read_to_string(file).unwrap_or_default();
    assert!(found == text, "{path} is not what crds/src says: run `{}`", crd::COMMAND);
}

#[test]
fn manifests_are_current() {
    for kind in Kind::ALL {
        same(&kind.manifest_path(), &kind.manifest().unwrap());
    }
}

#[test]
fn chart_is_current() {
    for kind in Kind::ALL {
        same(&kind.chart_template_path(), &kind.chart_template().unwrap());
    }
}
