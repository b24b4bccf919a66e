//! Forwarded connections as pairs of streams.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::{Forward, ForwardInput, ForwardOutput, From, To};
use crate::negotiate;
use crate::session::STREAM_CREATION_TIMEOUT;
use crate::spdy::{Connection, Headers, Incoming, StreamId, StreamInput, StreamOutput};

/// Streams that are, or will be, pairs.
#[derive(Debug)]
pub(super) struct Pairs {
    pub(super) connection: Connection,
    halves: HashMap<String, Half>,
}

/// The first stream of a pair.
#[derive(Debug)]
struct Half {
    kind: Kind,
    port: u16,
    input: StreamInput,
    output: StreamOutput,
    /// When the other one is not waited for any more.
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

impl Pairs {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, halves: HashMap::new() }
    }

    pub(super) async fn next(&mut self) -> Option<Forward> {
        loop {
            let until = self.halves.values().map(|half| half.until).min();
            let expired = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            // Cancel-safe: a stream is taken or stays where it is.
            let stream = tokio::select! {
                stream = self.connection.next() => stream?,
                () = expired => {
                    self.give_up_halves().await;
                    continue;
                }
            };
            if let Some(forward) = self.take(stream).await {
                return Some(forward);
            }
        }
    }

    /// Takes a stream; gives the pair that it completes.
    async fn take(&mut self, stream: Incoming) -> Option<Forward> {
        let asked = asked(stream.headers(), stream.id());
        let (kind, port, request) = match asked {
            Ok((kind, _, request)) if self.halves.get(&request).is_some_and(|half| half.kind == kind) => {
                debug!(request, "a stream of a forwarded connection is there already");
                let _ = stream.refuse().await;
                return None;
            }
            Ok(asked) => asked,
            Err(error) => {
                debug!("a stream of a forwarded connection is not taken: {error}");
                let _ = stream.refuse().await;
                return None;
            }
        };
        let (input, output) = stream.accept().await.ok()?;
        let Some(other) = self.halves.remove(&request) else {
            let until = Instant::now() + STREAM_CREATION_TIMEOUT;
            self.halves.insert(request, Half { kind, port, input, output, until });
            return None;
        };
        // The port is that of the data. Nothing comes on the stream for errors.
        let (port, input, data, error) = match kind {
            Kind::Data => (port, input, output, other.output),
            Kind::Error => (other.port, other.input, other.output, output),
        };
        let data = Some(data);
        Some(Forward { port, input: ForwardInput(From::Spdy(input)), output: ForwardOutput(To::Spdy { data, error }) })
    }

    async fn give_up_halves(&mut self) {
        let now = Instant::now();
        let expired: Vec<Half> = self.halves.extract_if(|_, half| half.until <= now).map(|(_, half)| half).collect();
        for Half { kind, mut output, .. } in expired {
            let told = match kind {
                Kind::Error => {
                    let said = output.write(Bytes::from_static(b"timed out waiting for streams")).await;
                    said.and(output.end().await)
                }
                Kind::Data => output.reset().await,
            };
            if told.is_err() {
                debug!("a client has left a forwarded connection before it was complete");
            }
        }
    }
}

/// What a stream is: of which kind, for which port, and of which request.
fn asked(headers: &Headers, id: StreamId) -> Result<(Kind, u16, String), String> {
    let missing = |name: &str| format!("{name:?} header is required");
    let port = negotiate::port(headers.get("port").ok_or_else(|| missing("port"))?)?;
    let kind = match headers.get("streamType").ok_or_else(|| missing("streamType"))? {
        "data" => Kind::Data,
        "error" => Kind::Error,
        other => return Err(format!("invalid stream type {other:?}")),
    };
    // Clients of old send none, and begin the stream for errors first.
    let implied = || match kind {
        Kind::Error => id,
        Kind::Data => id.wrapping_sub(2),
    };
    let request = headers.get("requestID").map_or_else(|| implied().to_string(), str::to_owned);
    Ok((kind, port, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_says_what_it_is_for() {
        let of = |all: &[(&str, &str)], id| asked(&all.iter().copied().collect(), id);
        let known = [("port", "80"), ("streamType", "data"), ("requestID", "7")];
        assert_eq!(of(&known, 3), Ok((Kind::Data, 80, "7".into())));
        assert_eq!(of(&[("port", "80"), ("streamType", "error")], 1), Ok((Kind::Error, 80, "1".into())));
        assert_eq!(of(&[("port", "80"), ("streamType", "data")], 3), Ok((Kind::Data, 80, "1".into())));
        for wrong in [&[][..], &[("port", "0")], &[("port", "80")], &[("port", "80"), ("streamType", "stdin")]] {
            assert!(of(wrong, 1).is_err(), "{wrong:?}");
        }
    }
}
