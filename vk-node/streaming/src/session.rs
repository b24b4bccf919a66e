//! A session of `exec` or `attach`: what the client types, and what it is shown.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tracing::debug;

use crate::Gone;
use crate::negotiate::{CommandTransport, RemoteCommand, StatusForm};
use crate::sizes::Sizes;
pub use crate::sizes::TerminalSize;
use crate::spdy::{Connection, Received, StreamInput, StreamOutput};
use crate::status::{Outcome, Status};
use crate::websocket::{self, Encoding, FromClient, ToClient};

/// How long a client may take to begin all its streams: the kubelet's figure.
pub const STREAM_CREATION_TIMEOUT: Duration = Duration::from_secs(30);

/// The numbers of the channels of the WebSocket protocols.
mod channel {
    pub(super) const STDIN: u8 = 0;
    pub(super) const STDOUT: u8 = 1;
    pub(super) const STDERR: u8 = 2;
    pub(super) const ERROR: u8 = 3;
    pub(super) const RESIZE: u8 = 4;
    pub(super) const CLOSE: u8 = 255;
}

/// What the client wants of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// To type.
    pub stdin: bool,
    /// To be shown standard output.
    pub stdout: bool,
    /// To be shown standard error.
    pub stderr: bool,
    /// To do so at a terminal, whose size may change.
    pub terminal: bool,
}

/// What comes from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InputEvent {
    /// Bytes for standard input.
    Stdin(Bytes),
    /// Nothing more comes for standard input; the rest goes on.
    StdinEnd,
    /// The terminal has this size now.
    Resize(TerminalSize),
}

/// A session. Dropping it breaks it off.
#[derive(Debug)]
pub struct Session<C> {
    /// What comes from the client.
    pub input: Input<C>,
    /// What goes to the client.
    pub output: Output,
    end: End,
}

/// What comes from the client.
#[derive(Debug)]
pub struct Input<C>(Source<C>);

#[derive(Debug)]
enum Source<C> {
    Spdy {
        stdin: Option<StreamInput>,
        resize: Option<StreamInput>,
        sizes: Sizes,
        watch: tokio_util::sync::CancellationToken,
    },
    WebSocket {
        from: FromClient<C>,
        wanted: Wanted,
        half_close: bool,
        sizes: Sizes,
    },
}

/// What goes to the client.
#[derive(Debug)]
pub struct Output(Sink);

#[derive(Debug)]
enum Sink {
    Spdy { stdout: Option<StreamOutput>, stderr: Option<StreamOutput> },
    WebSocket { to: ToClient, wanted: Wanted },
}

/// By what the end is told.
#[derive(Debug)]
enum End {
    Spdy { connection: Connection, error: StreamOutput, unwanted: Vec<StreamOutput>, form: StatusForm },
    WebSocket { form: StatusForm },
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum NoSession {
    /// The client is gone.
    #[error(transparent)]
    Gone(#[from] Gone),
    /// It has not begun its streams.
    #[error("the client has not begun all its streams within {} s", STREAM_CREATION_TIMEOUT.as_secs())]
    TimedOut,
}

impl<C: AsyncRead + AsyncWrite + Unpin + Send + 'static> Session<C> {
    /// Over a connection that has been upgraded as was agreed.
    ///
    /// # Errors
    /// When the client goes, or does not do its part in time.
    pub async fn open(connection: C, agreed: RemoteCommand, wanted: Wanted) -> Result<Self, NoSession> {
        match agreed.0 {
            CommandTransport::Spdy { resizes, status } => {
                let wants_size = wanted.terminal && resizes;
                let opened = timeout(STREAM_CREATION_TIMEOUT, open_spdy(connection, wanted, wants_size, status)).await;
                opened.map_err(|_| NoSession::TimedOut)?.map_err(NoSession::from)
            }
            CommandTransport::WebSocket { half_close, encoding, status } => {
                Ok(open_websocket(connection, wanted, half_close, encoding, status).await?)
            }
        }
    }

    /// Tells how it ended, after all that was written; gives the client the time to read that, and closes the connection.
    pub async fn finish(self, status: &Status) {
        let Self { input, output, end } = self;
        let told = match (input.0, output.0, end) {
            (
                source @ Source::Spdy { .. },
                Sink::Spdy { stdout, stderr },
                End::Spdy { connection, mut error, unwanted, form },
            ) => {
                drop(source);
                let told = async {
                    error.write(told(status, form)).await?;
                    // Once its input is reset a client gets stuck with it no more.
                    for stream in unwanted {
                        stream.reset().await?;
                    }
                    for stream in [stdout, stderr].into_iter().flatten() {
                        stream.end().await?;
                    }
                    error.end().await
                };
                let told = told.await;
                connection.linger().await;
                told
            }
            (Source::WebSocket { from, .. }, Sink::WebSocket { to, .. }, End::WebSocket { form }) => {
                let told = async {
                    let told = told(status, form);
                    if !told.is_empty() {
                        to.write(channel::ERROR, told).await?;
                    }
                    to.end().await
                };
                let told = told.await;
                from.linger().await;
                told
            }
            // All three were made of one connection.
            _ => Err(Gone),
        };
        if told.is_err() {
            debug!("the client has gone before it was told the end");
        }
    }
}

fn told(status: &Status, form: StatusForm) -> Bytes {
    match form {
        StatusForm::Json => serde_json::to_vec(status).unwrap_or_default().into(),
        StatusForm::Text if status.status == Outcome::Success => Bytes::new(),
        StatusForm::Text => status.message.clone().into(),
    }
}

async fn open_spdy<C>(connection: C, wanted: Wanted, wants_size: bool, form: StatusForm) -> Result<Session<C>, Gone>
where
    C: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut connection = Connection::new(connection);
    let mut expected = vec!["error"];
    let all = [(wanted.stdin, "stdin"), (wanted.stdout, "stdout"), (wanted.stderr, "stderr"), (wants_size, "resize")];
    expected.extend(all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, kind)| kind));
    let mut begun = Vec::new();
    while !expected.is_empty() {
        let stream = connection.next().await.ok_or(Gone)?;
        let kind = stream.headers().get("streamType").unwrap_or_default().to_owned();
        match expected.iter().position(|expected| *expected == kind) {
            Some(at) => begun.push((expected.swap_remove(at), stream.accept().await?)),
            None => {
                debug!(kind, "a stream is not taken: it is unknown, there already, or was not asked for");
                stream.refuse().await?;
            }
        }
    }
    connection.take_no_more();
    let mut take = |kind| {
        let at = begun.iter().position(|(begun, _)| *begun == kind)?;
        Some(begun.swap_remove(at).1)
    };
    let (_, error) = take("error").ok_or(Gone)?;
    let (stdout, stderr) = (take("stdout").map(|(_, to)| to), take("stderr").map(|(_, to)| to));
    let ((stdin, to_stdin), (resize, to_resize)) = (take("stdin").unzip(), take("resize").unzip());
    let source = Source::Spdy { stdin, resize, sizes: Sizes::default(), watch: connection.gone() };
    let unwanted = [to_stdin, to_resize].into_iter().flatten().collect();
    Ok(Session {
        input: Input(source),
        output: Output(Sink::Spdy { stdout, stderr }),
        end: End::Spdy { connection, error, unwanted, form },
    })
}

