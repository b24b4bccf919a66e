//! A real Kubernetes control plane on 127.0.0.1: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes.

mod components;
mod pki;
pub(crate) mod ports;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::cluster::Cluster;
use crate::kubeconfig;
use crate::kubelet::Certificate;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::tools::{self, Tool};
use crate::wait::{self, Probe};
use components::Layout;

/// A port of 127.0.0.1 on which nobody listens now.
pub fn free_port() -> Result<u16> {
    let [port] = ports::free()?;
    Ok(port)
}

/// A machine busy compiling starts Kubernetes in much more than the usual ten seconds.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_GRACE: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(50);

/// A name that the API server's certificate is for, and that leads nowhere on this machine.
pub const PUBLIC_NAME: &str = "api.example.org";

/// What to change about a control plane; the default is what a cluster has by default.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further flags for kube-apiserver.
    pub api_server_flags: Vec<String>,
    /// Further flags for kube-controller-manager.
    pub controller_manager_flags: Vec<String>,
    /// Further flags for kube-scheduler.
    pub scheduler_flags: Vec<String>,
}

/// By whom, and when, a client certificate was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// By the cluster's authority, and it has not expired.
    Properly,
    /// By the cluster's authority, and it has expired.
    LongAgo,
    /// By an authority of the same name that is not the cluster's.
    ByAnother,
}

/// A running control plane. Dropping it stops it; it also stops when this process ends, in whatever way.
#[derive(Debug)]
pub struct ControlPlane {
    // In the order in which they are stopped: etcd after those who need it, the directory after all.
    scheduler: Mutex<Option<Process>>,
    controller_manager: Mutex<Option<Process>>,
    api_server: Mutex<Option<Process>>,
    etcd: Mutex<Option<Process>>,
    cluster: Cluster,
    layout: Layout,
    options: Options,
    programs: Programs,
    scratch: Scratch,
}

#[derive(Debug)]
struct Programs {
    etcd: PathBuf,
    api_server: PathBuf,
    controller_manager: PathBuf,
    scheduler: PathBuf,
}

impl ControlPlane {
    /// Starts one and waits until it is ready for use. Its programs are built first where they are missing, which takes minutes.
    pub async fn start(options: Options) -> Result<Self> {
        let programs = Programs {
            etcd: tools::path(Tool::Etcd).await?,
            api_server: tools::path(Tool::KubeApiserver).await?,
            controller_manager: tools::path(Tool::KubeControllerManager).await?,
            scheduler: tools::path(Tool::KubeScheduler).await?,
        };
        let scratch = Scratch::new("vk-cmd-")?;
        let layout = Layout::create(scratch.path()).context("cannot make the control plane's certificates")?;
        let cluster = Cluster::new(&layout.kubeconfig_path("admin"), scratch.path()).await?;
        let none = || Mutex::new(None);
        let (etcd, api_server, controller_manager, scheduler) = (none(), none(), none(), none());
        let this =
            Self { scheduler, controller_manager, api_server, etcd, cluster, layout, options, programs, scratch };
        if let Err(error) = this.start_all().await {
            this.scratch.keep();
            return Err(error
                .context(format!("the control plane did not start; its logs are in {}", this.directory().display())));
        }
        Ok(this)
    }

