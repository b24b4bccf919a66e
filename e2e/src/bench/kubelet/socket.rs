//! A client of a node's own API, as the API server is one: it keeps its credentials, and makes a connection for each command.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use http::header;
use k8s_openapi::api::core::v1::Node;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use vk_cmd_crds::labels;

use crate::control_plane::{ControlPlane, Signed};
use crate::kubelet::{self, Kubelet, Who};

const PROTOCOL: &str = "v5.channel.k8s.io";
/// The channel on which a command's end is told.
const STATUS: u8 = 3;

/// The way to a node.
pub(super) struct NodeApi {
    address: SocketAddr,
    tls: TlsConnector,
}

impl NodeApi {
    /// That to `node`, as one who may do anything. Each connection has a handshake in full.
    pub(super) fn of(node: &Node, plane: &ControlPlane) -> Result<Self> {
        let certificate = plane.client_certificate("bench", Some("system:masters"), Signed::Properly)?;
        let who = Who { certificate: Some(certificate), token: None };
        Ok(Self { address: Kubelet::of(node)?.address(), tls: kubelet::connector(&who)? })
    }

    /// Runs `true` in a pod, until its end is told.
    pub(super) async fn run_true(&self, namespace: &str, pod: &str) -> Result<()> {
        let stream = TcpStream::connect(self.address).await.context("cannot reach the node's API")?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await.context("no handshake")?;
        let container = labels::MAIN_CONTAINER;
        let url = format!("wss://{}/exec/{namespace}/{pod}/{container}?command=true&output=1&error=1", self.address);
        let mut request = url.into_client_request()?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL.parse()?);
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.context("no WebSocket")?;
        while let Some(message) = socket.next().await {
            let data = message?.into_data();
            if let Some((&STATUS, status)) = data.split_first() {
                let status: Value = serde_json::from_slice(status).context("the node's status is no JSON")?;
                if status.get("status").and_then(Value::as_str) == Some("Success") {
                    return Ok(());
                }
                bail!("the command went wrong: {status}");
            }
        }
        bail!("the connection ended, and the command's end was not told");
    }
}
