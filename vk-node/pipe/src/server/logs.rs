//! Reading a task's output: as text, as `kubectl logs` shows it, and in pieces of each stream, for those who attach.
//!
//! ```text
//!   files ──▶ log_cursor: blocks, in order ──▶ log_stream: waits for more ──▶ log_text: entries ──▶ here
//! ```

use std::io;
use std::sync::Arc;

use axum::body::Bytes;
use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use vk_record::RecordError;
use vk_record::cri::{self, stamp};
use vk_task::{LogQuery, TaskId};

use super::Pipe;
use super::log_cursor::Begin;
use super::log_stream::{Part, parts};
use super::log_text::{Entries, Flow, Reader};

/// The output of a task, as the query wants it; `None` if there is no such task.
///
/// # Errors
/// When the log cannot be read; an error in the stream ends it.
pub(super) async fn read(
    pipe: Arc<Pipe>,
    id: TaskId,
    query: LogQuery,
) -> Result<Option<impl Stream<Item = io::Result<Bytes>> + Send + 'static>, RecordError> {
    let begin = query.tail_lines.map_or(Begin::Oldest, Begin::Tail);
    let Some(parts) = parts(pipe, id, begin, query.follow).await? else { return Ok(None) };
    let reading = Some((Box::pin(parts), Reader::new(&query)));
    Ok(Some(stream::unfold(reading, |reading| async move {
        let (mut parts, mut reader) = reading?;
        loop {
            let mut out = Vec::new();
            let flow = match parts.next().await? {
                Ok(Part::Bytes(bytes)) => reader.push(&bytes, &mut out),
                Ok(Part::EntryEnd) => reader.finish(&mut out),
                Ok(Part::Missing(bytes)) => reader.missing(bytes, &stamp(Timestamp::now()), &mut out),
                Err(e) => return Some((Err(e), None)),
            };
            match flow {
                Flow::Enough => return Some((Ok(out.into()), None)),
                Flow::More if out.is_empty() => {}
                Flow::More => return Some((Ok(out.into()), Some((parts, reader)))),
            }
        }
    })))
}

/// A piece of a task's output.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// These bytes went to this stream.
    Bytes(cri::Stream, Vec<u8>),
    /// So many bytes of the log were thrown away before they could be read.
    Missing(u64),
}

/// What a task writes from now on, until it is final; `None` if there is no such task. To wait for the next pieces is
/// cancel-safe.
///
/// # Errors
/// When the log cannot be read; an error in the stream ends it.
pub(super) async fn output_from_now(
    pipe: Arc<Pipe>,
    id: TaskId,
) -> Result<Option<impl Stream<Item = io::Result<Vec<Output>>> + Send + 'static>, RecordError> {
    let Some(parts) = parts(pipe, id, Begin::Now, true).await? else { return Ok(None) };
    let mut entries = Entries::default();
    Ok(Some(parts.map(move |part| part.map(|part| output(&mut entries, part)))))
}

/// What a part of the log says was written. Pure.
fn output(entries: &mut Entries, part: Part) -> Vec<Output> {
    let mut pieces = Vec::new();
    match part {
        Part::Bytes(bytes) => {
            entries.push(&bytes, |line| {
                add(line, true, &mut pieces);
                Flow::More
            });
        }
        Part::EntryEnd => add(&entries.finish(), false, &mut pieces),
        Part::Missing(bytes) => pieces.push(Output::Missing(bytes)),
    }
    pieces
}

/// Adds an entry to the pieces, the last of which may be of the same stream.
fn add(line: &[u8], whole: bool, pieces: &mut Vec<Output>) {
    let Some(entry) = cri::parse(line) else { return };
    let newline: &[u8] = if entry.newline && whole { b"\n" } else { b"" };
    match pieces.last_mut() {
        Some(Output::Bytes(stream, bytes)) if *stream == entry.stream => {
            bytes.extend_from_slice(entry.text);
            bytes.extend_from_slice(newline);
        }
        _ => pieces.push(Output::Bytes(entry.stream, [entry.text, newline].concat())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_comes_back_by_stream() {
        let log = b"t stdout F a\nt stdout P b\nt stderr F e\nt stdout F c\nt stdout F broken o";
        let mut entries = Entries::default();
        let mut pieces = Vec::new();
        for block in log.chunks(5) {
            pieces.extend(output(&mut entries, Part::Bytes(block.to_vec())));
        }
        pieces.extend(output(&mut entries, Part::EntryEnd));
        pieces.extend(output(&mut entries, Part::Missing(3)));
        let of = |wanted| -> Vec<u8> {
            let bytes = |p: &Output| match p {
                Output::Bytes(stream, bytes) if *stream == wanted => bytes.clone(),
                Output::Bytes(..) | Output::Missing(_) => Vec::new(),
            };
            pieces.iter().flat_map(bytes).collect()
        };
        assert_eq!(of(cri::Stream::Stdout), b"a\nbc\nbroken o");
        assert_eq!(of(cri::Stream::Stderr), b"e\n");
        assert_eq!(pieces.last(), Some(&Output::Missing(3)));
        let whole = output(&mut Entries::default(), Part::Bytes(log[..26].to_vec()));
        assert_eq!(whole, [Output::Bytes(cri::Stream::Stdout, b"a\nb".to_vec())]);
    }
}
