//! From the caller's frames to a program's input and terminal.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::body::Bytes;
use tracing::debug;
use vk_record::terminal;
use vk_task::control::ControlRequest;
use vk_task::stream::{Channel, Frame, TerminalSize};

use super::Over;
use super::caller::FromCaller;
use super::descriptor::Descriptor;
use crate::frames;
use crate::server::control::Control;

/// Where what is typed goes; `None` once there is no more.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) keys: Option<Keys>,
    pub(super) size: Size,
}

/// Where bytes go.
#[derive(Debug)]
pub(super) enum Keys {
    /// Into a pipe, whose end is the end of the input.
    Pipe(Descriptor),
    /// Into a terminal of our own.
    Terminal(Arc<Descriptor>),
    /// Into a task's input, which is given back when the connection closes.
    Task { descriptor: Descriptor, _lent: Control },
}

/// Who is told of the size of the caller's window.
#[derive(Debug)]
pub(super) enum Size {
    /// Nobody: there is no terminal.
    Nobody,
    /// A terminal of our own.
    Terminal(OwnedFd),
    /// The task's shim, which may have one.
    Task(Arc<Control>),
}

impl Input {
    /// Takes all that comes, until the caller hangs up or sends what makes no sense.
    pub(super) async fn take_from(mut self, caller: &mut FromCaller) -> Over {
        loop {
            let frame = match caller.next().await {
                Ok(frame) => frame,
                Err(over) => return over,
            };
            if let Err(over) = self.take(frame).await {
                return over;
            }
        }
    }

    async fn take(&mut self, frame: Frame<Bytes>) -> Result<(), Over> {
        match frame.channel {
            Channel::Stdin => self.typed(&frame.payload).await,
            Channel::Resize => {
                let size = frames::read_message(&frame)
                    .map_err(|e| Over::invalid(format!("the size of the terminal makes no sense: {e}")))?;
                self.resized(size).await;
            }
            Channel::Close if frames::closed(&frame) == Some(Channel::Stdin) => self.end().await,
            Channel::Close | Channel::Stdout | Channel::Stderr | Channel::Status | Channel::Request => {
                return Err(Over::invalid(format!("a frame on channel {:?} makes no sense here", frame.channel)));
            }
        }
        Ok(())
    }

    async fn typed(&mut self, bytes: &[u8]) {
        let written = match &self.keys {
            None => return,
            Some(Keys::Terminal(descriptor)) => descriptor.write_all(bytes).await,
            Some(Keys::Pipe(descriptor) | Keys::Task { descriptor, .. }) => descriptor.write_all(bytes).await,
        };
        // The program does not read any more. As for a shell's pipe, that is no failure of the one who types.
        if written.is_err() {
            self.keys = None;
        }
    }

    async fn end(&mut self) {
        if let Some(Keys::Terminal(descriptor)) = &self.keys
            && let Some(key) = terminal::end_of_input(&**descriptor)
        {
            let _ = descriptor.write_all(&[key]).await;
        }
        self.keys = None;
    }

    async fn resized(&self, size: TerminalSize) {
        let told = match &self.size {
            Size::Nobody => Ok(()),
            Size::Terminal(terminal) => terminal::resize(terminal, size).map_err(|e| e.to_string()),
            Size::Task(control) => control.request(&ControlRequest::Resize { size }).await.map_err(|e| e.to_string()),
        };
        if let Err(e) = told {
            debug!("the size of a terminal was not passed on: {e}");
        }
    }
}
