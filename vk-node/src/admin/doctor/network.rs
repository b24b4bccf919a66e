//! The ways to the API server and back. Whoever does not answer in time is taken for somebody who does not answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Stdio;

use http::{Request, header};
use jiff::fmt::rfc2822;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::client::Body;
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::net::{TcpStream, lookup_host};
use tokio::process::Command;
use vk_api_client::chain;
use vk_cmd_crds::labels;
use vk_node_core::config::{MemberConfig, NodeConfig, TunnelConfig};
use vk_node_core::doctor::{Answered, CertificateFacts, Login, NodeObject, PortFacts, ServerFacts, Whoami};
use vk_node_core::facts::Endpoint;
use vk_node_core::report::NodeReport;
use vk_node_core::tunnel::argv;

use super::patience::Patience;
use crate::credentials::{self, Present};

/// The namespace of nodes' Leases.
const LEASES: &str = "kube-node-lease";

/// What was found.
pub(super) struct Network {
    pub(super) login: Result<Login, String>,
    pub(super) server: Option<ServerFacts>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) relay_authority: Option<Result<usize, String>>,
    pub(super) relay_reached: Option<Result<(), String>>,
    pub(super) ssh: Option<Result<(), String>>,
}

pub(super) async fn look(config: Option<&NodeConfig>, patience: Patience) -> Network {
    let relay = config.and_then(|config| config.relay.as_ref());
    let tunnel = config.and_then(|config| config.tunnel.as_ref());
    let reach_relay = async {
        // The node is on one of them: one that is reached is enough.
        let all = relay?.addresses.iter().map(|at| connect(&at.host, at.port, patience));
        let answers = futures::future::join_all(all).await;
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err()).cloned().collect::<Vec<_>>();
        Some(if refused.len() < answers.len() { Ok(()) } else { Err(refused.join("; ")) })
    };
    let ask_ssh = async { Some(ssh(tunnel?, patience).await) };
    let ((login, server), relay_reached, ssh) = tokio::join!(api_server(config, patience), reach_relay, ask_ssh);
    let found =
        server.as_ref().and_then(|server| server.addresses.as_ref()?.as_ref().ok().cloned()).unwrap_or_default();
    let wanted = config.into_iter().flat_map(|config| config.members.iter().filter_map(|member| member.address));
    // Whether an address is this host's the kernel says when a socket is to have it.
    let is_ours = |address: &IpAddr| UdpSocket::bind(SocketAddr::new(*address, 0)).is_ok();
    Network {
        login,
        server,
        addresses: wanted.chain(found).filter(is_ours).collect(),
        relay_authority: relay.map(|relay| certificates(&relay.ca_file)),
        relay_reached,
        ssh,
    }
}

async fn api_server(config: Option<&NodeConfig>, patience: Patience) -> (Result<Login, String>, Option<ServerFacts>) {
    let Some((config, member)) = config.and_then(|config| Some((config, config.members.first()?))) else {
        return (Err("the configuration is wrong, so it is not known which".to_owned()), None);
    };
    let Present { config: way, client, is_bootstrap } = match present(config, member, patience).await {
        Ok(present) => present,
        Err(why) => return (Err(why), None),
    };
    let certificate = match credentials::certificate(&way.auth_info) {
        None => None,
        Some(Err(error)) => return (Err(format!("the client certificate cannot be used: {}", chain(&*error))), None),
        Some(Ok(seen)) => Some(CertificateFacts {
            common_name: seen.common_name,
            organizations: seen.organizations.into_iter().collect(),
            not_before: seen.not_before,
            not_after: seen.not_after,
        }),
    };
    let login = Login {
        server: way.cluster_url.to_string(),
        is_bootstrap,
        certificate,
        trusts_anybody: way.accept_invalid_certs,
    };
    // By a tunnel it is not reached from here; ssh is not started for a look.
    if config.tunnel.is_some() {
        return (Ok(login), None);
    }
    let straight = way.proxy_url.is_none();
    let Endpoint { host, port } = credentials::endpoint(&way);
    let by_hand = async {
        if !straight {
            return (None, None);
        }
        let addresses = resolve(&host, port, patience).await;
        let connected = match &addresses {
            Ok(_) => Some(connect(&host, port, patience).await),
            Err(_) => None,
        };
        (Some(addresses), connected)
    };
    let asked = async {
        let silent = |what: &str| format!("it has not answered within {patience}: {what}");
        let (answered, whoami, node) = tokio::join!(
            patience.within(answered(&client)),
            patience.within(whoami(&client)),
            patience.within(node(&client, member.name.as_str())),
        );
        (
            answered.unwrap_or_else(|| Err(silent("/version"))),
            whoami.unwrap_or_else(|| Err(silent("selfsubjectreviews"))),
            node.unwrap_or_else(|| Err(silent("nodes"))),
        )
    };
    let ((addresses, connected), (answered, whoami, node)) = tokio::join!(by_hand, asked);
    // What it was not reached for says nothing of whom it takes us for.
    let reached = answered.is_ok();
    let server = ServerFacts {
        addresses,
        connected,
        answered: Some(answered),
        whoami: reached.then_some(whoami),
        node: reached.then_some(node),
    };
    (Ok(login), Some(server))
}

