//! Connections that the host makes for a pod: `port-forward`, and the pod's probes and hooks.
//!
//! ```text
//!   request ──▶ has the pod a task? ──▶ Forward: who listens there? may the site's rules hear of it? audit ─┐
//!                                   └─▶ Probe: as the pod says ───────────────────────────────────────────┴▶ connect
//!
//!   connected ──▶ an empty frame of Stdout
//!   caller ──Stdin───▶ TCP      Close(Stdin)  ──▶ no more is written
//!   caller ◀─Stdout─── TCP      Close(Stdout) ◀── its end
//!                      both at their ends ──▶ Closed
//! ```

mod owned;
mod sockets;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use vk_site::{Denied, Listening, PortForward};
use vk_task::stream::{Channel, DialRequest, DialTarget, Frame, StreamEnd};
use vk_task::{ApiError, DirName, ErrorReason, TaskState, TaskView};

use super::Over;
use super::caller::{FromCaller, ToCaller};
use crate::frames;
use crate::server::Pipe;
use crate::server::pods::pod_of;
use crate::server::site::refusal;

/// How long a connection may take to come about. A probe has less patience, and hangs up.
const CONNECT: Duration = Duration::from_secs(60);
/// How much is read and sent at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Has one connection from its beginning to its end.
pub(super) async fn run(
    pipe: &Arc<Pipe>,
    request: DialRequest,
    from: &mut FromCaller,
    to: &ToCaller,
) -> Result<StreamEnd, Over> {
    let DialRequest { pod, target } = request;
    let dialling = async {
        let tasks = tasks_of(pipe, &pod)?;
        let ways = match target {
            DialTarget::Forward { port, user } => {
                let pipe = Arc::clone(pipe);
                pipe.clone().blocking.run(move || permit(&pipe, &tasks, port, user)).await?
            }
            DialTarget::Probe { host: Some(host), port } => resolve(host, port).await?,
            DialTarget::Probe { host: None, port } => {
                pipe.blocking.run(move || own_ways(&owned::listeners(port), port)).await
            }
        };
        connect(&ways).await
    };
    let stream = tokio::select! {
        // Cancel-safe: a connection that is half made is given up.
        connected = tokio::time::timeout(CONNECT, dialling) => connected.map_err(|_| slow())??,
        // Cancel-safe: it only waits.
        () = to.hung_up() => return Err(Over::HungUp),
    };
    to.send(Frame { channel: Channel::Stdout, payload: Bytes::new() }).await?;
    carry(stream, from, to).await
}

/// Carries bytes both ways until both are at their ends.
async fn carry(stream: TcpStream, from: &mut FromCaller, to: &ToCaller) -> Result<StreamEnd, Over> {
    // Each byte that was sent is wanted now, as far as anybody knows.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let both = async { tokio::try_join!(outwards(read, to), inwards(write, from)) };
    tokio::select! {
        // Cancel-safe, as is the other: when one of them is done so is the connection.
        done = both => done.map(|_| StreamEnd::Closed),
        () = to.hung_up() => Err(Over::HungUp),
    }
}

async fn outwards(mut read: OwnedReadHalf, to: &ToCaller) -> Result<(), Over> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK_BYTES);
        let n = read.read_buf(&mut (&mut buffer).limit(CHUNK_BYTES)).await;
        match n {
            Ok(0) => return to.send(frames::close(Channel::Stdout)).await,
            Ok(_) => to.send(Frame { channel: Channel::Stdout, payload: buffer.split().freeze() }).await?,
            Err(e) => return Err(Over::failed(ErrorReason::Internal, format!("the connection broke off: {e}"))),
        }
    }
}

/// Passes on what comes, to the caller's half-close. What comes after the other side has stopped reading is dropped: how
/// it all ends is told by the other direction.
async fn inwards(mut write: OwnedWriteHalf, from: &mut FromCaller) -> Result<(), Over> {
    let mut is_open = true;
    loop {
        let frame = from.next().await?;
        match frame.channel {
            Channel::Stdin => is_open = is_open && write.write_all(&frame.payload).await.is_ok(),
            Channel::Close if frames::closed(&frame) == Some(Channel::Stdin) => {
                // One that is broken is closed already.
                let _ = write.shutdown().await;
                return Ok(());
            }
            Channel::Close
            | Channel::Stdout
            | Channel::Stderr
            | Channel::Status
            | Channel::Resize
            | Channel::Request => {
                return Err(Over::invalid(format!("a frame on channel {:?} makes no sense here", frame.channel)));
            }
        }
    }
}

