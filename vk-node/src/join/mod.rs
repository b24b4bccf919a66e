//! `vk-node join`: this machine joins a fleet with a token. Decided in [`vk_node_core::join`].
//!
//! The token is read from a file, a variable or standard input: never from the command line, which everybody on the machine can read. It
//! is not logged, and what is written of it nobody else can read.

mod ask;
mod read;

use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use kube::config::{AuthInfo, Cluster, Kubeconfig};
use vk_cmd_crds::NodeName;
use vk_cmd_crds::join::JoinToken;
use vk_node_core::join::{self, CONFIG, KUBECONFIG, RELAY_CA};

use crate::credentials::{keep_private, of_one, pem_of};

/// The one cluster, user and context in the kubeconfig.
const NAME: &str = "vk-cmd";

/// Where in the pipe's directory the files are, each node's in a directory of its name.
const DIRECTORY: &str = "join";

/// The variable with a token.
pub(crate) const VARIABLE: &str = "VK_NODE_JOIN";

/// That the pipe's directory cannot be written to, and what to do about it.
pub(crate) fn no_place(hostpipe: &Path) -> String {
    format!(
        "cannot write to {}: name a directory of yours with --hostpipe, or see that you can write there",
        hostpipe.display()
    )
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Join {
    /// The file with the token.
    pub(crate) token_file: Option<PathBuf>,
    /// The node's name, where it does not follow from the machine's.
    pub(crate) node_name: Option<NodeName>,
    /// The pipe's directory, below which the files are written.
    pub(crate) hostpipe: PathBuf,
    /// Whether the API server is not asked.
    pub(crate) offline: bool,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Joined {
    /// The fleet.
    pub(crate) fleet: String,
    /// The node's name.
    pub(crate) name: NodeName,
    /// The file for `vk-node run --config`.
    pub(crate) config: PathBuf,
}

/// Joins: what is written is for `vk-node run`, which asks for the node's certificate.
///
/// # Errors
/// Why not, and what to do about it.
pub(crate) async fn join(join: Join) -> anyhow::Result<Joined> {
    let token = read::token(join.token_file.as_deref())?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = join::name(join.node_name, &token, &host)?;
    join::check(&token, &name, Timestamp::now())?;
    if !join.offline {
        ask::ask(&token).await?;
    }
    let directory = std::path::absolute(join.hostpipe.join(DIRECTORY).join(name.as_str()))
        .context("cannot tell where the pipe's directory is")?;
    let config = write(&directory, &token, &name).with_context(|| no_place(&join.hostpipe))?;
    Ok(Joined { fleet: token.fleet, name, config })
}

/// The files for `vk-node run` of all that has joined with this pipe's directory, by their names.
pub(crate) fn joined(hostpipe: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(hostpipe.join(DIRECTORY)).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path().join(CONFIG)).filter(|file| file.is_file()).collect();
    files.sort();
    files
}

fn write(directory: &Path, token: &JoinToken, name: &NodeName) -> anyhow::Result<PathBuf> {
    let kubeconfig = serde_json::to_vec_pretty(&kubeconfig(token)).context("cannot write a kubeconfig as JSON")?;
    keep_private(directory, KUBECONFIG, &kubeconfig)?;
    if let Some(relay) = &token.relay {
        keep_private(directory, RELAY_CA, pem_of(&relay.authorities).as_bytes())?;
    }
    keep_private(directory, CONFIG, join::config(token, name).as_bytes())?;
    Ok(directory.join(CONFIG))
}

fn kubeconfig(token: &JoinToken) -> Kubeconfig {
    use base64::Engine;
    let pem = pem_of(&token.authorities);
    let cluster = Cluster {
        server: Some(token.server.clone()),
        certificate_authority_data: Some(base64::engine::general_purpose::STANDARD.encode(pem)),
        ..Cluster::default()
    };
    let auth_info = AuthInfo { token: Some(token.token.bearer().into()), ..AuthInfo::default() };
    of_one(NAME, cluster, auth_info)
}
