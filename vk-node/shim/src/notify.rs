//! Ringing at the pipe: a datagram with the task's name says "its records have changed", and a word more that they will
//! not change again.
//!
//! It is only a hint: the pipe reads the records, and reads all of them when it starts. So a pipe that is not there is
//! no error. A pipe whose queue is full is: the hint is then kept and given again.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;

use vk_record::{Dir, END_IS_DURABLE, names};

/// How often a full queue is tried again.
const TRIES: u32 = 500;

/// Rings at the pipe.
#[derive(Debug)]
pub(crate) struct Notifier {
    root: Dir,
    id: String,
    /// What is said.
    words: String,
    tries_left: u32,
}

impl Notifier {
    /// For the task `id` of the pipe whose directory is `root`.
    pub(crate) fn new(root: Dir, id: String) -> Self {
        Self { root, words: id.clone(), id, tries_left: 0 }
    }

    /// Rings.
    pub(crate) fn ring(&mut self) {
        self.words.clone_from(&self.id);
        self.tries_left = TRIES;
        self.retry();
    }

    /// Rings for the last time: the end is on record, durably.
    pub(crate) fn ring_end(&mut self) {
        self.words = format!("{} {END_IS_DURABLE}", self.id);
        self.tries_left = TRIES;
        self.retry();
    }

    /// Whether the pipe has not heard the last ring: [`Self::retry`] it soon.
    pub(crate) fn is_pending(&self) -> bool {
        self.tries_left > 0
    }

    /// Rings again if the last time did not get through.
    pub(crate) fn retry(&mut self) {
        if self.tries_left == 0 {
            return;
        }
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to(self.words.as_bytes(), self.root.short_path(names::EVENTS))
        });
        match sent {
            Err(e) if e.kind() == ErrorKind::WouldBlock => self.tries_left -= 1,
            _ => self.tries_left = 0,
        }
    }
}
