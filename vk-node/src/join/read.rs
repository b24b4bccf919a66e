//! Where the token comes from.

use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Context;
use tracing::warn;
use vk_cmd_crds::join::{JoinToken, JoinTokenError};

use super::VARIABLE;

/// No token is longer.
const LENGTH_MAX: u64 = 64 * 1024 + 1;

/// The token: from the file, else from the variable, else from standard input.
pub(super) fn token(file: Option<&Path>) -> anyhow::Result<JoinToken> {
    let (text, place) = match (file, std::env::var_os(VARIABLE)) {
        (Some(file), _) => (of_file(file)?, format!("the file {}", file.display())),
        // Not by the command line's own variables: its help shows what they are set to.
        (None, Some(text)) => (text.to_string_lossy().into_owned(), format!("${VARIABLE}")),
        (None, None) => (of_input()?, "standard input".to_owned()),
    };
    JoinToken::parse(&text).with_context(|| format!("what is in {place} cannot be used"))
}

fn of_file(file: &Path) -> anyhow::Result<String> {
    let opened = std::fs::File::open(file)
        .with_context(|| format!("cannot read the file of --token-file, {}", file.display()))?;
    if opened.metadata().is_ok_and(|about| about.is_file() && about.mode() & 0o077 != 0) {
        warn!("others on this machine can read {}: chmod 600 it, or have the token revoked", file.display());
    }
    text(opened).with_context(|| format!("cannot read the file of --token-file, {}", file.display()))
}

fn of_input() -> anyhow::Result<String> {
    let input = std::io::stdin();
    // Nobody is asked to type it: it would be shown.
    if input.is_terminal() {
        return Err(JoinTokenError::Empty.into());
    }
    text(input.lock()).context("cannot read the join token from standard input")
}

fn text(from: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    from.take(LENGTH_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
