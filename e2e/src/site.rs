//! A site: a `$HOME` on this machine with a running vk-node in it, and on request a pipe of its own beside it.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use crate::binaries;
use crate::control_plane::ControlPlane;
use crate::janitor::{self, SITE_VARIABLE};
use crate::process::{self, Process};
use crate::scratch::Scratch;
use crate::wait::{self, Probe};

const START_LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);

/// What a site is to be like.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name, `vk-…`.
    pub node_name: String,
    /// The node's credentials.
    pub kubeconfig: PathBuf,
    /// The authority that signs the API server's certificate as a client of kubelets.
    pub client_ca: Option<PathBuf>,
    /// The address at which the API server reaches the node; none lets the node find out.
    pub address: Option<IpAddr>,
    /// Run `vk-node pipe` as a process of its own, as on the host of a node that sits in a container.
    pub separate_pipe: bool,
    /// Further flags for `vk-node run`.
    pub node_flags: Vec<OsString>,
    /// Further environment for node and pipe.
    pub environment: Vec<(OsString, OsString)>,
}

impl Settings {
    /// A node with these credentials and no more settings than it needs.
    pub fn new(node_name: &str, kubeconfig: &Path, client_ca: Option<PathBuf>) -> Self {
        Self {
            node_name: node_name.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            client_ca,
            address: None,
            separate_pipe: false,
            node_flags: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// A node of this control plane, held to its own pods, with the pipe inside the node's process.
    pub fn on(plane: &ControlPlane, node_name: &str) -> Result<Self> {
        let kubeconfig = plane.node_kubeconfig(node_name)?;
        let settings = Self::new(node_name, &kubeconfig, Some(plane.client_ca().to_owned()));
        Ok(Self { address: Some(Ipv4Addr::LOCALHOST.into()), ..settings })
    }

    /// The same with `vk-node pipe` as a process of its own.
    #[must_use]
    pub fn with_separate_pipe(mut self) -> Self {
        self.separate_pipe = true;
        self
    }
}

/// A site. Dropping it stops the node, then the pipe, then ends with KILL whatever is left of their tasks.
#[derive(Debug)]
pub struct Site {
    node: Option<Process>,
    pipe: Option<Process>,
    program: PathBuf,
    settings: Settings,
    scratch: Scratch,
}

impl Site {
    /// Starts one; [`ready`](Self::ready) waits for its node.
    pub async fn start(settings: Settings) -> Result<Self> {
        let program = binaries::built().await?.node.clone();
        // A short name: the path of the pipe's socket may have 107 bytes and no more.
        let scratch = Scratch::new("vk-site-")?;
        let mut this = Self { node: None, pipe: None, program, settings, scratch };
        std::fs::create_dir(this.home()).context("cannot make the site's home directory")?;
        janitor::end_processes_at_exit(&this.home())?;
        if this.settings.separate_pipe {
            this.start_pipe().await?;
        }
        this.start_node()?;
        Ok(this)
    }

    /// The site's `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.scratch.path().join("home")
    }

    /// The directory by which the pipe is reached.
    pub fn hostpipe(&self) -> PathBuf {
        self.home().join("hostpipe")
    }

    /// The name of its node.
    pub fn node_name(&self) -> &str {
        &self.settings.node_name
    }

    /// The node's log, of all its runs.
    pub fn node_log(&self) -> PathBuf {
        self.scratch.path().join("node.log")
    }

    /// The separate pipe's log, of all its runs.
    pub fn pipe_log(&self) -> PathBuf {
        self.scratch.path().join("pipe.log")
    }

    /// The directory with home and logs.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Leaves home and logs there for good.
    pub fn keep_logs(&self) {
        self.scratch.keep();
    }

    /// The node's process, to ask or to signal; none while it is killed.
    pub fn node(&mut self) -> Option<&mut Process> {
        self.node.as_mut()
    }

    /// The separate pipe's process; none while it is killed, or if the pipe is in the node.
    pub fn pipe(&mut self) -> Option<&mut Process> {
        self.pipe.as_mut()
    }

    /// Waits until the cluster has the node as ready. Fails at once if its process ends.
    pub async fn ready(&mut self, client: &Client) -> Result<Node> {
        let nodes: Api<Node> = Api::all(client.clone());
        let name = self.settings.node_name.clone();
        wait::until(&format!("node {name} to be ready"), START_LIMIT, GLANCE, async || {
            self.node.as_mut().context("the node has been killed")?.must_be_running()?;
            Ok(match nodes.get_opt(&name).await {
                Ok(Some(node)) if is_ready(&node) => Probe::Ready(node),
                Ok(Some(_)) => Probe::not_yet("it has registered, but is not ready"),
                Ok(None) => Probe::not_yet("it has not registered"),
                Err(error) => Probe::not_yet(error.to_string()),
            })
        })
        .await
    }

    /// `kill -9` of the node.
    pub fn kill_node(&mut self) -> Result<()> {
        self.node.take().context("the node is not running")?.kill().map(drop)
    }

    /// Starts the node (again), after stopping it properly if it runs.
    pub fn start_node(&mut self) -> Result<()> {
        self.node = None;
        self.node = Some(Process::start(self.node_name().to_owned(), self.node_command(), self.node_log())?);
        Ok(())
    }

    /// `kill -9` of the separate pipe.
    pub fn kill_pipe(&mut self) -> Result<()> {
        self.pipe.take().context("no separate pipe is running")?.kill().map(drop)
    }

    /// Starts the separate pipe (again), after stopping it properly if it runs, and waits until it takes connections.
    pub async fn start_pipe(&mut self) -> Result<()> {
        self.pipe = None;
        let mut process = Process::start("the pipe", self.pipe_command(), self.pipe_log())?;
        let socket = self.hostpipe().join("vk-cmd.sock");
        let listening = wait::until("the pipe to listen", START_LIMIT, GLANCE, async || {
            process.must_be_running()?;
            Ok(match UnixStream::connect(&socket) {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::not_yet(format!("{}: {error}", socket.display())),
            })
        });
        listening.await?;
        self.pipe = Some(process);
        Ok(())
    }

    /// Every process of this site: node, pipe, shims and tasks, as far as they still have the environment that they were given.
    pub fn processes(&self) -> Result<Vec<i32>> {
        process::list_by_environment(&self.marks())
    }

    /// The one place that knows the command line of `vk-node run`.
    fn node_command(&self) -> Command {
        let settings = &self.settings;
        let mut command = self.part("run");
        command.arg("--node-name").arg(&settings.node_name).arg("--kubeconfig").arg(&settings.kubeconfig);
        command.arg("--hostpipe").arg(self.hostpipe());
        if let Some(authority) = &settings.client_ca {
            command.arg("--client-ca-file").arg(authority);
        }
        command.args(["--pipe", if settings.separate_pipe { "external" } else { "node" }, "--kubelet-port", "0"]);
        if let Some(address) = settings.address {
            command.arg("--address").arg(address.to_string());
        }
        command.args(&settings.node_flags);
        command
    }

    /// The one place that knows the command line of `vk-node pipe`.
    fn pipe_command(&self) -> Command {
        let mut command = self.part("pipe");
        command.arg("--hostpipe").arg(self.hostpipe());
        command
    }

    /// With an environment like that of a login, and nothing of what cargo and the tests have put into ours.
    fn part(&self, part: &str) -> Command {
        const INHERITED: [&str; 8] =
            ["PATH", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "VK_NODE_LOG", "RUST_BACKTRACE"];
        let mut command = Command::new(&self.program);
        command.arg(part).current_dir(self.home()).env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("HOME", self.home()).env(SITE_VARIABLE, self.home());
        command.envs(self.settings.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What the environment of this site's processes has and that of no other.
    fn marks(&self) -> [Vec<u8>; 2] {
        janitor::marks(&self.home())
    }

    /// Stops the node, then the pipe, then ends with KILL whatever is left of their tasks.
    pub fn stop(&mut self) -> Result<()> {
        self.node = None;
        self.pipe = None;
        process::kill_by_environment(&self.marks())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("site {}: {error:#}", self.settings.node_name);
        }
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
