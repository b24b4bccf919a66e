//! docs/reference/cli.md says what is so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says so that it failed"
)]

use clap::Parser;
use vk_cli_core::args::Cli;
use vk_cli_core::{doctor, sbatch};

const DOCS: &str = include_str!("../../../docs/reference/cli.md");
const README: &str = include_str!("../../../README.md");

#[test]
fn the_table_of_headers_is_the_one_that_is_used() {
    let table = sbatch::table();
    assert!(DOCS.contains(&table), "docs/reference/cli.md has another table of headers; it must be:\n{table}");
}

#[test]
fn every_command_line_in_the_docs_can_be_read() {
    let mut lines = 0;
    for line in DOCS.lines().chain(README.lines()) {
        let Some(line) = line.strip_prefix("$ kubectl cmdjob") else { continue };
        let words = shlex::split(line.split(" | ").next().unwrap()).unwrap();
        let read = Cli::try_parse_from(std::iter::once("kubectl-cmdjob".to_owned()).chain(words));
        assert!(read.is_ok(), "{line}: {}", read.unwrap_err());
        lines += 1;
    }
    assert!(lines >= 15, "{lines} command lines");
}

#[test]
fn every_check_of_the_doctor_is_told() {
    let others = ["completion", "kubeconfig", "server", "crd-cmdjobs", "crd-cmdfleets", "operator", "nodes"];
    for id in doctor::RIGHTS.iter().map(|right| right.id).chain(others) {
        assert!(DOCS.contains(&format!("`{id}`")), "docs/reference/cli.md does not tell of the check {id}");
    }
}
