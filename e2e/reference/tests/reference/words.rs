//! reasons.md, what nodes say of themselves and of pods, and what events are called: words that are the kubelet's or ours, said in many
//! places of the code. Each that is there is told of, and each that is told of is there.

mod tables;

use std::collections::BTreeSet;

use vk_reference::{code, table};

use crate::{literals, same, sources};

use tables::{ATTEMPTS, ENDED, EVENTS, NODES, POD_CONDITIONS, PODS, WAITING, Word};

/// Where words are said.
const FILES: [&str; 20] = [
    "operator/core/src/attempts.rs",
    "operator/core/src/events.rs",
    "vk-node/core/src/admit/refusal.rs",
    "vk-node/core/src/ending/mod.rs",
    "vk-node/core/src/ending/takes.rs",
    "vk-node/core/src/events.rs",
    "vk-node/core/src/evict.rs",
    "vk-node/core/src/life/stop.rs",
    "vk-node/core/src/meant.rs",
    "vk-node/core/src/node/conditions.rs",
    "vk-node/core/src/node/way.rs",
    "vk-node/core/src/room.rs",
    "vk-node/core/src/runs/outcome.rs",
    "vk-node/core/src/status/conditions.rs",
    "vk-node/core/src/status/container.rs",
    "vk-node/core/src/status/mod.rs",
    "vk-node/core/src/trouble.rs",
    "vk-node/src/given/volumes.rs",
    "vk-node/src/node/member.rs",
    "crds/src/labels.rs",
];
/// Those that are said there and mean something else: phases, answers, kinds, operators, what a metric counts, what others say.
const OTHERS: [&str; 32] = [
    "Always",
    "CmdFleet",
    "CmdJob",
    "CreatePod",
    "DeletePod",
    "DeletionByPodGC",
    "DoesNotExist",
    "Exists",
    "False",
    "Gt",
    "In",
    "Lt",
    "Never",
    "NoExecute",
    "NoSchedule",
    "NotIn",
    "OnFailure",
    "OutOfExtendedResources",
    "Pending",
    "Report",
    "Running",
    "Succeeded",
    "True",
    "Unknown",
    "Startup",
    "Liveness",
    "Readiness",
    "MemoryPressure",
    "DiskPressure",
    "PIDPressure",
    "Container",
    "Failed",
];

fn is_word(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_lowercase())
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(|c| c.is_ascii_alphabetic())
}

#[test]
fn each_word_is_told_of() {
    let all = [ATTEMPTS, PODS, WAITING, ENDED, POD_CONDITIONS, NODES, EVENTS].concat();
    let told: BTreeSet<&str> = all.iter().map(|[word, ..]| *word).collect();
    let code: Vec<(String, String)> =
        ["operator/core/src", "vk-node/core/src", "vk-node/src", "crds/src"].into_iter().flat_map(sources).collect();
    let files: Vec<_> = code.iter().filter(|(path, _)| FILES.contains(&path.as_str())).collect();
    assert_eq!(files.len(), FILES.len(), "one of FILES is not there any more");
    let said: BTreeSet<&str> = files.iter().flat_map(|(_, code)| literals(code)).filter(|text| is_word(text)).collect();
    let missing: Vec<_> = said.iter().filter(|word| !told.contains(*word) && !OTHERS.contains(word)).collect();
    assert!(
        missing.is_empty(),
        "a word of the code is not in the tables of this file: {missing:?}; tell of it, or name it in OTHERS"
    );
    let gone: Vec<_> = told.iter().filter(|word| !said.contains(*word)).collect();
    assert!(gone.is_empty(), "no code says {gone:?}");
}

#[test]
fn the_tables_are_on_the_page() {
    let rows = |words: &[Word]| {
        words
            .iter()
            .map(|[word, place, meaning, advice]| {
                [code(word), (*place).to_owned(), (*meaning).to_owned(), (*advice).to_owned()]
            })
            .collect::<Vec<_>>()
    };
    for (part, place, words) in [
        ("attempt-reasons", "of", ATTEMPTS),
        ("pod-reasons", "phase", PODS),
        ("waiting-reasons", "state", WAITING),
        ("ended-reasons", "state", ENDED),
        ("node-reasons", "condition", NODES),
    ] {
        same("reasons.md", part, &table(["reason", place, "meaning", "what to do"], rows(words)));
    }
    let short = |words: &[Word]| {
        rows(words).into_iter().map(|[word, place, meaning, _]| [word, place, meaning]).collect::<Vec<_>>()
    };
    same("reasons.md", "pod-conditions", &table(["word", "is a", "meaning"], short(POD_CONDITIONS)));
    same("reasons.md", "events", &table(["event", "of", "meaning"], short(EVENTS)));
}
