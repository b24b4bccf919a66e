//! Running a command to its end, with a time limit.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;

/// Runs `command` to its end and collects what it wrote, whatever its exit code. It is killed when `limit` has passed.
pub async fn output(command: Command, limit: Duration) -> Result<Output> {
    output_with_input(command, b"", limit).await
}

/// As [`output`], with `input` on its standard input.
pub async fn output_with_input(command: Command, input: &[u8], limit: Duration) -> Result<Output> {
    let shown = show(&command);
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`"))?;
    let mut stdin = child.stdin.take();
    let feed = async move {
        if let Some(pipe) = stdin.as_mut() {
            // A program that ends without reading its input is no error of ours; its exit code tells.
            let _ = pipe.write_all(input).await;
        }
        drop(stdin);
    };
    let run = async { tokio::join!(feed, child.wait_with_output()).1 };
    match tokio::time::timeout(limit, run).await {
        Ok(ended) => ended.with_context(|| format!("cannot read the output of `{shown}`")),
        Err(_) => bail!("`{shown}` did not end within {limit:.0?} and was killed"),
    }
}

/// As [`output`], for a command that must succeed: its standard output, or an error with its standard error.
pub async fn text(command: Command, limit: Duration) -> Result<String> {
    text_with_input(command, b"", limit).await
}

/// As [`text`], with `input` on its standard input.
pub async fn text_with_input(command: Command, input: &[u8], limit: Duration) -> Result<String> {
    let shown = show(&command);
    let output = output_with_input(command, input, limit).await?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` ended with {}: {}", output.status, stderr.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{shown}` is not UTF-8"))
}

/// The command as one would type it, near enough for an error message.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
