//! Forwarded connections as channels of the old WebSocket protocol.

use std::convert::Infallible;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::{Forward, ForwardInput, ForwardOutput, From, To};
use crate::Gone;
use crate::websocket::{self, Encoding, FromClient, ToClient};

/// How many messages wait for each port.
const WAITING_MESSAGES: usize = 8;

/// The ports of the old WebSocket protocol.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) to: ToClient,
    /// What has not been given yet.
    forwards: std::vec::IntoIter<Forward>,
    /// Ends when all are finished.
    unfinished: mpsc::Receiver<Infallible>,
}

impl Channels {
    pub(super) async fn open<C>(connection: C, encoding: Encoding, ports: Vec<u16>) -> Result<Self, Gone>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (from, to) = websocket::channels(connection, encoding).await;
        let (not_finished, unfinished) = mpsc::channel(1);
        let (mut inputs, mut forwards) = (Vec::new(), Vec::new());
        // Two channels for each: data and errors. Both begin with the port.
        for (channel, port) in (0..=u8::MAX).step_by(2).zip(ports) {
            let named = Bytes::copy_from_slice(&port.to_le_bytes());
            to.write(channel, named.clone()).await?;
            to.write(channel.wrapping_add(1), named).await?;
            let (bytes_to, bytes) = mpsc::channel(WAITING_MESSAGES);
            inputs.push(bytes_to);
            let input = ForwardInput(From::WebSocket { bytes, gone: from.gone() });
            let output = To::WebSocket { to: to.clone(), channel, _not_finished: not_finished.clone() };
            forwards.push(Forward { port, input, output: ForwardOutput(output) });
        }
        tokio::spawn(deal(from, inputs));
        Ok(Self { to, forwards: forwards.into_iter(), unfinished })
    }

    pub(super) async fn next(&mut self) -> Option<Forward> {
        if let Some(forward) = self.forwards.next() {
            return Some(forward);
        }
        // Nothing is ever sent.
        self.unfinished.recv().await;
        if self.to.end().await.is_ok() {
            self.to.linger().await;
        }
        None
    }
}

/// Gives each message to its port; waits while that takes none.
async fn deal<C: AsyncRead + AsyncWrite + Unpin>(mut from: FromClient<C>, inputs: Vec<mpsc::Sender<Bytes>>) {
    let gone = from.gone();
    while let Ok((channel, bytes)) = from.next().await {
        let input = (channel % 2 == 0).then(|| inputs.get(usize::from(channel / 2))).flatten();
        if let Some(input) = input.filter(|_| !bytes.is_empty()) {
            // Cancel-safe: if the client is gone nobody misses what is not passed on.
            tokio::select! {
                // One that is finished takes no more.
                _ = input.send(bytes) => {}
                () = gone.cancelled() => {}
            }
        }
    }
}
