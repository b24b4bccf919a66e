//! What a client asks for when it wants its connection upgraded, and what it is answered. Pure.
//!
//! | | upgrade | offered by the client in | taken |
//! |---|---|---|---|
//! | exec, attach | `SPDY/3.1` | `X-Stream-Protocol-Version` | the first of `v4.` `v3.` `v2.channel.k8s.io`, `channel.k8s.io` |
//! | exec, attach | `websocket` | `Sec-WebSocket-Protocol` | `v5.channel.k8s.io`, or else the first of `v4.channel.k8s.io`, `v4.base64.channel.k8s.io`, `channel.k8s.io`, `base64.channel.k8s.io`, nothing |
//! | port-forward | `SPDY/3.1` | `X-Stream-Protocol-Version` | `portforward.k8s.io` |
//! | port-forward | `websocket` | `Sec-WebSocket-Protocol` | `SPDY/3.1+portforward.k8s.io`, or else the first of `v4.channel.k8s.io`, `v4.base64.channel.k8s.io`, nothing |

use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::websocket::Encoding;

const SPDY: &str = "SPDY/3.1";
const TUNNEL_PREFIX: &str = "SPDY/3.1+";
const PORT_FORWARD: &str = "portforward.k8s.io";
const PROTOCOL_VERSION: &str = "x-stream-protocol-version";
const ACCEPTED_VERSIONS: &str = "x-accepted-stream-protocol-versions";
const SEC_WEBSOCKET_VERSION_NAME: &str = "sec-websocket-version";
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";
const V4_BASE64: &str = "v4.base64.channel.k8s.io";
const V3: &str = "v3.channel.k8s.io";
const V2: &str = "v2.channel.k8s.io";
const V1: &str = "channel.k8s.io";
const V1_BASE64: &str = "base64.channel.k8s.io";

/// How exec and attach go over the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteCommand(pub(crate) CommandTransport);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandTransport {
    Spdy { resizes: bool, status: StatusForm },
    WebSocket { half_close: bool, encoding: Encoding, status: StatusForm },
}

/// How the end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusForm {
    /// As a `metav1.Status`, since version 4.
    Json,
    /// As the message of an error; nothing if all is well.
    Text,
}

/// How forwarded connections go over the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortForward(pub(crate) ForwardTransport);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ForwardTransport {
    Spdy,
    Tunnel,
    WebSocket { encoding: Encoding, ports: Vec<u16> },
}

/// What was agreed on, and the headers of the answer `101 Switching Protocols`.
#[derive(Debug)]
pub struct Agreed<T> {
    /// What the connection carries then.
    pub transport: T,
    /// The headers of the answer.
    pub headers: HeaderMap,
}

/// Why a connection is not upgraded.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The text of the answer.
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), message: message.into() }
    }
}

/// For exec and attach.
///
/// # Errors
/// When the client asks for nothing that is spoken here.
pub fn remote_command(method: &Method, headers: &HeaderMap) -> Result<Agreed<RemoteCommand>, Refusal> {
    let (transport, headers) = match asked(method, headers)? {
        Asked::Spdy => {
            let (protocol, headers) = spdy(headers, &[V4, V3, V2, V1])?;
            let status = if protocol == V4 { StatusForm::Json } else { StatusForm::Text };
            (CommandTransport::Spdy { resizes: matches!(protocol, V4 | V3), status }, headers)
        }
        Asked::WebSocket(offered) => {
            let known = if offered.contains(&V5) { &[V5][..] } else { &[V4, V4_BASE64, V1, V1_BASE64] };
            let protocol = first_known(&offered, known)?;
            let encoding = encoding_of(protocol);
            let status = match protocol {
                Some(V5 | V4 | V4_BASE64) => StatusForm::Json,
                Some(_) | None => StatusForm::Text,
            };
            let half_close = protocol == Some(V5);
            (CommandTransport::WebSocket { half_close, encoding, status }, websocket(method, headers, protocol)?)
        }
    };
    Ok(Agreed { transport: RemoteCommand(transport), headers })
}

/// For port-forward. `ports` are the values of the parameter `port`, which only the old WebSocket protocol has.
///
/// # Errors
/// When the client asks for nothing that is spoken here.
pub fn port_forward(method: &Method, headers: &HeaderMap, ports: &[String]) -> Result<Agreed<PortForward>, Refusal> {
    let (transport, headers) = match asked(method, headers)? {
        Asked::Spdy => (ForwardTransport::Spdy, spdy(headers, &[PORT_FORWARD])?.1),
        Asked::WebSocket(offered) => {
            let tunnels = |protocol: &&&str| protocol.strip_prefix(TUNNEL_PREFIX) == Some(PORT_FORWARD);
            if let Some(tunnel) = offered.iter().find(tunnels) {
                (ForwardTransport::Tunnel, websocket(method, headers, Some(tunnel))?)
            } else {
                let ports = numbers(ports)?;
                let protocol = first_known(&offered, &[V4, V4_BASE64])?;
                let encoding = encoding_of(protocol);
                (ForwardTransport::WebSocket { encoding, ports }, websocket(method, headers, protocol)?)
            }
        }
    };
    Ok(Agreed { transport: PortForward(transport), headers })
}

