//! The entries of the audit log: one line of JSON for each thing that was asked and each end.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vk_task::{End, LimitKind, Origin, Place, Program, ScriptRunner, TaskId, TaskSpec};

/// So much of one argument, or of a script's first line, is written down.
const SHOWN_BYTES: usize = 512;
/// So many arguments are.
const SHOWN_ARGUMENTS: usize = 64;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// When it was written.
    pub at: Timestamp,
    /// The task.
    pub task: TaskId,
    /// Who asked for the task.
    pub by: Origin,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A task is going to be started.
    Accepted {
        /// What is run.
        what: What,
        /// What is not as it was asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        told: Vec<String>,
        /// It was accepted at an earlier time; this is written because nobody knows whether it was written then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// A task was refused.
    Denied {
        /// What was asked.
        what: What,
        /// Every reason.
        reasons: Vec<String>,
    },
    /// Somebody entered a task, or wanted to.
    Stream {
        /// `exec`, `attach` or `port-forward`.
        kind: String,
        /// Who, as the node knows him.
        user: String,
        /// The program, for `exec`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        argv: Vec<String>,
        /// The port, for `port-forward`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Why he was refused; empty when he was not.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        denied: Vec<String>,
    },
    /// A task has ended.
    Ended {
        /// How.
        end: End,
        /// When its program was started.
        started_at: Timestamp,
        /// When its end was seen.
        finished_at: Timestamp,
        /// The limit that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exceeded: Option<LimitKind>,
    },
    /// Nobody saw how a task ended.
    Unknown {
        /// What is known of it.
        message: String,
    },
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct What {
    /// The program and its arguments; of a script, what runs it.
    pub argv: Vec<String>,
    /// The script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptMark>,
    /// The image it is run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// By what a script is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScriptMark {
    /// The SHA-256 of its text, in hexadecimal digits.
    pub sha256: String,
    /// Its first line that is neither blank nor a `#!` line.
    pub first_line: String,
}

impl What {
    /// What `spec` is going to run.
    #[must_use]
    pub fn of(spec: &TaskSpec) -> Self {
        let image = match &spec.place {
            Place::Host => None,
            Place::Image(image) => Some(cut(&image.reference)),
        };
        match &spec.program {
            Program::Exec { argv } => Self { argv: cut_all(argv), script: None, image },
            Program::Script { text, runner } => {
                let argv = match runner {
                    ScriptRunner::Shebang => text.lines().next().map(cut).into_iter().collect(),
                    ScriptRunner::Shell { path } => vec![cut(path)],
                };
                Self { argv, script: Some(ScriptMark::of(text)), image }
            }
        }
    }
}

impl ScriptMark {
    fn of(text: &str) -> Self {
        let digest = Sha256::digest(text.as_bytes());
        let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
        Self {
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            first_line: cut(first.unwrap_or_default()),
        }
    }
}

impl Entry {
    /// The line, with its end.
    ///
    /// # Errors
    /// Never: none of its types can fail to become JSON.
    pub fn line(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// The arguments as far as they are written down.
#[must_use]
pub fn cut_all(argv: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = argv.iter().take(SHOWN_ARGUMENTS).map(|arg| cut(arg)).collect();
    if argv.len() > SHOWN_ARGUMENTS {
        shown.push(format!("… ({} arguments)", argv.len()));
    }
    shown
}

fn cut(text: &str) -> String {
    if text.len() <= SHOWN_BYTES {
        return text.to_owned();
    }
    format!("{}… ({} bytes)", text.get(..text.floor_char_boundary(SHOWN_BYTES)).unwrap_or_default(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_task::Leftovers;

    #[test]
    fn an_entry_is_one_line_that_reads_well() {
        let program = Program::Script {
            text: "#!/bin/sh\n\n# prepare\necho 1\n".into(),
            runner: ScriptRunner::Shell { path: "/bin/sh".into() },
        };
        let spec = TaskSpec::new(Origin::Fifo { writer: None }, program, Leftovers::Kill);
        let event = Event::Accepted { what: What::of(&spec), told: vec![], again: false };
        let entry =
            Entry { at: Timestamp::UNIX_EPOCH, task: TaskId::new("t").unwrap(), by: spec.origin.clone(), event };
        let line = String::from_utf8(entry.line().unwrap()).unwrap();
        assert_eq!(
            line,
            concat!(
                r#"{"at":"1970-01-01T00:00:00Z","task":"t","by":{"kind":"fifo"},"event":"accepted","#,
                r#""what":{"argv":["/bin/sh"],"script":{"sha256":"#,
                r#""c4013ea28c2bbea34aa6f94f37a826cec5062a968503b50f1ea891506d251a98","#,
                r##""firstLine":"# prepare"}}}"##,
                "\n"
            )
        );
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
    }

    #[test]
    fn what_is_long_is_cut() {
        let argv = vec!["ä".repeat(1000); 100];
        let cut = cut_all(&argv);
        assert_eq!(cut.len(), 65);
        assert!(cut.iter().all(|arg| arg.len() < 600) && cut[0].ends_with("… (2000 bytes)"), "{}", cut[0]);
    }
}
