//! A site behind a firewall: network namespaces of its own, a gateway that translates addresses and lets nobody in, and a wire to
//! this host on which packets are late, lost, or all cut off.
//!
//! ```text
//!   this host                        gateway                         site
//!   API server 127.0.0.1
//!   way in 10.213.n.1:port ── wire ── 10.213.n.2 │ 10.214.n.1 ── 10.214.n.2  vk-node and what it runs
//!                                       NAT ───▶ only
//! ```
//!
//! Everything is made by the programs of Debian's iproute2 and iptables, and needs root. The namespaces are held by two processes and
//! go with them; nothing of this host's own network is changed but for the wire's end.

mod wire;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::control_plane::ControlPlane;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::scratch::Scratch;
use crate::site::Settings;
use crate::wait::{self, Probe};
use crate::{exec, packages, runtimes};

pub use wire::Quality;
use wire::Wire;

const LIMIT: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(10);
/// How many there can be at a time on this host.
const MOST: u8 = 250;

/// A site's network. Dropping it takes it away.
#[derive(Debug)]
pub struct Network {
    number: u8,
    wire: Wire,
    gateway: Process,
    site: Process,
    way_in: Option<Proxy>,
    _scratch: Scratch,
}

/// A network; none, after a loud word, where this machine does not let us make one.
///
/// # Panics
/// Where it cannot be made and [`runtimes::REQUIRE_VARIABLE`] is set.
pub async fn behind_a_firewall() -> Option<Network> {
    runtimes::or_skipped("a network of its own", Box::pin(Network::new()).await)
}

impl Network {
    async fn new() -> Result<Self> {
        packages::installed("tests of networks", &[("ip", "iproute2"), ("iptables", "iptables")]).await?;
        let scratch = Scratch::new("vk-net-")?;
        let gateway = namespace("the gateway's network", &scratch).await?;
        let site = namespace("the site's network", &scratch).await?;
        let (number, wire) = wire_to(&gateway)?;
        let this = Self { number, wire, gateway, site, way_in: None, _scratch: scratch };
        this.set_up().await.context("cannot set up a network for a site")?;
        Ok(this)
    }

    async fn set_up(&self) -> Result<()> {
        let n = self.number;
        let (gateway, site) = (self.gateway.pid(), self.site.pid());
        let (ours, theirs) = (wire::name_here(n), wire::NAME_THERE);
        for (place, line) in [
            (None, format!("ip address add 10.213.{n}.1/30 dev {ours}")),
            (None, format!("ip link set {ours} up")),
            (Some(&self.gateway), format!("ip address add 10.213.{n}.2/30 dev {theirs}")),
            (Some(&self.gateway), format!("ip link set {theirs} up")),
            (Some(&self.gateway), format!("ip link add inside type veth peer name outside netns {site}")),
            (Some(&self.gateway), format!("ip address add 10.214.{n}.1/30 dev inside")),
            (Some(&self.gateway), "ip link set inside up".to_owned()),
            (Some(&self.gateway), "ip link set lo up".to_owned()),
            (Some(&self.gateway), format!("ip route add default via 10.213.{n}.1")),
            (
                Some(&self.gateway),
                format!("iptables --table nat --append POSTROUTING --out-interface {theirs} --jump MASQUERADE"),
            ),
            (
                Some(&self.gateway),
                format!(
                    "iptables --append FORWARD --in-interface {theirs} --match conntrack ! --ctstate ESTABLISHED,RELATED --jump DROP"
                ),
            ),
            (Some(&self.site), format!("ip address add 10.214.{n}.2/30 dev outside")),
            (Some(&self.site), "ip link set outside up".to_owned()),
            (Some(&self.site), "ip link set lo up".to_owned()),
            (Some(&self.site), format!("ip route add default via 10.214.{n}.1")),
        ] {
            run(place, &line).await?;
        }
        // Of that network only: /proc/sys/net is that of whoever looks.
        let mut forward = Command::new("nsenter");
        forward.args(enter(gateway)).args(["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
        exec::text(forward, LIMIT).await.map(drop)
    }

    /// This host's address on the wire: what the site can reach.
    pub fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, self.number, 1)
    }

    /// How packets fare from now on.
    pub fn set(&self, quality: Quality) {
        self.wire.set(quality);
    }

    /// How many packets have come through, and how many were lost.
    pub fn packets(&self) -> (u64, u64) {
        self.wire.packets()
    }

    /// The command line that goes before a program that is to run at the site.
    pub fn inside(&self) -> Vec<OsString> {
        std::iter::once("nsenter".into()).chain(enter(self.site.pid())).collect()
    }

    /// Settings for a node of this name at the site: it reaches the control plane's API server by the wire.
    pub async fn settings(&mut self, plane: &ControlPlane, node: &str) -> Result<Settings> {
        let mut settings = Settings::on(plane, node)?;
        let url = plane.server_url();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).context("the API server has no port")?;
        let way_in = Proxy::between(self.host_address(), port).await?;
        let config = std::fs::read_to_string(&settings.kubeconfig).context("cannot read the node's kubeconfig")?;
        let server = format!("server: {url}");
        if !config.contains(&server) {
            bail!("the kubeconfig does not name {url}");
        }
        let here = format!("server: https://{}:{}\n    tls-server-name: localhost", self.host_address(), way_in.port());
        settings.kubeconfig = plane.directory().join(format!("{node}-by-wire.kubeconfig"));
        std::fs::write(&settings.kubeconfig, config.replace(&server, &here)).context("cannot write a kubeconfig")?;
        settings.before_the_program = self.inside();
        self.way_in = Some(way_in);
        Ok(settings)
    }
}

/// Arguments of nsenter for the network of a process.
fn enter(pid: u32) -> [OsString; 2] {
    [format!("--net=/proc/{pid}/ns/net").into(), "--".into()]
}

/// A process that holds a network of its own.
async fn namespace(name: &str, scratch: &Scratch) -> Result<Process> {
    let mut command = Command::new("unshare");
    command.args(["--net", "--", "sleep", "infinity"]);
    let mut process = Process::start(name, command, scratch.path().join("namespaces.log"))?;
    let link = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    let ours = link("self").context("this host has no network namespaces")?;
    wait::until(name, LIMIT, GLANCE, async || {
        process.must_be_running()?;
        let theirs = link(&process.pid().to_string())?;
        Ok(if theirs == ours { Probe::not_yet("it is not made yet") } else { Probe::Ready(()) })
    })
    .await?;
    Ok(process)
}

/// A wire with the first number that nobody has.
fn wire_to(gateway: &Process) -> Result<(u8, Wire)> {
    let first = fastrand::u8(0..MOST);
    let mut why = None;
    for n in (0..MOST).map(|n| (first.wrapping_add(n)) % MOST) {
        match Wire::lay(n, gateway.pid()) {
            Ok(wire) => return Ok((n, wire)),
            Err(error) => why = Some(error),
        }
    }
    match why {
        Some(why) => Err(why),
        None => bail!("no number is free"),
    }
}

async fn run(place: Option<&Process>, line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let program = words.next().context("there is nothing to run")?;
    let mut command = match place {
        Some(process) => {
            let mut command = Command::new("nsenter");
            command.args(enter(process.pid())).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(words);
    exec::text(command, LIMIT).await.map(drop)
}
