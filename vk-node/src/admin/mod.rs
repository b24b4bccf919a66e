//! What the administrator of a site asks of `vk-node`: how the node and its jobs are, what is wrong, and that it ends.
//!
//! ```text
//!   status, drain, stop, config diff ──▶ node.sock   the node that runs here: see crate::node::desk
//!   jobs, logs, status ────────────────▶ vk-cmd.sock the pipe; where none answers, the records on disk
//!   doctor ────────────────────────────▶ facts of this machine ──▶ vk_node_core::doctor
//!   init, service, support-bundle ─────▶ files
//! ```
//!
//! What they say is decided in `vk-node-core`: `report`, `jobs`, `doctor`, `profile`, `service`, `scrub`. Answers go to standard
//! output, all else to standard error; with `-o json` the answer is one JSON value whatever happens.

mod ask;
mod bundle;
mod config;
mod doctor;
mod drain;
mod init;
mod jobs;
mod logs;
mod service;
mod status;
mod stop;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;
use vk_api_client::chain;
use vk_node_core::config::{NO_HOME, home_pipe};
use vk_pipe::ClientError;

pub(crate) use self::bundle::Bundle;
pub(crate) use self::config::Config;
pub(crate) use self::doctor::Doctor;
pub(crate) use self::drain::Drain;
pub(crate) use self::init::Init;
pub(crate) use self::jobs::Jobs;
pub(crate) use self::logs::Logs;
pub(crate) use self::service::Service;
pub(crate) use self::status::Status;
pub(crate) use self::stop::Stop;
use crate::cli::{self, Sources};

/// What a command came to: the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// All is well.
    Fine = 0,
    /// It could not be done.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// What was asked does not answer.
    Unreachable = 3,
    /// It was asked, and the answer is no.
    No = 4,
    /// It was begun, and the time was over before it was done.
    TimedOut = 5,
}

/// The same for people: `vk-node --help`, and docs/reference/vk-node.md.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  all is well
  1  it could not be done, and standard error says why
  2  the command line makes no sense
  3  the node or the pipe that was asked does not answer
  4  the answer is no: not ready, a check has failed, the settings are wrong or differ
  5  the time was over before it was done";

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// In what form a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The flag for it.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Output {
    /// In what form to answer.
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
}

impl Output {
    pub(crate) fn format(self) -> Format {
        self.output
    }
}

/// Where the pipe is that is asked.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Place {
    /// The node's file, which may say where the pipe's directory is [default: node.yaml in the pipe's directory, if it is there].
    #[arg(long, env = "VK_NODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory by which the pipe is reached [default: what the node's file says, or $HOME/hostpipe].
    #[arg(long, env = "VK_NODE_HOSTPIPE", value_name = "DIR")]
    hostpipe: Option<PathBuf>,
}

impl Place {
    /// The pipe's directory.
    fn hostpipe(&self) -> anyhow::Result<PathBuf> {
        if let Some(hostpipe) = &self.hostpipe {
            // What else the file says, and whether it makes sense, does not matter then.
            return Ok(hostpipe.clone());
        }
        match cli::load(&cli::Run::of(self.config.clone(), None), None, &Sources::default()) {
            Ok(loaded) => loaded.hostpipe(),
            // What runs here can be asked all the same, where it is in the usual place.
            Err(error) => {
                eprintln!("vk-node: {}", chain(&*error));
                home_pipe(std::env::home_dir()).context(NO_HOME)
            }
        }
    }
}

/// Something that was asked does not answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoAnswer(String);

/// The time was over.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct OutOfTime(String);

/// Prints an answer. Whoever has read enough of it is not told of an error.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn print(format: Format, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
    let text = match format {
        Format::Text => text.to_owned(),
        Format::Json => serde_json::to_string_pretty(value).context("the answer cannot be written as JSON")? + "\n",
    };
    written(io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush())).map(drop)
}

/// Whether somebody still reads.
fn written(result: io::Result<()>) -> anyhow::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Says why a command failed, in its form.
pub(crate) fn fail(format: Format, error: &anyhow::Error) -> Code {
    let code = code_of(error);
    let said = chain(&**error);
    if format == Format::Json {
        // What stands on standard error is said in any case.
        let _ = print(format, &json!({"error": {"code": code as u8, "message": said}}), "");
    }
    eprintln!("vk-node: {said}");
    code
}

fn code_of(error: &anyhow::Error) -> Code {
    let is = |cause: &(dyn std::error::Error + 'static)| {
        if cause.is::<NoAnswer>() {
            return Some(Code::Unreachable);
        }
        if cause.is::<OutOfTime>() {
            return Some(Code::TimedOut);
        }
        match cause.downcast_ref::<ClientError>() {
            Some(ClientError::Unreachable { .. } | ClientError::TimedOut { .. }) => Some(Code::Unreachable),
            Some(ClientError::Refused(_) | ClientError::Protocol(_)) | None => None,
        }
    };
    error.chain().find_map(is).unwrap_or(Code::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_from_what_went_wrong() {
        let code = |error: anyhow::Error| code_of(&error.context("more"));
        assert_eq!(code(anyhow::anyhow!("no")), Code::Failed);
        assert_eq!(code(NoAnswer("no".into()).into()), Code::Unreachable);
        assert_eq!(code(OutOfTime("no".into()).into()), Code::TimedOut);
        let silent = ClientError::TimedOut { directory: "/p".into(), after: std::time::Duration::ZERO };
        assert_eq!(code(silent.into()), Code::Unreachable);
    }

    /// Each code is in the help, and in the documentation as it is there.
    #[test]
    fn exit_codes_are_documented() {
        let docs = include_str!("../../../docs/reference/vk-node.md");
        for line in EXIT_CODES.lines().skip(1) {
            let (code, words) = line.trim().split_once("  ").unwrap();
            assert!(docs.contains(&format!("| {code} | {words} |")), "docs/reference/vk-node.md: | {code} | {words} |");
        }
    }
}
