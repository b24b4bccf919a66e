//! `run --wait` and `wait` return what the command returned.
//!
//! Which code belongs to which end is a pure function with a property test over all 256 (`vk_cli_core::exit`); here a part of
//! them goes the whole way, side by side: the edges, those that mean something to shells, and signals.

use futures::future::join_all;

use super::Plugin;
use crate::ground::room;

const CODES: [i32; 16] = [0, 1, 2, 3, 42, 100, 124, 125, 126, 127, 128, 130, 137, 143, 254, 255];
const SIGNALS: [i32; 8] = [1, 2, 6, 9, 10, 11, 13, 15];

#[tokio::test]
async fn exit_codes_and_signals_come_back_through_run_wait() {
    let room = room("cli-codes").await;
    let _site = room.site("vk-cli-codes").await;
    let plugin = Plugin::of(&room).await;
    let codes = CODES.iter().map(|code| (format!("exit {code}"), *code));
    let signals = SIGNALS.iter().map(|signal| (format!("kill -{signal} $$"), 128 + signal));
    let runs = codes.chain(signals).map(async |(script, expected)| {
        let done = plugin.does(&["run", "--wait", "-w", "vk-cli-codes", "--", "sh", "-c", &script]).await;
        (done.code != Some(expected)).then(|| format!("{script}: {done:?}"))
    });
    let wrong: Vec<String> = join_all(runs).await.into_iter().flatten().collect();
    assert_eq!(wrong, Vec::<String>::new());
    // What is said beside it is why, and nothing of it is on standard output.
    let done = plugin.does(&["run", "--wait", "-w", "vk-cli-codes", "--", "sh", "-c", "exit 5"]).await;
    assert!(done.out.is_empty() && done.err.contains("ended with exit code 5"), "{done:?}");
}

#[tokio::test]
async fn waiting_tells_ends_from_everything_else() {
    let room = room("cli-wait").await;
    let _site = room.site("vk-cli-wait").await;
    let plugin = Plugin::of(&room).await;
    let to = |name: &'static str| ["run", "-w", "vk-cli-wait", "--name", name];
    plugin.says(&[&to("three")[..], &["--", "sh", "-c", "exit 3"]].concat()).await;
    plugin.says(&[&to("seven")[..], &["--", "sh", "-c", "exit 7"]].concat()).await;
    plugin.says(&[&to("held")[..], &["--hold", "--", "true"]].concat()).await;
    // Of several, the highest.
    let both = plugin.does(&["wait", "three", "seven"]).await;
    assert_eq!(both.code, Some(7), "{both:?}");
    assert!(both.out.contains("three: Failed: ") && both.out.contains("seven: Failed: "), "{both:?}");
    let late = plugin.does(&["wait", "held", "--timeout", "1s"]).await;
    assert_eq!(late.code, Some(124), "{late:?}");
    assert!(late.err.contains("held: Suspended: "), "{late:?}");
    let missing = plugin.does(&["wait", "nobody"]).await;
    assert_eq!(missing.code, Some(125), "{missing:?}");
    assert!(missing.err.contains("there is no CmdJob nobody in the namespace cli-wait"), "{missing:?}");
    // Somebody else deletes what is waited for.
    let (waited, ()) = tokio::join!(plugin.does(&["wait", "held"]), async {
        plugin.says(&["cancel", "held"]).await;
    });
    assert_eq!(waited.code, Some(125), "{waited:?}");
    assert!(
        waited.err.contains("deleted before it had ended") || waited.err.contains("there is no CmdJob"),
        "{waited:?}"
    );
    // Where it may not be found out what is meant, nothing is submitted.
    for (words, expected) in [
        (vec!["run", "--wait", "--", "true"], "where shall it run?"),
        (vec!["run", "-w", "vk-cli-wait"], "there is nothing to run"),
        (vec!["run", "-w", "vk-cli-wait", "hostname"], "-- hostname"),
        (vec!["run", "--no-such-flag"], "--no-such-flag"),
        (vec!["run", "-w", "node-1", "--", "true"], "their names begin with vk-"),
    ] {
        let done = plugin.does(&words).await;
        assert_eq!(done.code, Some(125), "{words:?}: {done:?}");
        assert!(done.err.contains(expected), "{words:?}: {done:?}");
    }
    let left = plugin.says(&["list", "-o", "name"]).await;
    let mut left: Vec<&str> = left.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["cmdjob.vk-cmd.io/seven", "cmdjob.vk-cmd.io/three"]);
    assert_eq!(plugin.does(&["list", "--no-such-flag"]).await.code, Some(2));
    assert_eq!(plugin.does(&["list", "nobody"]).await.code, Some(1));
}
