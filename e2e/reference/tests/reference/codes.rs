//! exit-codes.md: how the programs end.

use clap::{Command, CommandFactory};
use vk_cli_core::exit;
use vk_reference::{code, table};

use crate::same;

const HEAD: [&str; 2] = ["code", "meaning"];

/// As the program's help has them.
fn of_help(command: &Command) -> String {
    let help = command.get_after_help().unwrap().to_string();
    let lines = help.lines().skip(1).map(|line| line.trim().split_once("  ").unwrap());
    table(HEAD, lines.map(|(number, words)| [code(number), words.to_owned()]))
}

#[test]
fn of_vk_node() {
    same("exit-codes.md", "vk-node", &of_help(&vk_node::command()));
}

#[test]
fn of_kubectl_cmdjob() {
    let rows = exit::TABLE.iter().map(|(number, words)| [code(&number.to_string()), (*words).to_owned()]);
    same("exit-codes.md", "kubectl-cmdjob", &table(HEAD, rows));
}

#[test]
fn of_vk_operator() {
    same("exit-codes.md", "vk-operator", &of_help(&vk_operator::cli::Cli::command()));
}