enum Asked<'a> {
    Spdy,
    WebSocket(Vec<&'a str>),
}

fn asked<'a>(method: &Method, headers: &'a HeaderMap) -> Result<Asked<'a>, Refusal> {
    // A router may take HEAD for GET.
    if method != Method::GET && method != Method::POST {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST can be upgraded"));
    }
    let upgrade = list(headers, UPGRADE.as_str());
    let wanted = list(headers, CONNECTION.as_str()).iter().any(|value| value.eq_ignore_ascii_case("upgrade"));
    if wanted && upgrade.iter().any(|protocol| protocol.eq_ignore_ascii_case("websocket")) {
        return Ok(Asked::WebSocket(list(headers, SEC_WEBSOCKET_PROTOCOL.as_str())));
    }
    if wanted && upgrade.iter().any(|protocol| protocol.eq_ignore_ascii_case(SPDY)) {
        return Ok(Asked::Spdy);
    }
    let message =
        "Upgrade request required: the headers `Connection: Upgrade` and `Upgrade: websocket` or `Upgrade: SPDY/3.1`";
    Err(Refusal::new(StatusCode::BAD_REQUEST, message))
}

/// The values of a header that is a list, over all its lines.
fn list<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|value| !value.is_empty()).collect()
}

fn spdy(headers: &HeaderMap, known: &[&'static str]) -> Result<(&'static str, HeaderMap), Refusal> {
    let offered = list(headers, PROTOCOL_VERSION);
    if offered.is_empty() {
        let message = format!("unable to upgrade: the header {PROTOCOL_VERSION} is missing or empty");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    let taken = offered.iter().find_map(|protocol| known.iter().find(|known| *known == protocol));
    let Some(taken) = taken else {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {known:?}"
        );
        let mut refusal = Refusal::new(StatusCode::FORBIDDEN, message);
        refusal.headers.extend(known.iter().map(|known| (ACCEPTED_VERSIONS, *known)));
        return Err(refusal);
    };
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static(SPDY));
    answer.insert(PROTOCOL_VERSION, HeaderValue::from_static(taken));
    Ok((taken, answer))
}

