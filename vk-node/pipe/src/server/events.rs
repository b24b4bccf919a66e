//! The socket at which shims ring: each datagram is the name of a task whose records have changed, and perhaps that its
//! end is durable.

use std::os::unix::net::UnixDatagram as StdUnixDatagram;
use std::sync::Arc;

use tokio::net::UnixDatagram;
use tracing::{debug, warn};
use vk_record::{Dir, END_IS_DURABLE, names};
use vk_task::TaskId;

use super::Pipe;

/// A task's name is no longer than this.
const MAX_DATAGRAM: usize = 256;

/// Opens the socket, in place of one that a pipe before this one left.
pub(super) fn bind(root: &Dir) -> anyhow::Result<UnixDatagram> {
    root.remove_file(names::EVENTS)?;
    let socket = StdUnixDatagram::bind(root.short_path(names::EVENTS))?;
    socket.set_nonblocking(true)?;
    Ok(UnixDatagram::from_std(socket)?)
}

/// Hears the shims for ever.
pub(super) async fn hear(socket: UnixDatagram, pipe: Arc<Pipe>) {
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(n) => {
                let text = String::from_utf8_lossy(buffer.get(..n).unwrap_or_default()).into_owned();
                let (name, word) = text.split_once(' ').unwrap_or((&text, ""));
                match TaskId::new(name) {
                    Ok(id) if word == END_IS_DURABLE => pipe.table.nudge_durable(&id),
                    Ok(id) => pipe.table.nudge(&id),
                    Err(e) => debug!("a ring that names no task was ignored: {e}"),
                }
            }
            Err(e) => {
                warn!("cannot hear the shims for a moment: {e}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
