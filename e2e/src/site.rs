//! A site: a `$HOME` on this machine with a running vk-node in it, and on request a pipe of its own beside it.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use crate::binaries;
use crate::control_plane::ControlPlane;
use crate::janitor::{self, SITE_VARIABLE};
use crate::process::{self, Process, Terminal};
use crate::proxy::Proxy;
use crate::scratch::Scratch;
use crate::wait::{self, Probe};

const STOP_LIMIT: Duration = Duration::from_secs(20);
const START_LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);
/// Where a node in docker sees the authority that signs the API server's certificate.
const AUTHORITY_IN_DOCKER: &str = "/client-ca.pem";

/// What a site is to be like.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node's name, `vk-…`.
    pub node_name: String,
    /// The node's credentials.
    pub kubeconfig: PathBuf,
    /// Whether those are a bootstrap token's, with which the node asks for its own. Not for a node in a container.
    pub bootstrap: bool,
    /// The authority that signs the API server's certificate as a client of kubelets.
    pub client_ca: Option<PathBuf>,
    /// The address at which the API server reaches the node; none lets the node find out.
    pub address: Option<IpAddr>,
    /// The port of its kubelet's API; 0 is any.
    pub kubelet_port: u16,
    /// Run `vk-node pipe` as a process of its own, as on the host of a node that sits in a container.
    pub separate_pipe: bool,
    /// Further flags for `vk-node run`.
    pub node_flags: Vec<OsString>,
    /// Further environment for node and pipe.
    pub environment: Vec<(OsString, OsString)>,
    /// Where the node runs. The pipe is on the host always.
    pub node_in: NodeIn,
    /// What goes before the node's program on its command line, on the host: `nsenter …`, say.
    pub before_the_program: Vec<OsString>,
    /// Whether the node runs at a terminal, in its foreground. On the host only.
    pub at_terminal: bool,
    /// Another vk-node than the one that is built for all.
    pub program: Option<PathBuf>,
    /// The text of the site's file; none leaves it to the defaults.
    pub site_file: Option<String>,
    /// The number of the user and group whose site it is: another one than ours, for which we must be root. Only on the host.
    pub user: Option<u32>,
}

/// Where a node runs.
#[derive(Debug, Clone, Default)]
pub enum NodeIn {
    /// On the host.
    #[default]
    Host,
    /// In a container of docker, which sees nothing of the host but what it is given.
    Docker {
        /// Docker's client, or one with its command line.
        client: PathBuf,
        /// The node's image.
        image: String,
    },
    /// In a container that has the host's `$HOME`, network and environment, as those of Apptainer and Shifter have.
    HomeBound {
        /// The node's image as a directory, for ch-run.
        root: PathBuf,
    },
}

impl Settings {
    /// A node with these credentials and no more settings than it needs.
    pub fn new(node_name: &str, kubeconfig: &Path, client_ca: Option<PathBuf>) -> Self {
        Self {
            node_name: node_name.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            bootstrap: false,
            client_ca,
            address: None,
            kubelet_port: 0,
            separate_pipe: false,
            node_flags: Vec::new(),
            environment: Vec::new(),
            node_in: NodeIn::Host,
            before_the_program: Vec::new(),
            at_terminal: false,
            program: None,
            site_file: None,
            user: None,
        }
    }

    /// A node of this control plane, held to its own pods, with the pipe inside the node's process.
    pub fn on(plane: &ControlPlane, node_name: &str) -> Result<Self> {
        let kubeconfig = plane.node_kubeconfig(node_name)?;
        let settings = Self::new(node_name, &kubeconfig, Some(plane.client_ca().to_owned()));
        Ok(Self { address: Some(Ipv4Addr::LOCALHOST.into()), ..settings })
    }