async fn open_websocket<C>(
    connection: C,
    wanted: Wanted,
    half_close: bool,
    encoding: Encoding,
    form: StatusForm,
) -> Result<Session<C>, Gone>
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (from, to) = websocket::channels(connection, encoding).await;
    // An empty message on the first channel that the client reads tells it that the session has begun.
    let first = match wanted {
        Wanted { stdout: true, .. } => channel::STDOUT,
        Wanted { stderr: true, .. } => channel::STDERR,
        Wanted { .. } => channel::ERROR,
    };
    to.write(first, Bytes::new()).await?;
    Ok(Session {
        input: Input(Source::WebSocket { from, wanted, half_close, sizes: Sizes::default() }),
        output: Output(Sink::WebSocket { to, wanted }),
        end: End::WebSocket { form },
    })
}

impl<C: AsyncRead + AsyncWrite + Unpin> Input<C> {
    /// What comes next. Cancel-safe.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn next(&mut self) -> Result<InputEvent, Gone> {
        match &mut self.0 {
            Source::Spdy { stdin, resize, sizes, watch } => loop {
                if let Some(size) = sizes.next() {
                    return Ok(InputEvent::Resize(size));
                }
                // Cancel-safe: nothing is taken but what is given or kept.
                tokio::select! {
                    () = watch.cancelled() => return Err(Gone),
                    received = next_of(stdin) => match received? {
                        Received::Bytes(bytes) => return Ok(InputEvent::Stdin(bytes)),
                        Received::End | Received::Reset => {
                            *stdin = None;
                            return Ok(InputEvent::StdinEnd);
                        }
                    },
                    received = next_of(resize) => match received? {
                        Received::Bytes(bytes) => sizes.push(&bytes),
                        Received::End | Received::Reset => *resize = None,
                    },
                }
            },
            Source::WebSocket { from, wanted, half_close, sizes } => loop {
                if let Some(size) = sizes.next() {
                    return Ok(InputEvent::Resize(size));
                }
                match (from.next().await?, *half_close) {
                    ((channel::CLOSE, closed), true) => match *closed {
                        [channel::STDIN] if wanted.stdin => return Ok(InputEvent::StdinEnd),
                        [channel::STDIN..=channel::RESIZE] => {}
                        _ => return Err(Gone),
                    },
                    ((channel::STDIN, bytes), _) if wanted.stdin && !bytes.is_empty() => {
                        return Ok(InputEvent::Stdin(bytes));
                    }
                    ((channel::RESIZE, bytes), _) => sizes.push(&bytes),
                    _ => {}
                }
            },
        }
    }
}

impl<C> Input<C> {
    /// Waits until the client is known to be gone, and reads nothing: for those who have something else to wait for.
    pub async fn gone(&self) {
        match &self.0 {
            Source::Spdy { watch, .. } => watch.cancelled().await,
            Source::WebSocket { from, .. } => from.gone().cancelled().await,
        }
    }
}

/// What comes next on a stream that may be there.
async fn next_of(stream: &mut Option<StreamInput>) -> Result<Received, Gone> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

impl Output {
    /// Shows bytes of standard output, if they are wanted; waits for as long as the client does not read.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn stdout(&mut self, bytes: Bytes) -> Result<(), Gone> {
        match &mut self.0 {
            Sink::Spdy { stdout: Some(stream), .. } => stream.write(bytes).await,
            Sink::WebSocket { to, wanted } if wanted.stdout => to.write(channel::STDOUT, bytes).await,
            Sink::Spdy { .. } | Sink::WebSocket { .. } => Ok(()),
        }
    }

    /// Shows bytes of standard error, as [`Self::stdout`] does.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn stderr(&mut self, bytes: Bytes) -> Result<(), Gone> {
        match &mut self.0 {
            Sink::Spdy { stderr: Some(stream), .. } => stream.write(bytes).await,
            Sink::WebSocket { to, wanted } if wanted.stderr => to.write(channel::STDERR, bytes).await,
            Sink::Spdy { .. } | Sink::WebSocket { .. } => Ok(()),
        }
    }
}
