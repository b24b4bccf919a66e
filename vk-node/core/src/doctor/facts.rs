//! What is known of a machine. Where something could not be found out, that is a fact too.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use vk_task::{HostInfo, MountNamespaces};

use crate::config::NodeConfig;
use crate::ending::Batch;
use crate::report::NodeReport;

/// All of it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The wall clock.
    pub now: Timestamp,
    /// What the node would be started with, or all that is wrong with it.
    pub config: Result<NodeConfig, Vec<String>>,
    /// Its file.
    pub config_file: Option<FileFacts>,
    /// The site's file.
    pub site_file: Option<FileFacts>,
    /// All that is wrong with the site's file.
    pub site_problems: Vec<String>,
    /// The container runtime that the site's file asks for; none where it takes what is found, or no images.
    pub runtime_wanted: Option<String>,
    /// The first container runtime that is found, by its path.
    pub runtime_found: Option<String>,
    /// Files with credentials.
    pub secrets: Vec<FileFacts>,
    /// The user.
    pub uid: u32,
    /// The home directory.
    pub home: Option<DirectoryFacts>,
    /// The pipe's directory, or the nearest directory above where it is not there yet.
    pub pipe_directory: DirectoryFacts,
    /// Who else may replace it.
    pub pipe_weaknesses: Vec<String>,
    /// Where the records are, or would be.
    pub records: DirectoryFacts,
    /// Where temporary files go.
    pub temporary: DirectoryFacts,
    /// The kernel's version.
    pub kernel: (u32, u32),
    /// How many files a process may have open: at first, and at most.
    pub open_files: (u64, u64),
    /// How many processes the user has, and may have; none: there is no limit.
    pub processes: (u64, Option<u64>),
    /// Memory that is available, in bytes.
    pub memory_available: u64,
    /// Whether this process finds itself in `/proc`.
    pub sees_itself: bool,
    /// Whether tasks can have mounts of their own.
    pub mount_namespaces: MountNamespaces,
    /// What holds tasks to their limits.
    pub cgroup: CgroupFacts,
    /// The job of a batch system that this is in.
    pub batch: Option<Batch>,
    /// Which of the programs that are asked are in `PATH`.
    pub programs: BTreeMap<&'static str, bool>,
    /// The user's systemd.
    pub systemd: Systemd,
    /// The variables `HTTPS_PROXY` and its like that are set.
    pub proxy: Option<String>,
    /// This host's addresses.
    pub addresses: Vec<IpAddr>,
    /// The port of the kubelet's API.
    pub port: PortFacts,
    /// How the node would show who it is, and to whom; or why that cannot be told.
    pub login: Result<Login, String>,
    /// The API server, where it is asked straight.
    pub server: Option<ServerFacts>,
    /// How many certificates are in the file with the relay's authority, or why none can be read.
    pub relay_authority: Option<Result<usize, String>>,
    /// Whether the relay was reached.
    pub relay_reached: Option<Result<(), String>>,
    /// What `ssh -G` says of the tunnel's destination, or why it says nothing.
    pub ssh: Option<Result<(), String>>,
    /// The pipe, if it answers.
    pub pipe: Option<HostInfo>,
    /// The node, if it answers.
    pub node: Option<NodeReport>,
    /// Whether a node has the pipe's directory.
    pub is_locked: bool,
    /// How many tasks have processes that were killed and do not end.
    pub lingering: usize,
    /// The version of this program.
    pub version: String,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Where it is.
    pub path: PathBuf,
    /// Whose it is, and its permission bits; none where it is not there or cannot be looked at.
    pub owner: Option<(u32, u32)>,
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryFacts {
    /// Where it is.
    pub path: PathBuf,
    /// Whether the file system has answered in time: one of a file server that is away does not. Nothing else is known then.
    pub answers: bool,
    /// Whether it is there.
    pub is_there: bool,
    /// Whose it is.
    pub uid: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Whether this user may make files in it.
    pub is_writable: bool,
    /// The kind of shared file system that it is on, if it is on one.
    pub shared: Option<String>,
    /// Bytes that are free on its file system.
    pub free_bytes: u64,
    /// Files that can be made there; none where the file system does not count them.
    pub free_inodes: Option<u64>,
}

/// What holds tasks to their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupFacts {
    /// A cgroup (version 2) that this user may make others in.
    Delegated(PathBuf),
    /// There is none.
    None(String),
    /// The configuration wants none.
    Off,
}

/// The user's systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Systemd {
    /// There is none.
    None,
    /// It is there.
    There {
        /// Whether what it runs outlives the user's last session.
        lingers: bool,
    },
}

/// The port of the kubelet's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortFacts {
    /// Nothing is listened on: there is a relay, or any port will do.
    Any,
    /// It is free.
    Free(u16),
    /// The node that runs here has it.
    Own(u16),
    /// Somebody else has it, or it cannot be had.
    Taken(u16, String),
}

/// How the node shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The API server's URL.
    pub server: String,
    /// Whether it is only good for asking for a certificate.
    pub is_bootstrap: bool,
    /// The certificate, if it is one.
    pub certificate: Option<CertificateFacts>,
    /// Whether whoever answers is trusted, whoever it is.
    pub trusts_anybody: bool,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose it is.
    pub common_name: String,
    /// The groups that that user is in.
    pub organizations: Vec<String>,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// The API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// The addresses that its name has.
    pub addresses: Option<Result<Vec<IpAddr>, String>>,
    /// Whether a connection to it was made.
    pub connected: Option<Result<(), String>>,
    /// What it said of itself.
    pub answered: Option<Result<Answered, String>>,
    /// Whom it took us for.
    pub whoami: Option<Result<Whoami, String>>,
    /// The Node object; none where there is none.
    pub node: Option<Result<Option<NodeObject>, String>>,
}

/// What an API server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its version; none where it does not tell us.
    pub version: Option<(u32, u32)>,
    /// Its clock.
    pub date: Option<Timestamp>,
}

/// Whom an API server took somebody for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whoami {
    /// The user.
    pub user: String,
    /// Its groups.
    pub groups: Vec<String>,
}

/// The Node object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeObject {
    /// Whether it is a vk-node's.
    pub is_vk_node: bool,
    /// Whether it is ready.
    pub is_ready: bool,
    /// The machine and directory that hold its Lease, as they wrote themselves.
    pub holder: Option<String>,
}
