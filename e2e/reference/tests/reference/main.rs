//! docs/reference says what the code says: each page's parts are written from it, or held to it. `UPDATE_GOLDEN=1 cargo test -p vk-reference`
//! writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so that it failed"
)]

mod codes;
mod commands;
mod crds;
mod metrics;
mod reasons;
mod settings;
mod words;

use vk_reference::root;

/// What a file of the repository says.
fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every source file below a directory, without its tests.
fn sources(directory: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(place) = open.pop() {
        for entry in std::fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                open.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                all.push((path.strip_prefix(root()).unwrap().display().to_string(), code));
            }
        }
    }
    all.sort();
    all
}

/// The text literals in a source file, without comments and documentation.
fn literals(code: &str) -> Vec<&str> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).collect()
}

#[track_caller]
fn same(page: &str, part: &str, text: &str) {
    if let Err(why) = vk_reference::part(page, part, text) {
        panic!("{why}");
    }
}
