//! Every command on a terminal and in a pipe, with `-o json`: what standard output has can be read by a program.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

use super::Plugin;
use crate::ground::{LONG, room};

/// The commands, each with its arguments. What is submitted and cancelled is another one each time.
const COMMANDS: &[&[&str]] = &[
    &["run", "-w", "vk-cli-formats", "--hold", "-o", "json", "--", "true"],
    &["run", "-w", "vk-cli-formats", "--wait", "-o", "json", "--", "true"],
    &["run", "-w", "vk-cli-formats", "--dry-run", "-o", "json", "--", "true"],
    &["run", "-w", "vk-cli-formats", "--dry-run=server", "-o", "json", "--", "true"],
    &["list", "-o", "json"],
    &["list", "done", "-o", "json"],
    &["list", "--active", "-A", "-o", "json"],
    &["logs", "done", "-o", "json"],
    &["logs", "done", "-f", "-o", "json"],
    &["wait", "done", "-o", "json"],
    &["hold", "held", "-o", "json"],
    &["release", "done", "-o", "json"],
    &["requeue", "held", "-o", "json"],
    &["nodes", "-o", "json"],
    &["fleets", "-o", "json"],
    &["explain", "done", "-o", "json"],
    &["top", "-o", "json"],
    &["doctor", "-o", "json"],
    &["version", "-o", "json"],
    &["cancel", "-l", "nobody=has-it", "-o", "json"],
];

/// Runs it with standard output on a terminal; what it wrote there.
async fn on_a_terminal(command: Command) -> Vec<u8> {
    tokio::task::spawn_blocking(move || blocking(command)).await.unwrap()
}

fn blocking(mut command: Command) -> Vec<u8> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let open = || -> OwnedFd {
        std::fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap().into()
    };
    command.stdin(Stdio::null()).stdout(open()).stderr(open()).env("TERM", "xterm");
    let mut child = command.spawn().unwrap();
    // Its ends of the terminal are its own now; ours would keep it open.
    drop(command);
    let (mut bytes, mut terminal) = (Vec::new(), std::fs::File::from(ours));
    // The end of a terminal is an error (EIO).
    let _ = terminal.read_to_end(&mut bytes);
    child.wait().unwrap();
    bytes
}

/// What a terminal shows in the end, without what was wiped away and without what the cursor was told.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let mut plain = String::new();
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).map_or(after.len(), |end| end + 1);
        rest = &after[end..];
    }
    plain.push_str(rest);
    plain.lines().map(|line| line.rsplit('\r').next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

fn parses(words: &[&str], text: &str) {
    let is_lines = words[0] == "logs";
    let parse = |text: &str| serde_json::from_str::<Value>(text).map(drop);
    let read = if is_lines { text.lines().try_for_each(parse) } else { parse(text) };
    assert!(read.is_ok(), "{words:?}: {read:?}: {text:?}");
    assert!(!is_lines || text.contains("\"line\":\"hello\""), "{words:?}: {text:?}");
}

#[tokio::test]
async fn json_can_be_read_in_a_pipe_and_from_a_terminal() {
    let room = room("cli-formats").await;
    let _site = room.site("vk-cli-formats").await;
    let plugin = Plugin::of(&room).await;
    plugin.says(&["run", "-w", "vk-cli-formats", "--name", "done", "--wait", "--", "echo", "hello"]).await;
    plugin.says(&["run", "-w", "vk-cli-formats", "--name", "held", "--hold", "--", "true"]).await;
    for words in COMMANDS {
        let piped = plugin.does(words).await;
        // That it cannot be released any more is told by the code, and by an empty list.
        assert!(piped.code == Some(0) || words[0] == "release", "{words:?}: {piped:?}");
        parses(words, &piped.out);
        let terminal = on_a_terminal(plugin.command(words)).await;
        let shown = shown(&terminal);
        let begin = shown.find(['{', '[']).unwrap_or_default();
        let end = shown.rfind(['}', ']']).map_or(shown.len(), |end| end + 1);
        parses(words, &shown[begin..end]);
    }
    // The same as YAML, and by name alone.
    for words in COMMANDS.iter().filter(|words| words[0] != "logs") {
        let with = |format| words.iter().map(|&word| if word == "json" { format } else { word }).collect::<Vec<_>>();
        let yaml = plugin.does(&with("yaml")).await.out;
        let read = serde_yaml_ng::from_str::<Value>(&yaml);
        assert!(matches!(read, Ok(Value::Object(_))) && !yaml.starts_with('{'), "{words:?}: {read:?}: {yaml:?}");
        let names = plugin.does(&with("name")).await.out;
        let is_name =
            |line: &str| line.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"./-".contains(&b));
        assert!(names.lines().all(is_name), "{words:?}: {names:?}");
        // There are no fleets here, nothing is measured, and what has ended is neither released nor cancelled.
        let may_be_none = ["list", "fleets", "top", "release", "cancel"].contains(&words[0]);
        assert!(may_be_none || !names.is_empty(), "{words:?}");
    }
    assert_eq!(plugin.says(&["list", "done", "-o", "name"]).await, "cmdjob.vk-cmd.io/done\n");
    // Colours are for terminals that want them.
    let list = String::from_utf8_lossy(&on_a_terminal(plugin.command(&["list"])).await).into_owned();
    assert!(list.contains("\x1b[32mComplete\x1b[0m"), "{list:?}");
    let mut plain = plugin.command(&["list"]);
    plain.env("NO_COLOR", "1");
    let plain = String::from_utf8_lossy(&on_a_terminal(plain).await).into_owned();
    assert!(plain.contains("Complete") && !plain.contains('\x1b'), "{plain:?}");
    assert!(!plugin.says(&["list"]).await.contains('\x1b'));
    let yaml = plugin.says(&["list", "done", "-o", "yaml"]).await;
    assert!(yaml.starts_with("apiVersion: vk-cmd.io/v1alpha1\nkind: CmdJob\n"), "{yaml}");
    let limit = tokio::time::timeout(LONG, on_a_terminal(plugin.command(&["wait", "done"]))).await.unwrap();
    assert!(shown(&limit).contains("done: Complete: "), "{limit:?}");
}
