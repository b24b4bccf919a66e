//! `tool NAME ARGUMENTS…`: runs one of the programs that e2e uses as e2e finds it: given, on PATH, or built from Go modules.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use vk_cmd_e2e::tools::{self, Tool};

const ALL: [Tool; 14] = [
    Tool::Etcd,
    Tool::KubeApiserver,
    Tool::KubeControllerManager,
    Tool::KubeScheduler,
    Tool::Kubectl,
    Tool::Helm,
    Tool::Helm4,
    Tool::HelmDocs,
    Tool::HelmUnittest,
    Tool::Kubeconform,
    Tool::KubeScore,
    Tool::Promtool,
    Tool::Kwok,
    Tool::MetricsServer,
];

fn main() -> ExitCode {
    match become_the_tool() {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("tool: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns only when it failed.
fn become_the_tool() -> Result<std::convert::Infallible> {
    let mut arguments = std::env::args_os().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let known = ALL.map(Tool::name).join(", ");
    let tool = ALL
        .into_iter()
        .find(|tool| wanted == tool.name())
        .with_context(|| format!("{wanted:?} is no tool of ours: name one of {known}, and then its arguments"))?;
    let program = tools::locate(tool)?;
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
