//! commands.md: what the programs take, as their own parsers have it.

use clap::CommandFactory;

use crate::same;

#[test]
fn of_kubectl_cmdjob() {
    same("commands.md", "kubectl-cmdjob", &vk_reference::commands(vk_cli_core::args::Cli::command()));
}

#[test]
fn of_vk_node() {
    same("commands.md", "vk-node", &vk_reference::commands(vk_node::command()));
}

#[test]
fn of_vk_operator() {
    same("commands.md", "vk-operator", &vk_reference::commands(vk_operator::cli::Cli::command()));
}