/// The first protocol of the client's that is known; `None` where it asks for none.
fn first_known(offered: &[&str], known: &[&'static str]) -> Result<Option<&'static str>, Refusal> {
    if offered.is_empty() {
        return Ok(None);
    }
    let taken = offered.iter().find_map(|protocol| known.iter().find(|known| *known == protocol));
    taken.map(|taken| Some(*taken)).ok_or_else(|| {
        let message = format!("requested protocol(s) are not supported: {offered:?}; supports {known:?}");
        Refusal::new(StatusCode::FORBIDDEN, message)
    })
}

fn encoding_of(protocol: Option<&str>) -> Encoding {
    match protocol {
        Some(V4_BASE64 | V1_BASE64) => Encoding::Base64,
        Some(_) | None => Encoding::Raw,
    }
}

/// The server's side of the handshake of RFC 6455.
fn websocket(method: &Method, headers: &HeaderMap, protocol: Option<&str>) -> Result<HeaderMap, Refusal> {
    if method != Method::GET {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket is asked for by GET"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refusal = Refusal::new(StatusCode::BAD_REQUEST, "the version of the WebSocket protocol must be 13");
        refusal.headers.push((SEC_WEBSOCKET_VERSION_NAME, "13"));
        return Err(refusal);
    }
    let no_key = || Refusal::new(StatusCode::BAD_REQUEST, "the header Sec-WebSocket-Key is missing or makes no sense");
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(no_key)?;
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).map_err(|_| no_key())?;
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol.and_then(|protocol| HeaderValue::from_str(protocol).ok()) {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    Ok(answer)
}

/// The ports of the old WebSocket protocol, each of which has two channels.
fn numbers(ports: &[String]) -> Result<Vec<u16>, Refusal> {
    let wrong = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message);
    if ports.is_empty() {
        return Err(wrong("query parameter \"port\" is required".into()));
    }
    let all: Result<Vec<u16>, _> = ports.iter().flat_map(|list| list.split(',')).map(port).collect();
    let all = all.map_err(wrong)?;
    if all.len() > usize::from(u8::MAX) / 2 {
        return Err(wrong(format!("{} ports are more than have channels", all.len())));
    }
    Ok(all)
}

/// A port from its text.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(error) => Err(format!("unable to parse {text:?} as a port: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn websocket_headers(protocols: &str) -> HeaderMap {
        let mut headers = headers(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]);
        if !protocols.is_empty() {
            headers.insert("sec-websocket-protocol", HeaderValue::from_str(protocols).unwrap());
        }
        headers
    }

    fn spdy_headers(protocols: &[&str]) -> HeaderMap {
        let mut headers = headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]);
        for protocol in protocols {
            headers.append(PROTOCOL_VERSION, HeaderValue::from_str(protocol).unwrap());
        }
        headers
    }

    fn command(headers: &HeaderMap) -> Result<(CommandTransport, Option<String>), StatusCode> {
        let agreed = remote_command(&Method::GET, headers).map_err(|refusal| refusal.status)?;
        let said = agreed.headers.get(SEC_WEBSOCKET_PROTOCOL).or_else(|| agreed.headers.get(PROTOCOL_VERSION));
        Ok((agreed.transport.0, said.map(|value| value.to_str().unwrap().to_owned())))
    }

    #[test]
    fn the_best_of_the_clients_protocols_is_taken() {
        use CommandTransport::{Spdy, WebSocket};
        use Encoding::{Base64, Raw};
        use StatusForm::{Json, Text};
        let web = |half_close, encoding, status| WebSocket { half_close, encoding, status };
        for (offered, transport, taken) in [
            ("v5.channel.k8s.io,v4.channel.k8s.io", web(true, Raw, Json), Some(V5)),
            ("v4.channel.k8s.io, v5.channel.k8s.io", web(true, Raw, Json), Some(V5)),
            ("nonsense,v4.channel.k8s.io,channel.k8s.io", web(false, Raw, Json), Some(V4)),
            ("v4.base64.channel.k8s.io", web(false, Base64, Json), Some(V4_BASE64)),
            ("channel.k8s.io", web(false, Raw, Text), Some(V1)),
            ("base64.channel.k8s.io", web(false, Base64, Text), Some(V1_BASE64)),
            ("", web(false, Raw, Text), None),
        ] {
            let taken = taken.map(str::to_owned);
            assert_eq!(command(&websocket_headers(offered)), Ok((transport, taken)), "{offered}");
        }
        assert_eq!(command(&websocket_headers("v9.channel.k8s.io")), Err(StatusCode::FORBIDDEN));
        for (offered, resizes, status, taken) in [
            (&["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"][..], true, Json, V4),
            (&["v3.channel.k8s.io, v2.channel.k8s.io"], true, Text, V3),
            (&["v2.channel.k8s.io"], false, Text, V2),
            (&["channel.k8s.io"], false, Text, V1),
        ] {
            let wanted = Ok((Spdy { resizes, status }, Some(taken.to_owned())));
            assert_eq!(command(&spdy_headers(offered)), wanted, "{offered:?}");
        }
    }

    #[test]
    fn a_client_is_told_what_it_could_have_asked_for() {
        let refusal = remote_command(&Method::POST, &spdy_headers(&["v9.channel.k8s.io"])).unwrap_err();
        assert_eq!((refusal.status, refusal.headers.len()), (StatusCode::FORBIDDEN, 4));
        let status = |headers: &HeaderMap| remote_command(&Method::GET, headers).unwrap_err().status;
        assert_eq!(status(&spdy_headers(&[])), StatusCode::BAD_REQUEST);
        assert_eq!(status(&headers(&[("connection", "close"), ("upgrade", "websocket")])), StatusCode::BAD_REQUEST);
        assert_eq!(status(&headers(&[("connection", "upgrade"), ("upgrade", "h2c")])), StatusCode::BAD_REQUEST);
        let mut old = websocket_headers(V5);
        old.insert("sec-websocket-version", HeaderValue::from_static("8"));
        assert_eq!(status(&old), StatusCode::BAD_REQUEST);
        let posted = remote_command(&Method::POST, &websocket_headers(V5)).unwrap_err();
        assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
        let head = remote_command(&Method::HEAD, &spdy_headers(&[V4])).unwrap_err();
        assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        let agreed = remote_command(&Method::GET, &websocket_headers(V5)).unwrap();
        assert_eq!(agreed.headers[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn forwarding_is_by_spdy_by_a_tunnel_or_by_channels() {
        let of = |headers: &HeaderMap, ports: &[&str]| {
            let ports: Vec<String> = ports.iter().map(|port| (*port).to_owned()).collect();
            port_forward(&Method::GET, headers, &ports).map(|agreed| agreed.transport.0).map_err(|r| r.message)
        };
        assert_eq!(of(&spdy_headers(&[PORT_FORWARD]), &[]), Ok(ForwardTransport::Spdy));
        assert!(of(&spdy_headers(&[V4]), &[]).is_err());
        assert_eq!(of(&websocket_headers("SPDY/3.1+portforward.k8s.io"), &[]), Ok(ForwardTransport::Tunnel));
        let channels = ForwardTransport::WebSocket { encoding: Encoding::Raw, ports: vec![80, 81, 82] };
        assert_eq!(of(&websocket_headers(V4), &["80,81", "82"]), Ok(channels));
        for ports in [&[][..], &[""], &["0"], &["65536"], &["http"]] {
            assert!(of(&websocket_headers(V4), ports).unwrap_err().contains("port"));
        }
    }
}
