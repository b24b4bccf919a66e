//! A running `vk-operator relay`: where nodes dial is as one wishes, and the API server reaches them on ports of 127.0.0.1.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::binaries;
use crate::control_plane::{ControlPlane, free_port};
use crate::loopback;
use crate::process::Process;
use crate::scratch::{Scratch, write_private};
use crate::wait::{self, Probe};

const START_LIMIT: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(20);
/// How many ports of nodes are looked for beside each other.
const PORTS: u16 = 32;

/// A name that its certificate is for too, and that leads nowhere on this machine.
pub const PUBLIC_NAME: &str = "relay.example.org";

/// What is not as always about a relay.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where nodes dial.
    pub address: Ipv4Addr,
    /// How many ports it has for nodes.
    pub ports: u16,
    /// The kubeconfig with which it reads the cluster's authority of clients; none: it is given the file.
    pub kubeconfig: Option<PathBuf>,
    /// Further flags.
    pub flags: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { address: Ipv4Addr::LOCALHOST, ports: PORTS, kubeconfig: None, flags: Vec::new() }
    }
}

/// A relay. Dropping it stops it.
#[derive(Debug)]
pub struct Relay {
    process: Option<Process>,
    program: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
    health: SocketAddr,
    scratch: Scratch,
}

impl Relay {
    /// Starts one that lets in whom the authority of `plane` has signed for.
    pub async fn start(plane: &ControlPlane, settings: Settings) -> Result<Self> {
        let program = binaries::built().await?.operator.clone();
        let scratch = Scratch::new("vk-relay-")?;
        certify(scratch.path(), settings.address)?;
        let address = SocketAddr::new(settings.address.into(), free_port()?);
        let health = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port()?);
        let file = |name: &str| scratch.path().join(name).display().to_string();
        let mut arguments = vec![
            "relay".to_owned(),
            format!("--listen-address={address}"),
            format!("--health-address={health}"),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--node-ports={}", range(settings.ports)?),
            format!("--state-file={}", file("ports.json")),
            format!("--tls-cert-file={}", file("relay.crt")),
            format!("--tls-key-file={}", file("relay.key")),
        ];
        arguments.push(match &settings.kubeconfig {
            Some(kubeconfig) => format!("--kubeconfig={}", kubeconfig.display()),
            None => format!("--client-ca-file={}", plane.client_ca().display()),
        });
        arguments.extend(settings.flags);
        let mut this = Self { process: None, program, arguments, address, health, scratch };
        this.restart().await?;
        Ok(this)
    }

    /// Where nodes dial.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority that its certificate is of.
    pub fn authority(&self) -> PathBuf {
        self.scratch.path().join("authority.crt")
    }

    /// The flags with which a node dials it.
    pub fn node_flags(&self) -> Vec<std::ffi::OsString> {
        vec![
            "--relay".into(),
            self.address.to_string().into(),
            "--relay-ca-file".into(),
            self.authority().into_os_string(),
        ]
    }

    /// Another address of this machine's loopback that it is to tell nodes, from its next start on.
    pub fn advertise(&mut self, address: Ipv4Addr) {
        for argument in self.arguments.iter_mut().filter(|argument| argument.starts_with("--advertise-address=")) {
            *argument = format!("--advertise-address={address}");
        }
    }

    /// Its log, of all its runs.
    pub fn log(&self) -> PathBuf {
        self.scratch.path().join("relay.log")
    }

    /// Leaves its log there for good.
    pub fn keep_logs(&self) {
        self.scratch.keep();
    }

    /// Its process, to ask or to signal; none while it is killed.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the relay is not running")?.kill().map(drop)
    }

    /// Tells it to end, and waits until it has.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.process.take().context("the relay is not running")?.stop(limit).map(drop)
    }

    /// Starts it (again), and waits until it lets nodes in.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let mut process = Process::start("vk-operator relay", command, self.log())?;
        wait::until("the relay to be ready", START_LIMIT, GLANCE, async || {
            process.must_be_running()?;
            Ok(match loopback::get(self.health.port(), "/readyz").await {
                Ok(_) => Probe::Ready(()),
                Err(error) => Probe::not_yet(format!("{error:#}")),
            })
        })
        .await?;
        self.process = Some(process);
        Ok(())
    }

    /// What it has measured.
    pub async fn metrics(&self) -> Result<String> {
        loopback::get(self.health.port(), "/metrics").await
    }

    /// A figure of its metrics; with its labels as they are written there.
    pub async fn figure(&self, name: &str) -> Result<f64> {
        let text = self.metrics().await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.with_context(|| format!("there is no {name}"))?.parse().context("a figure is no number")
    }
}

/// A range of ports that nobody listens on now, below those that the kernel gives to whoever asks for any.
fn range(count: u16) -> Result<String> {
    const LOWEST: u16 = 10_000;
    const HIGHEST: u16 = 32_000;
    for _ in 0..1000 {
        let first = fastrand::u16(LOWEST..HIGHEST - count);
        let last = first + count - 1;
        // Most of a large range will do: the relay passes over what is taken.
        if [first, last].into_iter().all(|port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return Ok(format!("{first}-{last}"));
        }
    }
    anyhow::bail!("there are no {count} ports beside each other")
}

/// Makes an authority, and a certificate of it for that address and the public name.
fn certify(directory: &Path, address: Ipv4Addr) -> Result<()> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "relay-ca");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let pem = authority.self_signed(&key)?.pem();
    let issuer = Issuer::new(authority, key);
    let mut relay = CertificateParams::new(vec![address.to_string(), "localhost".to_owned(), PUBLIC_NAME.to_owned()])?;
    relay.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = relay.signed_by(&key, &issuer)?.pem();
    write_private(&directory.join("authority.crt"), &pem)?;
    write_private(&directory.join("relay.crt"), &certificate)?;
    write_private(&directory.join("relay.key"), &key.serialize_pem())
}