    /// The same for a node that reaches the API server of this control plane by a way that can be cut.
    ///
    /// # Errors
    /// When there is no such way, or the node's credentials name another server.
    pub async fn by_proxy(mut self, plane: &ControlPlane) -> Result<(Self, Proxy)> {
        let url = plane.server_url();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        let proxy = Proxy::to(port.with_context(|| format!("{url} has no port"))?).await?;
        let config = std::fs::read_to_string(&self.kubeconfig).context("cannot read the node's kubeconfig")?;
        if !config.contains(&url) {
            bail!("{} does not name {url}", self.kubeconfig.display());
        }
        self.kubeconfig = plane.directory().join(format!("{}-by-proxy.kubeconfig", self.node_name));
        let by_proxy = config.replace(&url, &format!("https://127.0.0.1:{}", proxy.port()));
        std::fs::write(&self.kubeconfig, by_proxy).context("cannot write the node's kubeconfig")?;
        Ok((self, proxy))
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
    terminal: Option<Terminal>,
    pipe: Option<Process>,
    program: PathBuf,
    settings: Settings,
    scratch: Scratch,
}

impl Site {
    /// Starts one; [`ready`](Self::ready) waits for its node.
    pub async fn start(settings: Settings) -> Result<Self> {
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => binaries::built().await?.node.clone(),
        };
        // A short name: the path of the pipe's socket may have 107 bytes and no more.
        let scratch = Scratch::new("vk-site-")?;
        let mut this = Self { node: None, terminal: None, pipe: None, program, settings, scratch };
        std::fs::create_dir(this.home()).context("cannot make the site's home directory")?;
        if let Some(user) = this.settings.user {
            this.give_to(user).with_context(|| format!("cannot give the site to the user {user}"))?;
        }
        janitor::end_processes_at_exit(&this.home())?;
        if let Some(text) = &this.settings.site_file {
            this.write_site_file(text)?;
        }
        if this.settings.separate_pipe {
            this.start_pipe().await?;
        }
        this.start_node()?;
        Ok(this)
    }