    /// The cluster, for kubectl, helm and a client.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> &Path {
        self.cluster.kubeconfig()
    }

    /// See [`Cluster::client`].
    pub async fn client(&self) -> Result<Client> {
        self.cluster.client().await
    }

    /// See [`Cluster::kubectl`].
    pub fn kubectl(&self) -> Command {
        self.cluster.kubectl()
    }

    /// See [`Cluster::helm`].
    pub fn helm(&self) -> Command {
        self.cluster.helm()
    }

    /// See [`Cluster::service_account_kubeconfig`].
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        self.cluster.service_account_kubeconfig(namespace, name).await
    }

    /// Where the API server listens.
    pub fn server_url(&self) -> String {
        self.layout.server_url()
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.layout.ports.api_server)
    }

    /// The certificate of the authority that signs all client certificates, the one the API server shows to kubelets included.
    pub fn client_ca(&self) -> &Path {
        self.layout.authority_certificate()
    }

    /// Where logs and everything else are.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Leaves the directory with the logs there for good.
    pub fn keep_logs(&self) {
        self.scratch.keep();
    }

    /// A kubeconfig with which a node called `name` may do what a kubelet may: `system:node:<name>` in the group `system:nodes`.
    pub fn node_kubeconfig(&self, name: &str) -> Result<PathBuf> {
        self.layout.client_kubeconfig(&format!("node-{name}"), &format!("system:node:{name}"), Some("system:nodes"))
    }

    /// A client certificate for `user` in `group`, signed by the cluster's authority, or as `signed` says.
    pub fn client_certificate(&self, user: &str, group: Option<&str>, signed: Signed) -> Result<Certificate> {
        let identity = match signed {
            Signed::Properly => self.layout.cluster_authority.client(user, group)?,
            Signed::LongAgo => self.layout.cluster_authority.expired_client(user, group)?,
            Signed::ByAnother => pki::Authority::new("kubernetes")?.client(user, group)?,
        };
        Ok(Certificate { certificate: identity.certificate, key: identity.key })
    }

    /// Resident memory of the four servers, in bytes.
    pub fn resident_memory(&self) -> Result<Vec<(String, u64)>> {
        let mut all = Vec::new();
        for slot in [&self.etcd, &self.api_server, &self.controller_manager, &self.scheduler] {
            if let Some(process) = lock(slot)?.as_ref() {
                all.push((process.name().to_owned(), process.resident_memory()?));
            }
        }
        Ok(all)
    }

    /// Ends the API server: with KILL, as a crash would, or with TERM, as for an upgrade. The other servers go on.
    ///
    /// Not for a control plane that tests share.
    pub fn stop_api_server(&self, crash: bool) -> Result<()> {
        let mut process = lock(&self.api_server)?.take().context("the API server is already stopped")?;
        if crash {
            process.kill()?
        } else {
            process.stop(STOP_GRACE)?
        };
        Ok(())
    }

    /// Starts the API server again, on the same port with the same data, and waits until it is ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let command = self.layout.api_server(&self.programs.api_server, &self.options.api_server_flags);
        self.launch(&self.api_server, "kube-apiserver", command)?;
        self.healthy(&self.api_server, None, "/readyz").await
    }

    /// Starts another API server of the same cluster, with these flags more, and waits until it is ready. Gives its address,
    /// too; it ends with the process that is given.
    pub async fn another_api_server(&self, flags: &[String]) -> Result<(Process, String)> {
        let [port] = ports::free()?;
        let own = [format!("--secure-port={port}")];
        let extra: Vec<String> = self.options.api_server_flags.iter().chain(&own).chain(flags).cloned().collect();
        let command = self.layout.api_server(&self.programs.api_server, &extra);
        let log = self.directory().join(format!("kube-apiserver-{port}.log"));
        let slot = Mutex::new(Some(Process::start("another kube-apiserver", command, log)?));
        self.healthy(&slot, Some(port), "/readyz").await?;
        let process = lock(&slot)?.take().context("the API server is gone")?;
        Ok((process, format!("https://127.0.0.1:{port}")))
    }

    async fn start_all(&self) -> Result<()> {
        self.launch(&self.etcd, "etcd", self.layout.etcd(&self.programs.etcd))?;
        self.listening(&self.etcd, self.layout.ports.etcd).await?;
        self.start_api_server().await?;
        self.allow_kubelet_access().await?;

        let options = &self.options;
        let command =
            self.layout.controller_manager(&self.programs.controller_manager, &options.controller_manager_flags);
        self.launch(&self.controller_manager, "kube-controller-manager", command)?;
        let command = self.layout.scheduler(&self.programs.scheduler, &options.scheduler_flags);
        self.launch(&self.scheduler, "kube-scheduler", command)?;
        tokio::try_join!(self.helpers_healthy(), self.service_accounts_made())?;
        Ok(())
    }

    /// Waits until the controller manager and the scheduler say that they are well.
    pub async fn helpers_healthy(&self) -> Result<()> {
        let ports = &self.layout.ports;
        let (manager, scheduler) = (ports.controller_manager, ports.scheduler);
        tokio::try_join!(
            self.healthy(&self.controller_manager, Some(manager), "/healthz"),
            self.healthy(&self.scheduler, Some(scheduler), "/readyz"),
        )?;
        Ok(())
    }

    fn launch(&self, slot: &Mutex<Option<Process>>, name: &str, command: Command) -> Result<()> {
        let process = Process::start(name, command, self.directory().join(format!("{name}.log")))?;
        *lock(slot)? = Some(process);
        Ok(())
    }

    /// Waits until something accepts connections on `port`.
    async fn listening(&self, slot: &Mutex<Option<Process>>, port: u16) -> Result<()> {
        wait::until("etcd to listen", START_LIMIT, GLANCE, async || {
            must_be_running(slot)?;
            Ok(match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::not_yet(error.to_string()),
            })
        })
        .await
    }

    /// Waits until the server in `slot` answers `path` with success, as the administrator asks it.
    async fn healthy(&self, slot: &Mutex<Option<Process>>, port: Option<u16>, path: &str) -> Result<()> {
        let url = port.map(|port| format!("https://127.0.0.1:{port}"));
        let client = kubeconfig::client(self.kubeconfig(), url.as_deref()).await?;
        let what =
            lock(slot)?.as_ref().map_or_else(|| path.to_owned(), |process| format!("{} to be well", process.name()));
        wait::until(&what, START_LIMIT, GLANCE, async || {
            must_be_running(slot)?;
            let request = http::Request::get(path).body(Vec::new())?;
            Ok(match client.request_text(request).await {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::not_yet(error.to_string()),
            })
        })
        .await
    }

    /// Lets the API server use kubelets' API, for `kubectl logs` and `exec`. The role comes with Kubernetes, its binding does not.
    async fn allow_kubelet_access(&self) -> Result<()> {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client().await?);
        let group = Some("rbac.authorization.k8s.io".to_owned());
        let binding = ClusterRoleBinding {
            metadata: ObjectMeta { name: Some("kube-apiserver-kubelet-api".to_owned()), ..ObjectMeta::default() },
            role_ref: RoleRef {
                api_group: group.clone(),
                kind: "ClusterRole".to_owned(),
                name: "system:kubelet-api-admin".to_owned(),
            },
            subjects: Some(vec![Subject {
                api_group: group,
                kind: "User".to_owned(),
                name: components::KUBELET_CLIENT.to_owned(),
                namespace: None,
            }]),
        };
        bindings
            .create(&PostParams::default(), &binding)
            .await
            .context("cannot let the API server use kubelets' API")?;
        Ok(())
    }

    /// Waits for what every pod needs before it can be created.
    async fn service_accounts_made(&self) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, "default");
        wait::until("the default ServiceAccount", START_LIMIT, GLANCE, async || {
            must_be_running(&self.controller_manager)?;
            Ok(match accounts.get_opt("default").await? {
                Some(_) => Probe::Ready(()),
                None => Probe::not_yet("it does not exist"),
            })
        })
        .await
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // Told at the same time, so that we wait once and not three times; etcd only after them.
        let users = [&mut self.scheduler, &mut self.controller_manager, &mut self.api_server];
        let mut users: Vec<Process> = users.into_iter().filter_map(|slot| slot.get_mut().ok()?.take()).collect();
        for process in &mut users {
            let _ = process.signal(rustix::process::Signal::TERM);
        }
        drop(users);
        if let Ok(etcd) = self.etcd.get_mut() {
            drop(etcd.take());
        }
    }
}

fn lock(slot: &Mutex<Option<Process>>) -> Result<MutexGuard<'_, Option<Process>>> {
    slot.lock().map_err(|_| anyhow!("another thread failed while it started or stopped a server"))
}

fn must_be_running(slot: &Mutex<Option<Process>>) -> Result<()> {
    lock(slot)?.as_mut().context("the server has been stopped")?.must_be_running()
}