/// The pod's tasks that have not ended; there must be one.
fn tasks_of(pipe: &Pipe, pod: &DirName) -> Result<Vec<TaskView>, ApiError> {
    let is_its = |view: &TaskView| !view.state.is_final() && pod_of(&view.origin).as_ref() == Some(pod);
    let tasks: Vec<_> = pipe.table.map(|view| is_its(view).then(|| view.clone())).into_iter().flatten().collect();
    if tasks.is_empty() {
        let message = format!("no task of pod {pod} runs here, so there is nothing to connect to");
        return Err(ApiError { reason: ErrorReason::Conflict, message });
    }
    Ok(tasks)
}

/// Where somebody outside may be connected to, once that is in the audit log.
fn permit(pipe: &Pipe, tasks: &[TaskView], port: u16, user: String) -> Result<Vec<SocketAddr>, ApiError> {
    let site = pipe.site.current();
    let listeners = owned::listeners(port);
    let own: BTreeSet<u64> = tasks
        .iter()
        .filter_map(|task| match task.state {
            TaskState::Running { pid, .. } => Some(owned::sockets(pipe, &task.id, pid)),
            TaskState::Accepted { .. } | TaskState::Ended { .. } | TaskState::Unknown { .. } => None,
        })
        .flatten()
        .collect();
    let ways = sockets::ways(&listeners, &own, port);
    let listening = match (ways.is_empty(), listeners.is_empty()) {
        (false, _) => Listening::Own,
        (true, false) => Listening::Others,
        (true, true) => Listening::Nobody,
    };
    // There is one: see above.
    let Some(task) = tasks.first() else { return Ok(Vec::new()) };
    let verdict = site.policy.may_forward(&task.origin, port, listening);
    let reasons = verdict.as_ref().map_or_else(Denied::reasons, |()| Vec::new());
    pipe.audit_forward(&task.id, &task.origin, port, user, reasons)?;
    verdict.map_err(|denied| refusal(&denied))?;
    Ok(match site.policy.port_forward {
        PortForward::Any => own_ways(&listeners, port),
        PortForward::Own | PortForward::Never if listening == Listening::Nobody => {
            return Err(ApiError {
                reason: ErrorReason::Conflict,
                message: format!("connection refused: nothing listens on port {port}"),
            });
        }
        PortForward::Own | PortForward::Never => ways,
    })
}

/// The host's own addresses at which `port` may answer: the loopback's, and then where somebody listens.
fn own_ways(listeners: &[sockets::Listener], port: u16) -> Vec<SocketAddr> {
    let loopback =
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(|ip| SocketAddr::new(ip, port));
    let bound = listeners.iter().map(|listener| listener.at);
    let mut ways: Vec<SocketAddr> = loopback.to_vec();
    ways.extend(bound.filter(|at| !at.ip().is_unspecified() && !loopback.contains(at)));
    ways
}

async fn resolve(host: String, port: u16) -> Result<Vec<SocketAddr>, ApiError> {
    // In brackets, as a URL has it.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let failed = |e: &io::Error| ApiError {
        reason: ErrorReason::NotFound,
        message: format!("the host {host} is not known here: {e}"),
    };
    Ok(tokio::net::lookup_host((name, port)).await.map_err(|e| failed(&e))?.collect())
}

/// Connects to the first that answers; of those that do not, the first says why.
async fn connect(ways: &[SocketAddr]) -> Result<TcpStream, ApiError> {
    let mut why = None;
    for way in ways {
        match TcpStream::connect(way).await {
            Ok(stream) => return Ok(stream),
            Err(e) => {
                why.get_or_insert_with(|| format!("dial tcp {way}: {}", words(&e)));
            }
        }
    }
    let message = why.unwrap_or_else(|| "there is no address to connect to".to_owned());
    Err(ApiError { reason: ErrorReason::Conflict, message })
}

/// The kernel's words, as the kubelet has them.
fn words(e: &io::Error) -> String {
    let known = [
        (io::ErrorKind::ConnectionRefused, "connect: connection refused"),
        (io::ErrorKind::HostUnreachable, "connect: no route to host"),
        (io::ErrorKind::NetworkUnreachable, "connect: network is unreachable"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == e.kind());
    found.map_or_else(|| e.to_string(), |(_, words)| (*words).to_owned())
}

fn slow() -> Over {
    Over::failed(ErrorReason::Conflict, format!("the connection has not come about within {} s", CONNECT.as_secs()))
}
