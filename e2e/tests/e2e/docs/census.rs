//! Each command of each page belongs to one scene, or to the few that are run elsewhere.

use vk_cmd_e2e::docs::{self, Command};

use super::{ALL, Scene};

/// What a test cannot run: how it begins, why not, and what of `.ci/run` runs it instead.
pub(super) const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("cargo demo", "it starts a control plane of its own, and stays until Ctrl-C", "cargo demo --once"),
    ("cargo test", "it is what runs this", "cargo test --workspace"),
];

/// Whether it is run elsewhere.
pub(super) fn is_elsewhere(command: &Command) -> bool {
    ELSEWHERE.iter().any(|(begins, ..)| command.text.starts_with(begins))
}

/// The command and where it stands.
pub(super) fn told(command: &Command) -> String {
    let first = command.text.lines().next().unwrap_or_default();
    format!("{}:{}: $ {first}", command.page, command.line)
}

#[test]
fn every_command_of_every_page_is_run() {
    let commands: Vec<Command> = docs::all().unwrap().iter().flat_map(docs::Page::commands).collect();
    assert!(commands.len() >= 100, "{} commands", commands.len());
    let mut wrong = Vec::new();
    let runs = |scene: &Scene, command: &Command| scene.parts.iter().any(|part| part.has(command));
    for command in &commands {
        let scenes: Vec<&str> = ALL.iter().filter(|(_, scene)| runs(scene, command)).map(|(name, _)| *name).collect();
        match (is_elsewhere(command), scenes.as_slice()) {
            (true, _) | (false, [_]) => {}
            (false, []) => wrong.push(format!(
                "{} is run by no test: give its section #{} to a scene (how: e2e/tests/e2e/docs/mod.rs)",
                told(command),
                command.section
            )),
            (false, several) => wrong.push(format!("{} is run by several scenes: {several:?}", told(command))),
        }
    }
    for (name, scene) in ALL {
        for part in scene.parts.iter().filter(|part| !commands.iter().any(|command| part.has(command))) {
            wrong.push(format!("the scene {name}: {}{} has no such command {:?}", part.page, part.section, part.only));
        }
        for (text, _) in scene.codes {
            if !commands.iter().any(|command| command.text == *text && runs(scene, command)) {
                wrong.push(format!("the scene {name}: it runs no command {text:?}, whose exit code it tells"));
            }
        }
    }
    let script = std::fs::read_to_string(docs::repository().join(".ci/run")).unwrap();
    for (begins, why, instead) in ELSEWHERE {
        if !script.contains(instead) {
            wrong.push(format!("{begins} is run by no test ({why}), and .ci/run does not run {instead:?} either"));
        }
        if !commands.iter().any(|command| command.text.starts_with(begins)) {
            wrong.push(format!("no page has a command {begins:?}: take it out of ELSEWHERE"));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What no command is above: a block that does not begin with one is no console.
#[test]
fn every_console_begins_with_a_command() {
    let mut wrong = Vec::new();
    for page in docs::all().unwrap() {
        for block in page.blocks.iter().filter(|block| block.language == "console" && !block.text.starts_with("$ ")) {
            wrong.push(format!("{}:{}: {}", page.path, block.line, block.text.lines().next().unwrap_or_default()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
