//! What a reader that stops costs: nothing to the others, and little memory.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;

use crate::exec::{BY_WEBSOCKET, resident, shown};
use crate::ground::{LONG, room};

#[tokio::test]
async fn a_reader_that_stops_costs_no_memory_and_keeps_nobody_waiting() {
    const NODE: &str = "vk-relay-slow";
    let room = room("relay-slow").await;
    let mut relay = room.relay().await;
    let mut site = room.behind(&relay, NODE).await;
    room.sleeper("p", NODE).await;
    room.has_logs("p").await;
    let (node, relay_pid) = (site.node().unwrap().pid(), relay.process().unwrap().pid());
    let before = (resident(node), resident(relay_pid));
    let done = site.home().join("done");
    // Three of them, with 200 MB each.
    let mut readers = Vec::new();
    for _ in 0..3 {
        let script = format!("head -c 200000000 /dev/zero; touch {}", done.display());
        let mut kubectl = tokio::process::Command::from(room.kubectl(&["exec", "p", "--", "sh", "-c", &script]));
        kubectl.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = kubectl.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut some = vec![0; 1 << 20];
        tokio::time::timeout(LONG, stdout.read_exact(&mut some)).await.unwrap().unwrap();
        readers.push((child, stdout));
    }
    // Nobody reads now. All on the way is full when nothing is passed on any more.
    let bytes = async || relay.figure("vk_relay_bytes_total{direction=\"from_node\"}").await.unwrap();
    let mut last = bytes().await;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = bytes().await;
        if (now - last).abs() < 0.5 {
            break;
        }
        last = now;
    }
    let after = (resident(node), resident(relay_pid));
    eprintln!(
        "three readers that stop: node {} KiB → {} KiB, relay {} KiB → {} KiB",
        before.0, after.0, before.1, after.1
    );
    assert!(after.0 < before.0 + (24 << 10), "node: {before:?} KiB became {after:?} KiB");
    assert!(after.1 < before.1 + (8 << 10), "relay: {before:?} KiB became {after:?} KiB");
    assert!(!done.exists(), "200 MB are more than all on the way may hold");
    // And the node is reached as before, by the same connection.
    let other = room.kubectl_by(BY_WEBSOCKET, &["exec", "p", "--", "sh", "-c", "echo well; exit 5"], b"").await;
    assert_eq!((other.status.code(), &*shown(&other).1), (Some(5), "well\n"), "{:?}", shown(&other));
    // One that reads on gets all of it.
    let (mut child, mut stdout) = readers.pop().unwrap();
    let (mut all, mut buffer) = (1 << 20, vec![0; 1 << 16]);
    loop {
        let n = tokio::time::timeout(LONG, stdout.read(&mut buffer)).await.unwrap().unwrap();
        if n == 0 {
            break;
        }
        all += n;
    }
    assert_eq!(all, 200_000_000);
    assert!(tokio::time::timeout(LONG, child.wait()).await.unwrap().unwrap().success());
}
