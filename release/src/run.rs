//! Running other programs.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// What the program writes to standard output. What it says otherwise is shown.
///
/// # Errors
/// If it cannot be run, or fails.
pub fn output(mut command: Command) -> Result<Vec<u8>> {
    let name = command.get_program().display().to_string();
    let done = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {name}: is it installed and on the PATH?"))?;
    if !done.status.success() {
        bail!("{} has failed ({}); what it says is above", shown(&command), done.status);
    }
    Ok(done.stdout)
}

/// The same as text, without the end of the last line.
///
/// # Errors
/// If it cannot be run, fails, or writes no text.
pub fn text(command: Command) -> Result<String> {
    let name = shown(&command);
    let text = String::from_utf8(output(command)?).with_context(|| format!("{name} has not written text"))?;
    Ok(text.trim_end().to_owned())
}

/// The command as one could type it.
#[must_use]
pub fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
