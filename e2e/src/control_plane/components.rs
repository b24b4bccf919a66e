//! The command lines of the four servers.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::pki::{Authority, IdentityFiles, service_account_keys};
use super::ports;
use crate::kubeconfig;
use crate::scratch::write_private;

/// The user as whom the API server talks to kubelets. Not one of `system:masters`, who may do anything: it is given the right to
/// kubelets' API by a ClusterRoleBinding, so that a vk-node has something to ask the API server about.
pub(super) const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// What the API server is known by, besides the names of this machine.
const API_SERVER_NAMES: [&str; 5] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1", super::PUBLIC_NAME];

/// The API server as a client of extension API servers.
const AGGREGATOR: &str = "front-proxy-client";

/// Everything the servers need to know of each other: ports, certificates, files.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) directory: PathBuf,
    pub(super) cluster_authority: Authority,
    pub(super) ports: Ports,
    files: Files,
}

#[derive(Debug)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) api_server: u16,
    pub(super) controller_manager: u16,
    pub(super) scheduler: u16,
}

#[derive(Debug)]
struct Files {
    cluster_authority: IdentityFiles,
    etcd_authority: IdentityFiles,
    etcd_server: IdentityFiles,
    etcd_client: IdentityFiles,
    api_server: IdentityFiles,
    kubelet_client: IdentityFiles,
    aggregator_authority: IdentityFiles,
    aggregator: IdentityFiles,
    controller_manager: IdentityFiles,
    scheduler: IdentityFiles,
    token_signing_key: PathBuf,
    token_checking_key: PathBuf,
}