/// What the node would show of itself. The kubeconfig may name a program that is asked for a token, which takes as long as it likes.
async fn present(config: &NodeConfig, member: &MemberConfig, patience: Patience) -> Result<Present, String> {
    let (kubeconfig, certificates, name) =
        (member.kubeconfig.clone(), config.certificates.clone(), member.name.clone());
    let runtime = tokio::runtime::Handle::current();
    let asked =
        patience.thread(move || runtime.block_on(credentials::present(kubeconfig.as_deref(), &certificates, &name)));
    match asked.await {
        None => Err(format!(
            "they were not there within {patience}: the file server, or the program that the kubeconfig has asked for a token, has not answered"
        )),
        Some(present) => present.map_err(|error| chain(&*error)),
    }
}

async fn resolve(host: &str, port: u16, patience: Patience) -> Result<Vec<IpAddr>, String> {
    match patience.within(lookup_host((host, port))).await {
        None => Err(format!("nobody has told the address of {host} within {patience}")),
        Some(Err(error)) => Err(format!("{host}: {error}")),
        Some(Ok(all)) => {
            let mut addresses: Vec<IpAddr> = all.map(|address| address.ip()).collect();
            addresses.sort();
            addresses.dedup();
            Ok(addresses)
        }
    }
}

async fn connect(host: &str, port: u16, patience: Patience) -> Result<(), String> {
    match patience.within(TcpStream::connect((host, port))).await {
        None => Err(format!("{host}:{port} has not answered within {patience}")),
        Some(Err(error)) => Err(format!("{host}:{port}: {error}")),
        Some(Ok(_)) => Ok(()),
    }
}

#[derive(Deserialize)]
struct Version {
    major: String,
    minor: String,
}

async fn answered(client: &Client) -> Result<Answered, String> {
    let request = Request::get("/version").body(Body::empty()).map_err(|error| error.to_string())?;
    let answer = client.send(request).await.map_err(|error| chain(&error))?;
    let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
    let bytes = answer.into_body().collect_bytes().await.map_err(|error| error.to_string())?;
    // A `+` may follow: https://kubernetes.io/releases/version-skew-policy, and what providers make of it.
    let number = |text: &str| text.trim_end_matches('+').parse().ok();
    let version: Option<Version> = serde_json::from_slice(&bytes).ok();
    let version = version.and_then(|version| Some((number(&version.major)?, number(&version.minor)?)));
    Ok(Answered { version, date })
}

async fn whoami(client: &Client) -> Result<Whoami, String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review =
        reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.map_err(|error| chain(&error))?;
    let user = review.status.and_then(|status| status.user_info).unwrap_or_default();
    Ok(Whoami { user: user.username.unwrap_or_default(), groups: user.groups.unwrap_or_default() })
}

async fn node(client: &Client, name: &str) -> Result<Option<NodeObject>, String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    let (node, lease) = tokio::join!(nodes.get_opt(name), leases.get_opt(name));
    let Some(node) = node.map_err(|error| chain(&error))? else { return Ok(None) };
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let is_ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let is_vk_node = node.labels().get(labels::NODE_TYPE).is_some_and(|kind| kind == labels::NODE_TYPE_VALUE);
    let holder = lease.ok().flatten().and_then(|lease| lease.spec?.holder_identity).filter(|holder| !holder.is_empty());
    Ok(Some(NodeObject { is_vk_node, is_ready, holder }))
}

fn certificates(file: &Path) -> Result<usize, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(text.matches("-----BEGIN CERTIFICATE-----").count())
}

async fn ssh(tunnel: &TunnelConfig, patience: Patience) -> Result<(), String> {
    let mut command = Command::new(&tunnel.program);
    command
        .args(argv::config_of(tunnel))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    match patience.within(command.output()).await {
        None => Err(format!("{} has not answered within {patience}", tunnel.program.display())),
        Some(Err(error)) => Err(format!("{}: {error}", tunnel.program.display())),
        Some(Ok(output)) if output.status.success() => Ok(()),
        Some(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Whether the port of the kubelet's API can be had.
pub(super) fn port(config: Option<&NodeConfig>, node: Option<&NodeReport>) -> PortFacts {
    let Some((config, member)) = config.and_then(|config| Some((config, config.members.first()?))) else {
        return PortFacts::Any;
    };
    if config.relay.is_some() || config.tunnel.is_some() || member.port == 0 {
        return PortFacts::Any;
    }
    let port = member.port;
    let report = node.and_then(|node| node.nodes.get(member.name.as_str()));
    let ends_so = |at: &String| at.ends_with(&format!(":{port}"));
    if report.and_then(|report| report.reached_at.as_ref()).is_some_and(ends_so) {
        return PortFacts::Own(port);
    }
    let address = member.listen_address.or(member.address).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    match std::net::TcpListener::bind((address, port)) {
        Ok(_) => PortFacts::Free(port),
        Err(error) => PortFacts::Taken(port, error.to_string()),
    }
}
