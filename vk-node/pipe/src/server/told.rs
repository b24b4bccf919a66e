//! What users are told who write to the FIFO: they look where the original told them, in `pipeline.err`.

use std::io::Write;

use jiff::Timestamp;
use tracing::warn;
use vk_record::{Dir, MAX_PIPELINE_BYTES, SharedFile, names};

use super::complain;

/// Tells it, in the log and in `pipeline.err`.
pub(super) fn tell(root: &Dir, message: &str) {
    warn!("{message}");
    // One write, so that lines of several writers do not mix.
    let line = format!("{:.3} vk-cmd: {}\n", Timestamp::now(), message.replace('\n', " "));
    let mut shared = SharedFile::new(names::PIPELINE_ERR, MAX_PIPELINE_BYTES);
    let written = match shared.current(root) {
        Ok(mut file) => file.write_all(line.as_bytes()).map_err(|e| shared.error(root, "write to", e)),
        Err(e) => Err(e),
    };
    if let Err(e) = written {
        complain("a line that was not run is told of here only", &e);
    }
}
