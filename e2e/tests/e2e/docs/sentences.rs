//! Commands in the middle of sentences: each flag and each command that is named there is one.
//!
//! Nothing of it is run: with `--help` as its last flag a program reads what stands before, refuses what it does not know, and prints.

use std::path::PathBuf;
use std::process::Command;

use futures::StreamExt;
use futures::stream;
use vk_cmd_e2e::{binaries, docs, exec};

use crate::fixture::SOON;

/// What ends a command in a shell.
const ENDS: [&str; 7] = ["|", ";", "&&", "&", "<<<", ">", "<"];
/// What a page may leave for the reader to fill in is not read as what it stands for.
const TO_FILL_IN: [&str; 2] = ["a value is required", "invalid value"];

/// Commands that vk-node has for itself, which tell nobody of themselves.
const OF_ITS_OWN: [&str; 2] = ["vk-node leash", "vk-node shim"];

/// The arguments of a span of code, if it is a command of the program that is called so.
fn arguments(span: &str, program: &str) -> Option<Vec<String>> {
    let rest = span.strip_prefix(program)?;
    if !rest.starts_with(' ') {
        return None;
    }
    // A word in capitals alone is for the reader to fill in, but cannot be where a command is.
    let words = shlex::split(rest).filter(|words| words.first().is_some_and(|first| first != "COMMAND"))?;
    let mut words: Vec<String> = words.into_iter().take_while(|word| !ENDS.contains(&word.as_str())).collect();
    words.retain(|word| word != "…" && word != "...");
    // What is in brackets may be left out.
    let mut words: Vec<String> = words.iter().map(|word| word.trim_matches(['[', ']']).to_owned()).collect();
    let at = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.insert(at, "--help".to_owned());
    Some(words)
}

#[tokio::test]
async fn every_command_in_a_sentence_is_one() {
    let built = binaries::built().await.unwrap();
    let programs: [(&str, PathBuf); 3] = [
        ("vk-node", built.node.clone()),
        ("vk-operator", built.operator.clone()),
        ("kubectl cmdjob", binaries::plugin().await.unwrap().clone()),
    ];
    let mut all = Vec::new();
    for page in docs::all().unwrap() {
        for (line, span) in &page.spans {
            for (name, program) in programs.iter().filter(|_| !OF_ITS_OWN.contains(&span.as_str())) {
                if let Some(words) = arguments(span, name) {
                    all.push((format!("{}:{line}: {span}", page.path), program.clone(), words));
                }
            }
        }
    }
    assert!(all.len() >= 80, "{} commands", all.len());
    let read = stream::iter(all).map(|(told, program, words)| async move {
        let mut command = Command::new(program);
        command.args(&words).env_clear();
        let output = exec::output(command, SOON).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_read = output.status.success() || TO_FILL_IN.iter().any(|fill| said.contains(fill));
        (!is_read).then(|| format!("{told}\n    {}", said.trim().replace('\n', "\n    ")))
    });
    let wrong: Vec<String> = read.buffer_unordered(4).filter_map(|wrong| async { wrong }).collect().await;
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
