//! What users are told who write to the FIFO: they look where the original told them, in `pipeline.err`.

use std::io::Write;

use jiff::Timestamp;
use tracing::warn;
use vk_record::{Dir, chain, names};

use super::complain;

/// Tells it, in the log and in `pipeline.err`.
pub(super) fn tell(root: &Dir, message: &str) {
    warn!("{message}");
    // One write, so that lines of several writers do not mix.
    let line = format!("{:.3} vk-cmd: {}\n", Timestamp::now(), message.replace('\n', " "));
    match root.append_to(names::PIPELINE_ERR) {
        Ok(mut file) => {
            if let Err(e) = file.write_all(line.as_bytes()) {
                complain("pipeline.err cannot be written", &e);
            }
        }
        Err(e) => warn!("pipeline.err cannot be written: {}", chain(&e)),
    }
}
