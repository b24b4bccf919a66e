//! `kubectl cmdjob`, the plugin, on a real cluster: what it prints and returns.

mod changes;
mod codes;
mod dashboard;
mod dashboard_many;
mod formats;
mod interrupts;
mod kubectl;
mod logs;
mod outages;

use std::path::PathBuf;
use std::process::{Command, Output};

use vk_cmd_e2e::binaries;
use vk_cmd_e2e::exec;

use crate::ground::{LONG, Room};

/// The plugin in a test's namespace.
pub(crate) struct Plugin<'a> {
    room: &'a Room,
    program: PathBuf,
}

/// What it has done.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl<'a> Plugin<'a> {
    pub(crate) async fn of(room: &'a Room) -> Self {
        Self { room, program: binaries::plugin().await.unwrap().clone() }
    }

    /// With these words; the namespace stands behind the first.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let (first, rest) = words.split_first().unwrap();
        let mut command = Command::new(&self.program);
        command.arg(first).args(["--namespace", &self.room.namespace]).args(rest);
        command.env("KUBECONFIG", self.room.ground.plane.kubeconfig());
        for name in ["NO_COLOR", "CMDJOB_NODE", "CMDJOB_FLEET"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs it to its end.
    pub(crate) async fn does(&self, words: &[&str]) -> Done {
        self.does_with(words, b"").await
    }

    /// The same, with something on its standard input.
    pub(crate) async fn does_with(&self, words: &[&str], input: &[u8]) -> Done {
        Done::of(exec::output_with_input(self.command(words), input, LONG).await.unwrap())
    }

    /// What it prints; it must succeed.
    pub(crate) async fn says(&self, words: &[&str]) -> String {
        let done = self.does(words).await;
        assert_eq!(done.code, Some(0), "{words:?}: {done:?}");
        done.out
    }
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}