impl Layout {
    /// Makes all certificates, keys and kubeconfigs in `directory`.
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let [etcd, api_server, controller_manager, scheduler] = ports::free()?;
        let pki = directory.join("pki");
        std::fs::create_dir(&pki)?;
        let cluster = Authority::new("kubernetes-ca")?;
        // An authority of its own: any client of the cluster could otherwise write to etcd, past all of Kubernetes' checks.
        let store = Authority::new("etcd-ca")?;
        // And one for those who say in whose name they ask: extension API servers believe whoever it has signed for.
        let front_proxy = Authority::new("front-proxy-ca")?;
        let (signing, checking) = service_account_keys()?;
        let (signing_path, checking_path) = (pki.join("service-account.key"), pki.join("service-account.pub"));
        write_private(&signing_path, &signing)?;
        write_private(&checking_path, &checking)?;
        let files = Files {
            cluster_authority: cluster.identity.write(&pki, "ca")?,
            etcd_authority: store.identity.write(&pki, "etcd-ca")?,
            etcd_server: store.server("etcd", &[])?.write(&pki, "etcd-server")?,
            etcd_client: store.client("kube-apiserver", None)?.write(&pki, "etcd-client")?,
            api_server: cluster.server("kube-apiserver", &API_SERVER_NAMES)?.write(&pki, "kube-apiserver")?,
            aggregator_authority: front_proxy.identity.write(&pki, "front-proxy-ca")?,
            aggregator: front_proxy.client(AGGREGATOR, None)?.write(&pki, AGGREGATOR)?,
            kubelet_client: cluster.client(KUBELET_CLIENT, None)?.write(&pki, KUBELET_CLIENT)?,
            controller_manager: cluster
                .server("kube-controller-manager", &[])?
                .write(&pki, "kube-controller-manager")?,
            scheduler: cluster.server("kube-scheduler", &[])?.write(&pki, "kube-scheduler")?,
            token_signing_key: signing_path,
            token_checking_key: checking_path,
        };
        let ports = Ports { etcd, api_server, controller_manager, scheduler };
        let layout = Self { directory: directory.to_owned(), cluster_authority: cluster, ports, files };
        layout.client_kubeconfig("admin", "vk-cmd-admin", Some("system:masters"))?;
        layout.client_kubeconfig("kube-controller-manager", "system:kube-controller-manager", None)?;
        layout.client_kubeconfig("kube-scheduler", "system:kube-scheduler", None)?;
        Ok(layout)
    }

    /// A kubeconfig with a fresh client certificate for `user`, in the file `<name>.kubeconfig`.
    pub(super) fn client_kubeconfig(&self, name: &str, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let identity = self.cluster_authority.client(user, group)?;
        let path = self.kubeconfig_path(name);
        let cluster = kubeconfig::cluster(&self.server_url(), &self.cluster_authority.identity.certificate);
        kubeconfig::write(&path, cluster, user, &identity.credential())?;
        Ok(path)
    }

    pub(super) fn kubeconfig_path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.kubeconfig"))
    }

    pub(super) fn server_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.api_server)
    }

    pub(super) fn authority_certificate(&self) -> &Path {
        &self.files.cluster_authority.certificate
    }

    pub(super) fn etcd(&self, program: &Path) -> Command {
        let url = format!("https://127.0.0.1:{}", self.ports.etcd);
        let mut flags = Flags::of(program);
        flags.set("data-dir", self.directory.join("etcd"));
        flags.set("listen-client-urls", &url).set("advertise-client-urls", &url);
        flags.set("listen-peer-urls", "https://127.0.0.1:0"); // there are no peers
        flags.set("cert-file", &self.files.etcd_server.certificate).set("key-file", &self.files.etcd_server.key);
        flags.set("trusted-ca-file", &self.files.etcd_authority.certificate).set("client-cert-auth", "true");
        flags
            .set("peer-cert-file", &self.files.etcd_server.certificate)
            .set("peer-key-file", &self.files.etcd_server.key);
        flags.set("peer-trusted-ca-file", &self.files.etcd_authority.certificate).set("peer-client-cert-auth", "true");
        // The data is thrown away with us, so it need not survive a power cut. Never do this for a cluster that matters.
        flags.set("unsafe-no-fsync", "true");
        flags.set("log-level", "warn");
        flags.command
    }

    pub(super) fn api_server(&self, program: &Path, extra: &[String]) -> Command {
        let mut flags = Flags::of(program);
        flags.set("bind-address", "127.0.0.1").set("secure-port", self.ports.api_server.to_string());
        flags
            .set("tls-cert-file", &self.files.api_server.certificate)
            .set("tls-private-key-file", &self.files.api_server.key);
        flags.set("client-ca-file", &self.files.cluster_authority.certificate);
        flags.set("etcd-servers", format!("https://127.0.0.1:{}", self.ports.etcd));
        flags.set("etcd-cafile", &self.files.etcd_authority.certificate);
        flags
            .set("etcd-certfile", &self.files.etcd_client.certificate)
            .set("etcd-keyfile", &self.files.etcd_client.key);
        flags.set("authorization-mode", "Node,RBAC").set("enable-admission-plugins", "NodeRestriction");
        flags.set("enable-bootstrap-token-auth", "true").set("allow-privileged", "true");
        flags.set("service-cluster-ip-range", "10.96.0.0/16");
        flags.set("service-account-issuer", "https://kubernetes.default.svc");
        flags.set("service-account-key-file", &self.files.token_checking_key);
        flags.set("service-account-signing-key-file", &self.files.token_signing_key);
        flags.set("kubelet-client-certificate", &self.files.kubelet_client.certificate);
        flags.set("kubelet-client-key", &self.files.kubelet_client.key);
        // As kubeadm has it: for extension API servers such as metrics-server.
        flags.set("requestheader-client-ca-file", &self.files.aggregator_authority.certificate);
        flags.set("requestheader-allowed-names", AGGREGATOR);
        flags.set("requestheader-username-headers", "X-Remote-User");
        flags.set("requestheader-group-headers", "X-Remote-Group");
        flags.set("requestheader-extra-headers-prefix", "X-Remote-Extra-");
        flags.set("proxy-client-cert-file", &self.files.aggregator.certificate);
        flags.set("proxy-client-key-file", &self.files.aggregator.key);
        // As kubeadm has it. The default tries the node's name first, which no name server knows here.
        flags.set("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname");
        // A loopback address cannot be the endpoint of the service `kubernetes`; without this the log complains every 10 s.
        flags.set("endpoint-reconciler-type", "none");
        flags.finish(extra)
    }

    pub(super) fn controller_manager(&self, program: &Path, extra: &[String]) -> Command {
        let mut flags = Flags::of(program);
        flags.set("bind-address", "127.0.0.1").set("secure-port", self.ports.controller_manager.to_string());
        flags.set("tls-cert-file", &self.files.controller_manager.certificate);
        flags.set("tls-private-key-file", &self.files.controller_manager.key);
        self.set_kubeconfigs(&mut flags, "kube-controller-manager");
        flags.set("controllers", "*,bootstrapsigner,tokencleaner").set("leader-elect", "false");
        flags.set("use-service-account-credentials", "true");
        flags.set("service-account-private-key-file", &self.files.token_signing_key);
        flags.set("root-ca-file", &self.files.cluster_authority.certificate);
        flags.set("cluster-signing-cert-file", &self.files.cluster_authority.certificate);
        flags.set("cluster-signing-key-file", &self.files.cluster_authority.key);
        flags.finish(extra)
    }

    pub(super) fn scheduler(&self, program: &Path, extra: &[String]) -> Command {
        let mut flags = Flags::of(program);
        flags.set("bind-address", "127.0.0.1").set("secure-port", self.ports.scheduler.to_string());
        flags
            .set("tls-cert-file", &self.files.scheduler.certificate)
            .set("tls-private-key-file", &self.files.scheduler.key);
        self.set_kubeconfigs(&mut flags, "kube-scheduler");
        flags.set("leader-elect", "false");
        flags.finish(extra)
    }

    fn set_kubeconfigs(&self, flags: &mut Flags, name: &str) {
        let path = self.kubeconfig_path(name);
        flags.set("kubeconfig", &path).set("authentication-kubeconfig", &path).set("authorization-kubeconfig", &path);
        flags.set("client-ca-file", &self.files.cluster_authority.certificate);
    }
}

/// `--name=value`, many times over.
struct Flags {
    command: Command,
}

impl Flags {
    fn of(program: &Path) -> Self {
        Self { command: Command::new(program) }
    }

    fn set(&mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> &mut Self {
        let mut flag = OsString::from(format!("--{name}="));
        flag.push(value);
        self.command.arg(flag);
        self
    }

    /// Later flags win, so the caller's come last.
    fn finish(mut self, extra: &[String]) -> Command {
        self.command.args(extra);
        self.command
    }
}
