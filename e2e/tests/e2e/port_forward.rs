//! `kubectl port-forward`: many connections at once, each byte for byte, with an end for each direction.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Stdio;

use futures::future::join_all;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use vk_cmd_e2e::site::Site;
use vk_cmd_e2e::wait::{self, Probe};

use crate::exec::{BY_SPDY, BY_WEBSOCKET, noise, resident};
use crate::ground::{GLANCE, LONG, Room, room};

/// Where the server of the tests says which port it has; in the environment of that process only.
const PORT_FILE: &str = "VK_TEST_PORT_FILE";

/// So many bytes, in pieces: of the 100 MB of twenty connections nobody has more than a piece.
fn pieces(seed: u64, bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    const PIECE: usize = 1 << 16;
    (0..bytes.div_ceil(PIECE)).map(move |n| noise(seed * 1_000_003 + n as u64, PIECE.min(bytes - n * PIECE)))
}

/// No test: what runs in the pods of the others. It answers all that a client sends, when that has come to its end, with as
/// many other bytes after the hash of what came.
#[test]
#[ignore = "it is the server of the other tests"]
fn server() {
    let Some(file) = std::env::var_os(PORT_FILE) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let draft = std::path::PathBuf::from(&file).with_extension("new");
    std::fs::write(&draft, listener.local_addr().unwrap().port().to_string()).unwrap();
    std::fs::rename(draft, file).unwrap();
    for connection in listener.incoming() {
        let mut connection = connection.unwrap();
        std::thread::spawn(move || {
            let (mut came, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
            while let Ok(n @ 1..) = connection.read(&mut buffer) {
                came.update(&buffer[..n]);
                bytes += n;
            }
            let mut answer = std::iter::once(came.finalize().to_vec()).chain(pieces(77, bytes));
            let _ = answer.try_for_each(|piece| connection.write_all(&piece));
            let _ = connection.shutdown(Shutdown::Both);
        });
    }
}

/// A pod with that server; its port.
pub(crate) async fn serving(room: &Room, site: &Site, name: &str) -> u16 {
    let file = site.home().join("port");
    let program = std::env::current_exe().unwrap();
    let command = [program.to_str().unwrap(), "--exact", "port_forward::server", "--ignored", "--nocapture"];
    let env = json!([{"name": PORT_FILE, "value": file}]);
    room.running_pod(name, site.node_name(), json!({"command": command, "env": env})).await;
    let listens = wait::until("the server to listen", LONG, GLANCE, async || {
        Ok(match std::fs::read_to_string(&file) {
            Ok(port) => Probe::Ready(port.parse()?),
            Err(error) => Probe::not_yet(error.to_string()),
        })
    });
    listens.await.unwrap()
}

/// A kubectl that forwards to this port of a pod, and its own port.
pub(crate) async fn forwarding(room: &Room, by: [(&str, &str); 2], pod: &str, port: u16) -> (Child, u16) {
    let mut kubectl = Command::from(room.kubectl(&["port-forward", "--address=127.0.0.1", pod, &format!(":{port}")]));
    kubectl.envs(by).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = kubectl.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap().unwrap();
    let local = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|rest| rest.split(' ').next());
    let local = local.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    // It writes a line for each connection.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, local)
}

/// Sends so many bytes, says that it was all, and reads what comes back to its end.
pub(crate) async fn exchange(port: u16, seed: u64, bytes: usize) {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut sent = Sha256::new();
    for piece in pieces(seed, bytes) {
        sent.update(&piece);
        connection.write_all(&piece).await.unwrap();
    }
    connection.shutdown().await.unwrap();
    let (mut came, mut answer) = (0, Sha256::new());
    let mut told = [0; 32];
    connection.read_exact(&mut told).await.unwrap();
    assert!(told[..] == sent.finalize()[..], "what reached the pod by connection {seed} differs");
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = connection.read(&mut buffer).await.unwrap();
        if n == 0 {
            break;
        }
        came += n;
        answer.update(&buffer[..n]);
    }
    let wanted = pieces(77, bytes).fold(Sha256::new(), |hash, piece| hash.chain_update(&piece)).finalize();
    assert_eq!(came, bytes, "connection {seed}");
    assert!(answer.finalize() == wanted, "what came back by connection {seed} differs");
}

async fn twenty_at_once(name: &str, bytes: usize) {
    let room = room(name).await;
    let mut site = room.site(&format!("vk-{name}")).await;
    let port = serving(&room, &site, "p").await;
    let node = site.node().unwrap().pid();
    let before = resident(node);
    for by in [BY_WEBSOCKET, BY_SPDY] {
        let (_kubectl, local) = forwarding(&room, by, "p", port).await;
        join_all((0..20).map(|n| exchange(local, n + 1, bytes))).await;
        let after = resident(node);
        assert!(after < before + (64 << 10), "{before} KiB became {after} KiB");
    }
}

#[tokio::test]
async fn twenty_connections_at_once_are_whole() {
    twenty_at_once("forward", 4 << 20).await;
}

/// 20 × 100 MB in each direction, by WebSocket and by SPDY: minutes in a debug build.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "8 GB through kubectl and the API server take minutes"]
async fn twenty_connections_at_once_with_100_mb_each_are_whole() {
    twenty_at_once("forward-much", 100 << 20).await;
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_of() {
    let room = room("forward-refused").await;
    let _site = room.site("vk-forward-refused").await;
    room.sleeper("p", "vk-forward-refused").await;
    for by in [BY_WEBSOCKET, BY_SPDY] {
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (mut kubectl, local) = forwarding(&room, by, "p", port).await;
        let mut connection = TcpStream::connect(("127.0.0.1", local)).await.unwrap();
        let mut nothing = Vec::new();
        let _ = tokio::time::timeout(LONG, connection.read_to_end(&mut nothing)).await.unwrap();
        assert!(nothing.is_empty());
        let mut lines = BufReader::new(kubectl.stderr.take().unwrap()).lines();
        let line = tokio::time::timeout(LONG, lines.next_line()).await.unwrap().unwrap().unwrap();
        assert!(line.contains(&format!("error forwarding port {port} to pod")), "{by:?}: {line}");
    }
}