    /// Makes it a site of that user, who reads nothing of ours: what its node needs is copied for it.
    fn give_to(&mut self, user: u32) -> Result<()> {
        use std::os::unix::fs::{PermissionsExt, chown};
        let place = self.scratch.path().to_owned();
        std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o711))?;
        chown(self.home(), Some(user), Some(user))?;
        let copy = |from: &Path, name: &str| {
            let to = place.join(name);
            binaries::copy(from, &to)?;
            chown(&to, Some(user), Some(user))?;
            anyhow::Ok(to)
        };
        self.program = copy(&self.program, "vk-node")?;
        self.settings.kubeconfig = copy(&self.settings.kubeconfig, "kubeconfig")?;
        if let Some(authority) = &self.settings.client_ca {
            self.settings.client_ca = Some(copy(authority, "client-ca.pem")?);
        }
        let become_it = ["setpriv", &format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"];
        self.settings.before_the_program.extend(become_it.map(Into::into));
        Ok(())
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

    /// The site's file.
    fn site_file(&self) -> PathBuf {
        self.scratch.path().join("site.yaml")
    }

    /// Changes what the site allows. The pipe looks at the file again at the next occasion.
    pub fn write_site_file(&self, text: &str) -> Result<()> {
        let path = self.site_file();
        let draft = path.with_extension("new");
        std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &path)).context("cannot write site.yaml")
    }

    /// The name of the container that the node is in, if it is in one that has a name.
    pub fn node_container(&self) -> String {
        format!("vk-e2e-{}", self.node_name())
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
        let (name, command, log) = (self.node_name().to_owned(), self.node_command(), self.node_log());
        if self.settings.at_terminal {
            let (node, terminal) = Process::start_at_terminal(name, command, log)?;
            (self.node, self.terminal) = (Some(node), Some(terminal));
        } else {
            self.node = Some(Process::start(name, command, log)?);
        }
        Ok(())
    }

    /// Types a line at the node's terminal.
    pub fn types(&self, line: &str) -> Result<()> {
        self.terminal.as_ref().context("the node is at no terminal")?.types(line)
    }

    /// Tells the node to end, and waits until it has.
    pub fn stop_node(&mut self) -> Result<()> {
        self.node.take().context("the node is not running")?.stop(STOP_LIMIT).map(drop)
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
        let mut command = self.node_program();
        let in_docker = matches!(settings.node_in, NodeIn::Docker { .. });
        if let NodeIn::Host = settings.node_in {
            let flag = if settings.bootstrap { "--bootstrap-kubeconfig" } else { "--kubeconfig" };
            command.arg("--node-name").arg(&settings.node_name).arg(flag).arg(&settings.kubeconfig);
            command.arg("--hostpipe").arg(self.hostpipe());
        }
        if let Some(authority) = &settings.client_ca {
            command.arg("--client-ca-file").arg(if in_docker { Path::new(AUTHORITY_IN_DOCKER) } else { authority });
        }
        command.args(["--pipe", if settings.separate_pipe { "external" } else { "node" }]);
        command.arg("--kubelet-port").arg(settings.kubelet_port.to_string());
        if let Some(address) = settings.address {
            command.arg("--address").arg(address.to_string());
        }
        if !settings.separate_pipe && settings.site_file.is_some() {
            command.arg("--site").arg(self.site_file());
        }
        command.args(&settings.node_flags);
        command
    }

    fn before_the_program(&self) -> Vec<OsString> {
        let mut all = self.settings.before_the_program.clone();
        if self.settings.at_terminal {
            all.splice(..0, ["setsid".into(), "--ctty".into()]);
        }
        all
    }

    /// `vk-node run`, where it is to run; in a container with what is written for users in docs/how-to/sites.md.
    fn node_program(&self) -> Command {
        let settings = &self.settings;
        match &settings.node_in {
            NodeIn::Host => match self.before_the_program().split_first() {
                None => self.part(&self.program, &["run"]),
                Some((first, rest)) => {
                    let mut command = self.part(Path::new(first), &[]);
                    command.args(rest).arg(&self.program).arg("run");
                    command
                }
            },
            NodeIn::Docker { client, image } => {
                let bind = |source: &Path, target: &str| format!("{}:{target}", source.display());
                let mut command = self.part(client, &["run", "--rm", "--name", &self.node_container()]);
                command.arg("--network=host").arg("-v").arg(bind(&self.hostpipe(), "/root/hostpipe"));
                command
                    .arg("-v")
                    .arg(bind(&settings.kubeconfig, "/kubeconfig:ro"))
                    .args(["-e", "KUBECONFIG=/kubeconfig"]);
                if let Some(authority) = &settings.client_ca {
                    command.arg("-v").arg(bind(authority, &format!("{AUTHORITY_IN_DOCKER}:ro")));
                }
                command.arg("-e").arg(format!("JOBNAME={}", settings.node_name));
                // By this its processes are known as the site's, and ended in the end.
                command.arg("-e").arg(format!("{SITE_VARIABLE}={}", self.home().display()));
                command.arg(image).arg("run");
                command
            }
            NodeIn::HomeBound { root } => {
                let home = self.home();
                let mut command = self.part(Path::new("ch-run"), &[]);
                command.arg(format!("--bind={0}:{0}", home.display())).arg(root).args(["--", "/vk-node", "run"]);
                command.env("JOBNAME", &settings.node_name).env("KUBECONFIG", &settings.kubeconfig);
                // ch-run does not start without it, and no login is without it.
                command.env("USER", std::env::var_os("USER").unwrap_or_else(|| "root".into()));
                command
            }
        }
    }

    /// The one place that knows the command line of `vk-node pipe`.
    fn pipe_command(&self) -> Command {
        let mut command = self.part(&self.program, &["pipe"]);
        command.arg("--hostpipe").arg(self.hostpipe());
        if self.settings.site_file.is_some() {
            command.arg("--site").arg(self.site_file());
        }
        command
    }

    /// With an environment like that of a login, and nothing of what cargo and the tests have put into ours.
    fn part(&self, program: &Path, arguments: &[&str]) -> Command {
        const INHERITED: [&str; 8] =
            ["PATH", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "VK_NODE_LOG", "RUST_BACKTRACE"];
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.home()).env_clear();
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
