//! All that reads what others have written, as functions of bytes for a fuzzer: none may panic, hang or grow without bound,
//! whatever the bytes are, and what is read must come back the same when it is written and read again.
//!
//! `cargo test -p vk-fuzz` gives each of them some ten thousand mutations of its seeds. To look longer, with coverage as
//! the guide ([cargo-fuzz](https://rust-fuzz.github.io/book/cargo-fuzz.html), a nightly compiler):
//!
//! ```console
//! $ cd vk-node/fuzz
//! $ cargo +nightly fuzz run records
//! ```

// A broken law is a panic: that is how a fuzzer is told.
#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used)]

pub mod mutate;
mod seeds;

use std::fmt::Debug;

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vk_record::process::Stat;
use vk_record::{Exit, Facts, Intent, IntentHead, LingeringProcesses, Lost, Start, Stop, cri, state_of, view_of};
use vk_site::Site;
use vk_site::audit::Entry;
use vk_streaming::spdy::Codec;
use vk_task::control::{ControlAnswer, ControlRequest};
use vk_task::stream::{HEAD_BYTES, Head, StreamEnd, StreamRequest, TerminalSize};
use vk_task::{ApiError, HostInfo, SignalRequest, StopRequest, TaskId, TaskSpec, TaskView, WatchEvent};

/// A function for a fuzzer, with its name and seeds.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, as of the fuzzer's program.
    pub name: &'static str,
    /// Reads the bytes.
    pub run: fn(&[u8]),
    /// What makes sense to it.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 8] = [
    Target { name: "fifo", run: fifo, seeds: seeds::fifo },
    Target { name: "records", run: records, seeds: seeds::records },
    Target { name: "log", run: log, seeds: seeds::log },
    Target { name: "requests", run: requests, seeds: seeds::requests },
    Target { name: "streams", run: streams, seeds: seeds::streams },
    Target { name: "site", run: site, seeds: seeds::site },
    Target { name: "spdy", run: spdy, seeds: seeds::spdy },
    Target { name: "processes", run: processes, seeds: seeds::processes },
];

/// What is written to the FIFO, and what happens to it.
pub fn fifo(data: &[u8]) {
    vk_pipe::server::fuzz_fifo(data);
}

/// The records of a task, each as any of them.
pub fn records(data: &[u8]) {
    let exit = same_again::<Exit>(data);
    let start = same_again::<Start>(data);
    let lost = same_again::<Lost>(data);
    let stop = same_again::<Stop>(data).map(|stop| stop.request);
    let lingering = same_again::<LingeringProcesses>(data).map(|l| l.processes).unwrap_or_default();
    let facts = Facts { exit, start, lost, stop, lingering, ..Facts::default() };
    let _ = state_of(jiff::Timestamp::UNIX_EPOCH, &facts);
    same_again::<Entry>(data);
    if let Some(intent) = same_again::<Intent>(data) {
        let _ = intent.spec.problems();
        let head: IntentHead = serde_json::from_slice(data).expect("the head of an intent is part of it");
        assert_eq!(head, IntentHead::of(&intent));
        same_again::<TaskView>(&serde_json::to_vec(&view_of(&intent.id, &head, &facts)).unwrap());
    }
}

/// A log, entry by entry.
pub fn log(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(entry) = cri::parse(line) {
            assert!(entry.text.len() < line.len());
        }
    }
    let mut written = Vec::new();
    let mut encoder = cri::Encoder::new(cri::Stream::Stdout);
    for piece in data.chunks(37) {
        let mut rest = piece;
        while !rest.is_empty() {
            let mut out = Vec::new();
            let left = encoder.push("t", rest, &mut out, 64);
            assert!(left.len() < rest.len() || !out.is_empty(), "it comes to nothing");
            written.append(&mut out);
            rest = left;
        }
    }
    encoder.flush("t", &mut written);
    let mut read = Vec::new();
    for line in written.strip_suffix(b"\n").into_iter().flat_map(|w| w.split(|byte| *byte == b'\n')) {
        let entry = cri::parse(line).expect("what was written can be read");
        read.extend_from_slice(entry.text);
        read.extend_from_slice(if entry.newline { b"\n" } else { b"" });
    }
    assert_eq!(read, data);
}

/// The bodies of requests to the pipe, and of its answers.
pub fn requests(data: &[u8]) {
    if let Some(spec) = same_again::<TaskSpec>(data) {
        let _ = spec.problems();
    }
    same_again::<StopRequest>(data);
    same_again::<SignalRequest>(data);
    same_again::<TaskView>(data);
    same_again::<WatchEvent>(data);
    same_again::<HostInfo>(data);
    same_again::<ApiError>(data);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(id) = TaskId::new(text)
    {
        let text = id.as_str();
        assert!(!text.contains(['/', '\0']) && !text.starts_with('.') && text.len() < 256);
    }
}

/// What comes through an upgraded connection and through a shim's socket.
pub fn streams(data: &[u8]) {
    same_again::<StreamRequest>(data);
    same_again::<StreamEnd>(data);
    same_again::<TerminalSize>(data);
    same_again::<ControlRequest>(data);
    same_again::<ControlAnswer>(data);
    let mut rest = data;
    while let Some((head, more)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let Ok(parsed) = Head::parse(*head) else { break };
        assert_eq!(&parsed.bytes(), head);
        rest = more.get(parsed.len..).unwrap_or_default();
    }
}

/// The site's file.
pub fn site(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Err(e) = Site::parse(text)
    {
        assert!(!e.to_string().is_empty());
    }
}

/// What the kubelet's clients send by SPDY.
pub fn spdy(data: &[u8]) {
    let (mut codec, mut buffer) = (Codec::default(), BytesMut::new());
    for piece in data.chunks(13) {
        buffer.extend_from_slice(piece);
        loop {
            match codec.read(&mut buffer) {
                Ok(Some(frame)) => {
                    let mut written = BytesMut::new();
                    Codec::default().write(frame.clone(), &mut written);
                    let again = Codec::default().read(&mut written).expect("what was written can be read");
                    assert_eq!(again, Some(frame));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// What `/proc` says of a process, which may give itself any name.
pub fn processes(data: &[u8]) {
    let _ = Stat::parse(data);
}

/// Reads a value; if it makes sense, it is the same when it is written and read again.
fn same_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(data).ok()?;
    let text = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(value, again);
    Some(value)
}
