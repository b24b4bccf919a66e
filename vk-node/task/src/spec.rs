//! What is asked for a task.

use std::path::PathBuf;
use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// The longest single argument or `NAME=value` string that Linux passes through `execve`, without its NUL:
/// `MAX_ARG_STRLEN` (32 pages) less one. See execve(2).
pub const MAX_EXEC_STRING_BYTES: usize = 131_071;

/// What to run, and how: the body of the request that starts a task, and the text of its intent on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// Who asks: it comes back in every view of the task, so that a node that lost its memory knows its own.
    pub origin: Origin,
    /// What to run.
    pub program: Program,
    /// Variables on top of the pipe's base environment (`HOME`, `USER`, `LOGNAME`, `SHELL`, `PATH`, `LANG`, `TMPDIR`).
    #[serde(default)]
    pub env: BTreeMap<EnvName, String>,
    /// Where the program starts. `None`: the home directory of the pipe's user. A relative path counts from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
    /// What becomes of processes that outlive the main one.
    pub leftovers: Leftovers,
}

/// Who asked for a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Origin {
    /// A container of a pod.
    Pod {
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        pod: String,
        /// The pod's UID.
        uid: String,
        /// The container's name.
        container: String,
        /// How many runs of this container came before.
        restart: u32,
    },
    /// A line written to the FIFO.
    Fifo,
}

/// What a task runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Program {
    /// A program with its arguments, given to `execve` as they are. A name without a slash is looked up in `PATH`.
    Exec {
        /// The program and its arguments; at least the program.
        argv: Vec<String>,
    },
    /// A script, written to a file beside the task's records and run from there: it may be longer than one argument
    /// can be.
    Script {
        /// The script, unchanged.
        text: String,
        /// What runs it.
        runner: ScriptRunner,
    },
}

/// What runs a script's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ScriptRunner {
    /// The kernel, by the script's own `#!` line.
    Shebang,
    /// This program, with the file as its argument.
    Shell {
        /// Its name or path, `/bin/sh` say.
        path: String,
    },
}

/// What becomes of processes that are left when the main process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leftovers {
    /// They are killed, as the processes of a container are when its first one ends.
    Kill,
    /// The task goes on until the last of them has ended by itself.
    Await,
}

/// The name of an environment variable: at least one printable ASCII character, none of them `=`
/// (Kubernetes' relaxed rule, the default since 1.34).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvName(String);

/// A string that cannot be the name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot name an environment variable: use printable ASCII characters other than '='")]
pub struct InvalidEnvName(pub String);

impl EnvName {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    /// When `text` is empty or has a character that is not printable ASCII, or a `=`.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidEnvName> {
        let text = text.into();
        if text.is_empty() || !text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=') {
            return Err(InvalidEnvName(text));
        }
        Ok(Self(text))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for EnvName {
    type Error = InvalidEnvName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl From<EnvName> for String {
    fn from(name: EnvName) -> Self {
        name.0
    }
}

/// Why a specification cannot be run, whatever the host is like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// There is no program.
    #[error("there is no program to run: the argument list is empty")]
    NoProgram,
    /// A string holds a NUL byte, which ends strings in the kernel.
    #[error("{what} holds a NUL byte, which no program can be given")]
    Nul {
        /// What it stands in.
        what: String,
    },
    /// A string is longer than the kernel passes.
    #[error(
        "{what} is {bytes} bytes long; Linux passes at most {MAX_EXEC_STRING_BYTES} in one string: use the script of a \
         CmdJob, or a file"
    )]
    TooLong {
        /// What is too long.
        what: String,
        /// How long it is.
        bytes: usize,
    },
}

impl TaskSpec {
    /// All that stops this specification from being run on any host; empty when nothing does.
    #[must_use]
    pub fn problems(&self) -> Vec<InvalidSpec> {
        let mut found = Vec::new();
        let mut check = |what: &dyn Fn() -> String, text: &str, extra: usize| {
            if text.contains('\0') {
                found.push(InvalidSpec::Nul { what: what() });
            }
            if text.len() + extra > MAX_EXEC_STRING_BYTES {
                found.push(InvalidSpec::TooLong { what: what(), bytes: text.len() + extra });
            }
        };
        for (name, value) in &self.env {
            check(&|| format!("the environment variable {name}"), value, name.as_str().len() + 1);
        }
        if let Some(dir) = &self.working_dir {
            check(&|| "the working directory".to_owned(), &dir.to_string_lossy(), 0);
        }
        match &self.program {
            Program::Exec { argv } => {
                for (i, arg) in argv.iter().enumerate() {
                    check(&|| format!("argument {i}"), arg, 0);
                }
                if argv.first().is_none_or(String::is_empty) {
                    found.push(InvalidSpec::NoProgram);
                }
            }
            Program::Script { runner: ScriptRunner::Shell { path }, .. } => {
                check(&|| "the script's shell".to_owned(), path, 0);
                if path.is_empty() {
                    found.push(InvalidSpec::NoProgram);
                }
            }
            Program::Script { runner: ScriptRunner::Shebang, .. } => {}
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(program: Program) -> TaskSpec {
        TaskSpec { origin: Origin::Fifo, program, env: BTreeMap::new(), working_dir: None, leftovers: Leftovers::Kill }
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let mut s = spec(Program::Exec { argv: vec!["a\0".into(), "x".repeat(131_072)] });
        s.env.insert(EnvName::new("V").unwrap(), "v".repeat(131_070));
        assert_eq!(s.problems().len(), 3);
    }

    #[test]
    fn a_script_may_be_longer_than_an_argument() {
        let s =
            spec(Program::Script { text: "x".repeat(300_000), runner: ScriptRunner::Shell { path: "/bin/sh".into() } });
        assert_eq!(s.problems(), vec![]);
    }

    #[test]
    fn variable_names_follow_the_relaxed_rule() {
        assert!(EnvName::new("my.odd-name 1").is_ok());
        for bad in ["", "a=b", "tab\t", "ü"] {
            assert!(EnvName::new(bad).is_err(), "{bad:?}");
        }
    }
}
