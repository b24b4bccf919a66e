//! `vk-node init`: the files of a site, from a ready-made profile.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;
use vk_cmd_crds::NodeName;
use vk_node_core::config::{NO_HOME, home_pipe};
use vk_node_core::profile::{self, Credentials, Profile, Wanted, Written};
use vk_node_core::tunnel::Destination;

use super::{Code, Format, Output, print};
use crate::join::no_place;

/// What the files are to say.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// For which site: jlab-ifarm, perlmutter, workstation, slurm, pbs.
    #[arg(long, value_name = "SITE", value_parser = profile)]
    profile: Profile,
    /// The node's name [default: vk- and this machine's name].
    #[arg(long, env = "JOBNAME", value_name = "NAME", value_parser = |text: &str| NodeName::parse(text))]
    node_name: Option<NodeName>,
    /// The kubeconfig of this node alone: system:node:NAME.
    #[arg(long, value_name = "FILE", conflicts_with = "bootstrap_kubeconfig")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig of a bootstrap token, by which the node asks for a certificate of its own.
    #[arg(long, value_name = "FILE")]
    bootstrap_kubeconfig: Option<PathBuf>,
    /// Where only ssh leads out: ssh:USER@HOST or ssh:NAME.
    #[arg(long, value_name = "ssh:USER@HOST", value_parser = |text: &str| text.parse::<Destination>())]
    tunnel: Option<Destination>,
    /// The pipe's directory, into which the files go and where `vk-node run` finds them [default: $HOME/hostpipe].
    #[arg(long, env = "VK_NODE_HOSTPIPE", value_name = "DIR")]
    hostpipe: Option<PathBuf>,
    /// Print the files, and write none.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: Output,
}

fn profile(text: &str) -> Result<Profile, String> {
    let found = Profile::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, profile)| profile);
    found.ok_or_else(|| format!("{text:?} is none of {}", Profile::ALL.map(|(name, _)| name).join(", ")))
}

impl Init {
    pub(crate) fn format(&self) -> Format {
        self.output.format()
    }

    pub(crate) fn act(self) -> anyhow::Result<Code> {
        let format = self.output.format();
        let directory = self.hostpipe.or_else(|| home_pipe(std::env::home_dir())).context(NO_HOME)?;
        let directory = std::path::absolute(directory).context("cannot tell where the pipe's directory is")?;
        let name = match self.node_name {
            Some(name) => name,
            None => own_name()?,
        };
        let absolute =
            |file: &Path| std::path::absolute(file).with_context(|| format!("cannot tell where {} is", file.display()));
        let credentials = match (&self.kubeconfig, &self.bootstrap_kubeconfig) {
            (Some(file), _) => Credentials::Own(absolute(file)?),
            (None, Some(file)) => Credentials::Bootstrap(absolute(file)?),
            (None, None) => Credentials::Unknown,
        };
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let tunnel = self.tunnel.map(|tunnel| tunnel.to_string());
        let wanted = Wanted {
            name: &name,
            credentials: &credentials,
            tunnel: tunnel.as_deref(),
            directory: &directory,
            program: &program,
        };
        let files = profile::files(self.profile, &wanted).map_err(|why| anyhow!(why))?;
        let next = profile::next(self.profile, &wanted);
        let mut text = String::new();
        if self.dry_run {
            for Written { name, text: file } in &files {
                text.push_str(&format!("# ---- {}\n{file}\n", directory.join(name).display()));
            }
        } else {
            write(&directory, &files)?;
            for Written { name, .. } in &files {
                text.push_str(&format!("wrote {}\n", directory.join(name).display()));
            }
        }
        text.push_str(&format!("\nNext:\n\n  {}\n", next.join("\n  ")));
        let files: Vec<_> =
            files.iter().map(|file| json!({"path": directory.join(file.name), "text": file.text})).collect();
        print(format, &json!({"node": name.as_str(), "written": !self.dry_run, "files": files, "next": next}), &text)?;
        Ok(Code::Fine)
    }
}

/// `vk-` and what this machine is called.
fn own_name() -> anyhow::Result<NodeName> {
    let host = rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase();
    let short = host.split('.').next().unwrap_or_default();
    NodeName::parse(&format!("vk-{short}"))
        .with_context(|| format!("no name follows from this machine's ({host}): give one with --node-name"))
}

/// Writes the files, all or none: one that is there already is somebody's work.
fn write(directory: &Path, files: &[Written]) -> anyhow::Result<()> {
    let there: Vec<String> = files
        .iter()
        .map(|file| directory.join(file.name))
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    if !there.is_empty() {
        bail!(
            "{} is there already, and nothing was written: move it away, or see what is new with --dry-run",
            there.join(", ")
        );
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(|| no_place(directory))?;
    for Written { name, text } in files {
        let path = directory.join(name);
        // Whoever was faster keeps what they have.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = made.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written
            .map_err(|error: io::Error| anyhow!(error))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
