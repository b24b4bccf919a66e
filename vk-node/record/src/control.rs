//! A task's control socket: packets with descriptors beside them. What they say is in [`vk_task::control`].
//!
//! Nothing here blocks: the shim polls, and the pipe has a runtime for it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, recv, recvmsg, sendmsg, socket_with,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use vk_task::control::{MAX_DESCRIPTORS, MAX_PACKET_BYTES};

use crate::{Dir, names};

/// How many may wait to be accepted.
const BACKLOG: i32 = 32;

/// What was received.
#[derive(Debug)]
pub enum Received<T> {
    /// A packet that makes sense.
    Packet(T, Vec<OwnedFd>),
    /// A packet that does not, and why.
    Garbage(String),
    /// Nothing yet.
    Nothing,
    /// There will be nothing more.
    Closed,
}

/// A message that is longer than a packet may be: so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is {0} bytes long, and {MAX_PACKET_BYTES} is the most")]
pub struct TooLong(pub usize);

/// Listens at the control socket of the task in `dir`, in place of what an earlier shim may have left.
///
/// # Errors
/// When the kernel or the file system refuses.
pub fn listen(dir: &Dir) -> io::Result<OwnedFd> {
    dir.remove_file(names::CONTROL).map_err(io::Error::other)?;
    let socket = new_socket()?;
    // The name gets the socket's own mode. The directory is closed to others anyway.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(dir.short_path(names::CONTROL))?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to the control socket of the task in `dir`.
///
/// # Errors
/// `WouldBlock` when too many others wait; `NotFound` or `ConnectionRefused` when nobody listens there.
pub fn connect(dir: &Dir) -> io::Result<OwnedFd> {
    let socket = new_socket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(dir.short_path(names::CONTROL))?)?;
    Ok(socket)
}

/// Takes in the next who has connected, if that is a process of the same user.
///
/// # Errors
/// `WouldBlock` when there is nobody; `PermissionDenied` when it was somebody else, who has been turned away.
pub fn accept(listener: impl AsFd) -> io::Result<OwnedFd> {
    let socket = rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let peer = rustix::net::sockopt::socket_peercred(&socket)?;
    if peer.uid == rustix::process::geteuid() { Ok(socket) } else { Err(Errno::ACCESS.into()) }
}

/// A message as a packet.
///
/// # Errors
/// When it is too long for one.
pub fn packet(message: &impl Serialize) -> Result<Vec<u8>, TooLong> {
    // The messages are of types that always can be JSON.
    let bytes = serde_json::to_vec(message).unwrap_or_default();
    if bytes.len() > MAX_PACKET_BYTES { Err(TooLong(bytes.len())) } else { Ok(bytes) }
}

