//! What `/proc` tells of a process.

use std::time::Duration;

use anyhow::{Context, Result};

/// What a tick of `/proc/PID/stat` is, on every Linux: USER_HZ.
const TICKS_PER_SECOND: u64 = 100;

/// What a process has of memory, in KiB.
#[derive(Debug)]
pub(super) struct Memory {
    /// What nobody else has.
    pub(super) private: f64,
    /// That, and its share of what others have too.
    pub(super) pss: f64,
}

/// What `vk-node` process it is, by the first word after the program: `run`, `pipe`, `shim`.
pub(super) fn part(pid: u32) -> Vec<u8> {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    command.split(|byte| *byte == 0).nth(1).unwrap_or_default().to_owned()
}

/// The processor time that a process has used, to the clock tick.
pub(super) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = read(pid, "stat")?;
    // After the name, which may hold anything but ends with the last parenthesis: fields 14 and 15 of proc(5).
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let (user, system) = ticks(14).zip(ticks(15)).context("/proc/PID/stat is not as proc(5) has it")?;
    Ok(Duration::from_millis((user + system) * 1000 / TICKS_PER_SECOND))
}

/// What a process has of memory.
pub(super) fn memory(pid: u32) -> Result<Memory> {
    let text = read(pid, "smaps_rollup")?;
    let of = |key: &str| number_after(&text, key).with_context(|| format!("process {pid} has no {key}"));
    Ok(Memory { private: of("Private_Clean:")? + of("Private_Dirty:")?, pss: of("Pss:")? })
}

/// What of a process is in memory, shared pages too, in KiB.
pub(super) fn resident(pid: u32) -> Result<f64> {
    number_after(&read(pid, "status")?, "VmRSS:").with_context(|| format!("process {pid} has no VmRSS"))
}

/// The text of `/proc/PID/<file>`.
pub(super) fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}: has the process ended?"))
}

/// The number in the line that begins with `key`.
pub(super) fn number_after(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
