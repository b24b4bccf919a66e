//! settings.md: the node's file with the flags and variables that say the same, and the site's file.

use std::path::Path;

use vk_node_core::config::{self, Settings, TAKEN_UP};
use vk_reference::{code, table};

use crate::{literals, same, sources, text_of};

/// What the example leaves in comments.
const BESIDES: &str = "version: 1\nrelay: {address: 'r:1', caFile: f}\nnodes: {prefix: vk-, count: 2}\n";
/// Whose keys are anybody's.
const OPEN: [&str; 4] = ["labels", "capacity", "systemReserved", "images"];

/// The keys of the node's file, each as its way from the top.
fn keys() -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = Vec::new();
    for text in [&*text_of("docs/reference/node.yaml"), BESIDES] {
        for said in config::read(text, Path::new("/")).unwrap().said() {
            let length = if OPEN.contains(&said.path[0].as_str()) { 1 } else { 2 };
            let path: Vec<_> = said.path.into_iter().take(length).collect();
            if !all.contains(&path) {
                all.push(path);
            }
        }
    }
    for key in config::keys() {
        assert!(all.iter().any(|path| path[0] == key), "neither docs/reference/node.yaml nor BESIDES has {key}");
    }
    all
}

#[test]
fn of_the_node() {
    let mut command = vk_node::command();
    command.build();
    let run = command.find_subcommand("run").unwrap();
    let defaults = Settings::default().defaults(Some("$HOME".into())).said();
    let rows = keys().into_iter().map(|path| {
        let key = path.join(".");
        let given: Vec<_> = vk_node::settings().filter(|(setting, _)| *setting == key).collect();
        let arguments =
            given.iter().map(|(_, id)| run.get_arguments().find(|argument| argument.get_id() == id).unwrap());
        let mut flags = Vec::new();
        let mut variables = Vec::new();
        for argument in arguments {
            flags.extend(argument.get_long().map(|name| code(&format!("--{name}"))));
            variables.extend(argument.get_env().map(|name| code(&name.to_string_lossy())));
        }
        variables.extend(config::variable_of(&key).map(code));
        let default = defaults.iter().find(|said| said.path == path).map(|said| match said.value.as_str() {
            Some(text) => code(text),
            None => code(&said.value.to_string()),
        });
        let at_once = if TAKEN_UP.contains(&path[0].as_str()) { "yes" } else { "" };
        [code(&key), flags.join(", "), variables.join(", "), default.unwrap_or_default(), at_once.to_owned()]
    });
    let head = ["key", "flag", "variable", "default", "in force at SIGHUP"];
    same("settings.md", "node", &table(head, rows));
}

/// The keys of a YAML text that is written as our examples are: each with its value, and what the comments before it say.
fn told(text: &str) -> Vec<[String; 3]> {
    let mut rows = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let line = line.trim();
        let commented =
            line.strip_prefix("# ").filter(|rest| rest.split_once(": ").is_some_and(|(key, _)| is_key(key)));
        if line.is_empty() {
            comment.clear();
        } else if let (Some(rest), None) = (line.strip_prefix('#'), commented) {
            comment += rest;
        } else if let Some((key, value)) = commented.unwrap_or(line).split_once(':').filter(|(key, _)| is_key(key)) {
            path.retain(|(at, _)| *at < depth);
            path.push((depth, key.to_owned()));
            let value = value.split(" # ").next().unwrap_or_default().trim();
            let key = path.iter().map(|(_, key)| key.as_str()).collect::<Vec<_>>().join(".");
            rows.push([code(&key), code(value), std::mem::take(&mut comment).trim().to_owned()]);
        }
    }
    rows
}

fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
}

#[test]
fn of_the_site() {
    let example = text_of("docs/reference/site.yaml");
    same("settings.md", "site", &table(["key", "for example", "meaning"], told(&example)));
    // What is read there is told of: in the example, or in site.md.
    let told = example + &text_of("docs/reference/site.md");
    for (path, code) in sources("vk-node/site/src/read") {
        for key in literals(&code).into_iter().filter(|text| is_key(text) && text.len() > 3 && !text.contains('.')) {
            assert!(
                told.contains(key),
                "{path} reads {key}, and neither docs/reference/site.yaml nor site.md tells of it"
            );
        }
    }
}
