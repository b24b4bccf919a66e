//! The part `limits` of a site's file.

use vk_task::{LogLimits, Rlimit};

use crate::limits::{Amounts, LimitRules};
use vk_yaml::{Map, Node, Reader};

const KEYS: [&str; 7] = ["wallSeconds", "memoryBytes", "cpuMillis", "processes", "outputBytes", "rlimits", "log"];
const NICE: std::ops::RangeInclusive<i64> = -20..=19;

/// The rlimits by the names that `vk_task` gives them.
const RLIMITS: [(&str, Rlimit); 9] = [
    ("addressSpace", Rlimit::AddressSpace),
    ("core", Rlimit::Core),
    ("cpuSeconds", Rlimit::CpuSeconds),
    ("data", Rlimit::Data),
    ("fileSize", Rlimit::FileSize),
    ("lockedMemory", Rlimit::LockedMemory),
    ("openFiles", Rlimit::OpenFiles),
    ("userProcesses", Rlimit::UserProcesses),
    ("stack", Rlimit::Stack),
];

pub(super) fn rules(reader: &mut Reader, node: &Node<'_>) -> LimitRules {
    let mut rules = LimitRules::default();
    let Some(map) = reader.map(node, &["max", "default", "niceAtLeast"]) else { return rules };
    if let Some(map) = map.get("max").and_then(|node| reader.map(&node, &KEYS)) {
        rules.max = amounts(reader, &map);
    }
    if let Some(map) = map.get("default").and_then(|node| reader.map(&node, &[&KEYS[..], &["nice"]].concat())) {
        rules.default = amounts(reader, &map);
        rules.default_nice = map.get("nice").and_then(|node| nice(reader, &node));
    }
    rules.nice_at_least = map.get("niceAtLeast").and_then(|node| nice(reader, &node));
    if let Some(defaults) = map.get("default") {
        no_more_than_the_maximum(reader, &defaults, &rules);
    }
    rules
}

fn nice(reader: &mut Reader, node: &Node<'_>) -> Option<i8> {
    let n = reader.signed(node)?;
    if !NICE.contains(&n) {
        reader.at(node, format!("{n} is no niceness: write -20 to 19"));
        return None;
    }
    i8::try_from(n).ok()
}

fn amounts(reader: &mut Reader, map: &Map<'_>) -> Amounts {
    let mut rlimits = std::collections::BTreeMap::new();
    if let Some(node) = map.get("rlimits") {
        let names: Vec<&str> = RLIMITS.iter().map(|(name, _)| *name).collect();
        if let Some(map) = reader.map(&node, &names) {
            for (name, rlimit) in RLIMITS {
                if let Some(n) = map.get(name).and_then(|node| reader.bytes(&node)) {
                    rlimits.insert(rlimit, n);
                }
            }
        }
    }
    let log = map.get("log").and_then(|node| reader.map(&node, &["fileBytes", "files"]));
    let log = |key: &str| log.as_ref().and_then(|map| map.get(key));
    Amounts {
        wall_seconds: map.get("wallSeconds").and_then(|node| at_least(reader, &node, 1)),
        memory_bytes: map.get("memoryBytes").and_then(|node| at_least(reader, &node, 1)),
        cpu_millis: map.get("cpuMillis").and_then(|node| at_least(reader, &node, 1)),
        processes: map.get("processes").and_then(|node| at_least(reader, &node, 1)),
        output_bytes: map.get("outputBytes").and_then(|node| at_least(reader, &node, 1)),
        rlimits,
        log_file_bytes: log("fileBytes").and_then(|node| at_least(reader, &node, LogLimits::MIN_FILE_BYTES)),
        log_files: log("files").and_then(|node| {
            at_least(reader, &node, u64::from(LogLimits::MIN_FILES))?;
            reader.integer_as(&node)
        }),
    }
}

/// An amount with a use.
fn at_least(reader: &mut Reader, node: &Node<'_>, least: u64) -> Option<u64> {
    let n = reader.bytes(node)?;
    if n < least {
        reader.at(node, format!("{n} is too little for any task: write at least {least}, or leave it out"));
        return None;
    }
    Some(n)
}

/// A default that no task can have is a mistake.
fn no_more_than_the_maximum(reader: &mut Reader, node: &Node<'_>, rules: &LimitRules) {
    let LimitRules { max, default, default_nice, nice_at_least } = rules;
    let mut pairs = vec![
        ("wallSeconds", default.wall_seconds, max.wall_seconds),
        ("memoryBytes", default.memory_bytes, max.memory_bytes),
        ("cpuMillis", default.cpu_millis, max.cpu_millis),
        ("processes", default.processes, max.processes),
        ("outputBytes", default.output_bytes, max.output_bytes),
        ("log.fileBytes", default.log_file_bytes, max.log_file_bytes),
        ("log.files", default.log_files.map(u64::from), max.log_files.map(u64::from)),
    ];
    for (name, rlimit) in RLIMITS {
        pairs.push((name, default.rlimits.get(&rlimit).copied(), max.rlimits.get(&rlimit).copied()));
    }
    for (name, default, max) in pairs {
        if let (Some(default), Some(max)) = (default, max)
            && default > max
        {
            reader.at(node, format!("{name} is {default}, which is more than the maximum, {max}"));
        }
    }
    if let (Some(nice), Some(least)) = (default_nice, nice_at_least)
        && nice < least
    {
        reader.at(node, format!("nice is {nice}, which is less than niceAtLeast, {least}"));
    }
}
