//! `vk-node join`, and what comes after it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use tokio::runtime::Runtime;
use vk_cmd_crds::NodeName;
use vk_node_core::config::{NO_HOME, home_pipe};

use crate::admin::{self, Format, Output};
use crate::join;

/// How to join. The token is never an argument: everybody on the machine can read those.
#[derive(Debug, Args)]
pub(super) struct Join {
    /// The file with the join token [default: $VK_NODE_JOIN, or else standard input].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The node's name [default: what the fleet's names and this machine's make].
    #[arg(long, env = "JOBNAME", value_name = "NAME", value_parser = |text: &str| NodeName::parse(text))]
    node_name: Option<NodeName>,
    /// The directory by which the pipe is reached, in which what is written is kept [default: $HOME/hostpipe].
    #[arg(long, env = "VK_NODE_HOSTPIPE", value_name = "DIR")]
    hostpipe: Option<PathBuf>,
    /// Do not ask the API server whether it takes the token: it is reached by a tunnel only, say.
    #[arg(long)]
    offline: bool,
    /// Go on with `vk-node run`.
    #[arg(long)]
    run: bool,
    #[command(flatten)]
    output: Output,
    /// What `vk-node run` is started with besides, after `--`.
    #[arg(last = true, requires = "run", value_name = "FLAGS")]
    flags: Vec<OsString>,
}

impl Join {
    /// In what form it answers.
    pub(super) fn format(&self) -> Format {
        self.output.format()
    }

    /// Joins, and goes on with `vk-node run` if that is wanted.
    pub(super) fn act(self, runtime: Runtime) -> anyhow::Result<()> {
        let format = self.format();
        let hostpipe = self.hostpipe.or_else(|| home_pipe(std::env::home_dir())).context(NO_HOME)?;
        let wanted = join::Join {
            token_file: self.token_file,
            node_name: self.node_name,
            hostpipe: hostpipe.clone(),
            offline: self.offline,
        };
        let joined = runtime.block_on(join::join(wanted)).context("this machine has not joined")?;
        let started = [
            OsStr::new("run"),
            OsStr::new("--config"),
            joined.config.as_os_str(),
            OsStr::new("--hostpipe"),
            hostpipe.as_os_str(),
        ];
        if !self.run {
            let line: Vec<_> = started.iter().map(|word| word.to_string_lossy()).collect();
            let text = format!(
                "{} belongs to the fleet {} now. Start it with\n\n  vk-node {}\n",
                joined.name,
                joined.fleet,
                line.join(" ")
            );
            let (node, config) = (joined.name.as_str(), &joined.config);
            return admin::print(
                format,
                &json!({"node": node, "fleet": joined.fleet, "config": config, "start": line}),
                &text,
            );
        }
        // In place of this process, so that its environment, in which the token may be, is nobody's any more: tasks inherit it.
        drop(runtime);
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let failed = Command::new(program).args(started).args(self.flags).env_remove(join::VARIABLE).exec();
        Err(failed).context("cannot start vk-node run")
    }
}