/// Sends a packet whole, or not at all.
///
/// # Errors
/// `WouldBlock` when there is no room now; others when the other side is gone.
pub fn send(socket: impl AsFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(socket, &[IoSlice::new(packet)], &mut beside, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}

/// Takes the next packet, if there is one.
///
/// # Errors
/// When the socket fails; its connection is over then.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Received<T>> {
    let socket = socket.as_fd();
    // How long it is, before room is made for it.
    let peek = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
    let look = || rustix::io::retry_on_intr(|| recv(socket, &mut [0_u8; 1], peek)).map(|(_, len)| len);
    let len = match look() {
        // That the other side has closed without having read all is told once, before what it has sent.
        Err(Errno::CONNRESET) => look(),
        other => other,
    };
    let len = match len {
        Ok(len) => len,
        Err(Errno::AGAIN) => return Ok(Received::Nothing),
        Err(Errno::CONNRESET) => return Ok(Received::Closed),
        Err(e) => return Err(e.into()),
    };
    // An empty packet looks the same as the end, and nobody who means well sends one.
    if len == 0 {
        return Ok(Received::Closed);
    }
    let mut bytes = vec![0; len.min(MAX_PACKET_BYTES)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut beside, flags).map(|m| m.bytes)
    });
    let got = match got {
        Ok(got) => got,
        Err(Errno::AGAIN) => return Ok(Received::Nothing),
        Err(e) => return Err(e.into()),
    };
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    if len > MAX_PACKET_BYTES {
        return Ok(Received::Garbage(TooLong(len).to_string()));
    }
    Ok(match serde_json::from_slice(bytes.get(..got).unwrap_or_default()) {
        Ok(message) => Received::Packet(message, descriptors),
        Err(e) => Received::Garbage(e.to_string()),
    })
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use vk_task::Signal;
    use vk_task::control::ControlRequest;

    fn pair() -> (tempfile::TempDir, OwnedFd, OwnedFd) {
        let temporary = tempfile::tempdir().unwrap();
        // Longer than the address of a socket can be.
        let dir = Dir::open_or_create(&temporary.path().join("x".repeat(200))).unwrap();
        let listener = listen(&dir).unwrap();
        assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let client = connect(&dir).unwrap();
        let server = accept(&listener).unwrap();
        let mode = dir.stat(names::CONTROL).unwrap().unwrap().st_mode;
        assert_eq!(mode & 0o777, 0o600);
        (temporary, client, server)
    }

    #[test]
    fn packets_and_descriptors_arrive() {
        let (_temporary, client, server) = pair();
        assert!(matches!(receive::<ControlRequest>(&server), Ok(Received::Nothing)));
        let request = ControlRequest::Signal { signal: Signal(10) };
        let null = File::open("/dev/zero").unwrap();
        send(&client, &packet(&request).unwrap(), &[null.as_fd(), null.as_fd()]).unwrap();
        send(&client, &packet(&ControlRequest::Input).unwrap(), &[]).unwrap();
        let Ok(Received::Packet(got, mut fds)) = receive::<ControlRequest>(&server) else { panic!() };
        assert_eq!((got, fds.len()), (request, 2));
        let mut byte = [1];
        File::from(fds.remove(0)).read_exact(&mut byte).unwrap();
        assert_eq!(byte, [0]);
        assert!(matches!(receive(&server), Ok(Received::Packet(ControlRequest::Input, fds)) if fds.is_empty()));
        drop(client);
        assert!(matches!(receive::<ControlRequest>(&server), Ok(Received::Closed)));
    }

    #[test]
    fn garbage_is_told_from_a_request_and_harms_nothing() {
        let (_temporary, client, server) = pair();
        for bytes in [&b"{"[..], b"\xff\0", br#"{"kind":"dance"}"#, &[b'x'; MAX_PACKET_BYTES + 1]] {
            send(&client, bytes, &[]).unwrap();
            assert!(matches!(receive::<ControlRequest>(&server), Ok(Received::Garbage(_))));
        }
        let long = ControlRequest::Exec {
            argv: vec!["x".repeat(MAX_PACKET_BYTES)],
            stdin: false,
            terminal: false,
            environment_of: None,
        };
        assert!(packet(&long).unwrap_err().to_string().contains("131072 is the most"));
        send(&client, &packet(&ControlRequest::Eager).unwrap(), &[]).unwrap();
        assert!(matches!(receive(&server), Ok(Received::Packet(ControlRequest::Eager, _))));
    }

    #[test]
    fn the_last_word_of_one_who_does_not_listen_is_heard() {
        let (_temporary, client, server) = pair();
        send(&client, &packet(&ControlRequest::Eager).unwrap(), &[]).unwrap();
        send(&server, &packet(&ControlRequest::Input).unwrap(), &[]).unwrap();
        drop(server);
        assert!(matches!(receive(&client), Ok(Received::Packet(ControlRequest::Input, _))));
        assert!(matches!(receive::<ControlRequest>(&client), Ok(Received::Closed)));
    }

    #[test]
    fn nobody_listens_where_there_is_nobody() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open_or_create(temporary.path()).unwrap();
        assert_eq!(connect(&dir).unwrap_err().kind(), io::ErrorKind::NotFound);
        drop(listen(&dir).unwrap());
        assert_eq!(connect(&dir).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        // One that was left is replaced.
        let _listener = listen(&dir).unwrap();
        connect(&dir).unwrap();
    }
}
