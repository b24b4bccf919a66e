//! A probe that asks for a page. The rules are the kubelet's (pkg/probe/http): a status of 200 to 399 is a success;
//! redirects are followed on the same host, and one to another host ends there with a warning.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use vk_node_core::probe::machine::Answer;
use vk_node_core::probe::{HttpGet, Scheme};

use super::dial::{Dial, DialError};
use super::location::{Location, Redirect};
use super::{MAX_ANSWER_BYTES, USER_AGENT, host_port, tls};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

/// Why there is no answer.
pub(super) enum Failed {
    /// The server's fault, or the network's.
    There(String),
    /// It could not be asked.
    Here(String),
}

/// Asks.
pub(super) async fn get<D: Dial>(dialer: &D, action: &HttpGet, address: &str, within: Duration) -> Answer {
    let host = action.host.as_deref().unwrap_or(address);
    let first = Location::new(action.scheme, action.port, &action.path);
    let url = url(host, &first);
    match timeout(within, follow(dialer, action, host, first)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(Failed::There(why))) => Answer::Failure { message: format!("Get \"{url}\": {why}") },
        Ok(Err(Failed::Here(why))) => Answer::Error { message: format!("Get \"{url}\": {why}") },
        Err(_) => Answer::Failure {
            message: format!(
                "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            ),
        },
    }
}

/// What rustls says of a server that answers a greeting in TLS with something else.
const NO_TLS: &str = "InvalidContentType";

/// Asks as a hook does: any answer will do, and of a server that does not speak TLS the kubelet asks in the clear.
pub(super) async fn any_answer<D: Dial>(dialer: &D, action: &HttpGet, address: &str) -> Result<(), Failed> {
    let host = action.host.as_deref().unwrap_or(address);
    let mut location = Location::new(action.scheme, action.port, &action.path);
    let mut headers = headers(action);
    let asked = one(dialer, action, host, &location, &headers).await;
    match asked {
        Err(Failed::There(why)) if location.scheme == Scheme::Https && why.contains(NO_TLS) => {}
        asked => return asked.map(drop),
    }
    location.scheme = Scheme::Http;
    headers.remove(header::AUTHORIZATION);
    one(dialer, action, host, &location, &headers).await.map(drop)
}

async fn follow<D: Dial>(dialer: &D, action: &HttpGet, host: &str, mut location: Location) -> Result<Answer, Failed> {
    let mut headers = headers(action);
    for _ in 0..=MAX_REDIRECTS {
        let answer = one(dialer, action, host, &location, &headers).await?;
        let status = answer.status();
        let to = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        match to.filter(|_| is_redirect(status)).map(|to| location.follow(host, to)) {
            Some(Redirect::Here { location: next, is_absolute }) => {
                if is_absolute {
                    headers.remove(header::HOST);
                }
                location = next;
            }
            Some(Redirect::Elsewhere) | None => return verdict(status, answer).await,
        }
    }
    Err(Failed::There(format!("stopped after {MAX_REDIRECTS} redirects")))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

async fn verdict(status: StatusCode, answer: Response<Incoming>) -> Result<Answer, Failed> {
    Ok(match status.as_u16() {
        200..300 => {
            beginning(answer).await?;
            Answer::Success
        }
        300..400 => {
            let body = beginning(answer).await?;
            let text = String::from_utf8_lossy(&body);
            Answer::Warning { message: format!("Probe terminated redirects, Response body: {text}") }
        }
        // The body may hold what not everybody who sees events is to see (kubernetes/kubernetes#99425).
        code => Answer::Failure { message: format!("HTTP probe failed with statuscode: {code}") },
    })
}

/// The body, as far as it is read.
async fn beginning(answer: Response<Incoming>) -> Result<Vec<u8>, Failed> {
    let (mut body, mut read) = (answer.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Failed::There(e.to_string()))?;
        let data = frame.into_data().unwrap_or_default();
        let room = MAX_ANSWER_BYTES.saturating_sub(read.len());
        read.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
        if data.len() >= room {
            break;
        }
    }
    Ok(read)
}

/// Asks for one page, over a connection of its own.
async fn one<D: Dial>(
    dialer: &D,
    action: &HttpGet,
    host: &str,
    location: &Location,
    headers: &HeaderMap,
) -> Result<Response<Incoming>, Failed> {
    let there = |e: &dyn std::fmt::Display| Failed::There(e.to_string());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = location.target.parse().map_err(|e| there(&e))?;
    *request.headers_mut() = headers.clone();
    if !headers.contains_key(header::HOST) {
        let name = HeaderValue::from_str(&host_port(host, location.port)).map_err(|e| there(&e))?;
        request.headers_mut().insert(header::HOST, name);
    }
    let connection = dialer.dial(action.host.as_deref(), location.port).await.map_err(|error| match error {
        DialError::Refused(why) => Failed::There(format!("dial tcp {}: {why}", host_port(host, location.port))),
        DialError::Pipe(why) => Failed::Here(why),
    })?;
    match location.scheme {
        Scheme::Http => send(connection, request).await,
        Scheme::Https => send(tls::over(connection, host).await.map_err(Failed::There)?, request).await,
    }
    .map_err(|e| there(&e))
}

async fn send<C>(connection: C, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>>
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection)).await?;
    // It ends with the answer, or when nobody wants the answer any more.
    tokio::spawn(connection);
    sender.send_request(request).await
}

/// The headers that were asked for, and those that are sent anyway.
fn headers(action: &HttpGet) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &action.headers {
        // Both have been checked at admission.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            headers.append(name, value);
        }
    }
    for (name, usual) in [(header::USER_AGENT, USER_AGENT), (header::ACCEPT, "*/*")] {
        match headers.get(&name) {
            // Written out as empty, it is left out.
            Some(value) if value.is_empty() => {
                headers.remove(name);
            }
            Some(_) => {}
            None => {
                headers.insert(name, HeaderValue::from_static(usual));
            }
        }
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers
}

fn url(host: &str, location: &Location) -> String {
    format!("{}://{}{}", location.scheme.as_str(), host_port(host, location.port), location.target)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http_body_util::Full;
    use hyper::service::service_fn;
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::super::dial::TcpDialer;
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// A server that gives each path its answer, and keeps the heads of what it is asked.
    async fn server(tls: Option<TlsAcceptor>) -> (u16, Arc<Mutex<Vec<HeaderMap>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
        let asked = seen.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (asked, tls) = (asked.clone(), tls.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    asked.lock().unwrap().push(request.headers().clone());
                    let answer = Response::builder();
                    let target = request.uri().path_and_query().unwrap().as_str().to_owned();
                    let (answer, body) = match target.as_str() {
                        "/ok?x=1" => (answer, "fine"),
                        "/moved" => (answer.status(302).header("Location", "/ok?x=1"), ""),
                        "/away" => (answer.status(301).header("Location", "http://elsewhere/"), "gone"),
                        "/round" => (answer.status(307).header("Location", "round"), ""),
                        "/absolute" => (answer.status(308).header("Location", format!("//h:{port}/ok?x=1")), ""),
                        _ => (answer.status(503), "secret"),
                    };
                    let answer = answer.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap();
                    async move {
                        if target == "/slow" {
                            std::future::pending::<()>().await;
                        }
                        Ok::<_, Infallible>(answer)
                    }
                });
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    match tls {
                        Some(tls) => {
                            let stream = tls.accept(stream).await.unwrap();
                            let _ = http.serve_connection(TokioIo::new(stream), service).await;
                        }
                        None => {
                            let _ = http.serve_connection(TokioIo::new(stream), service).await;
                        }
                    }
                });
            }
        });
        (port, seen)
    }

    fn page(scheme: Scheme, port: u16, path: &str) -> HttpGet {
        HttpGet { scheme, host: Some("h".into()), port, path: path.into(), headers: vec![] }
    }

    fn failure(message: String) -> Answer {
        Answer::Failure { message }
    }

    #[tokio::test]
    async fn statuses_and_redirects_are_taken_as_the_kubelet_takes_them() {
        let (port, _) = server(None).await;
        let warning = "Probe terminated redirects, Response body: gone";
        for (path, expected) in [
            ("/ok?x=1", Answer::Success),
            ("/moved", Answer::Success),
            ("/absolute", Answer::Success),
            ("/away", Answer::Warning { message: warning.into() }),
            ("/round", failure(format!("Get \"http://h:{port}/round\": stopped after 10 redirects"))),
            ("/", failure("HTTP probe failed with statuscode: 503".into())),
        ] {
            assert_eq!(get(&TcpDialer, &page(Scheme::Http, port, path), "", LONG).await, expected, "{path}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_silent_or_not_there_has_failed() {
        let (port, _) = server(None).await;
        let slow = get(&TcpDialer, &page(Scheme::Http, port, "/slow"), "", Duration::from_millis(50)).await;
        let timeout = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        assert_eq!(slow, failure(format!("Get \"http://h:{port}/slow\": {timeout}")));
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let Answer::Failure { message } = get(&TcpDialer, &page(Scheme::Http, free, "/"), "", LONG).await else {
            panic!()
        };
        assert!(message.starts_with(&format!("Get \"http://h:{free}/\": dial tcp h:{free}: ")), "{message}");
        // One that does not speak HTTP.
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = mute.local_addr().unwrap().port();
        tokio::spawn(async move { drop(mute.accept().await) });
        assert!(matches!(get(&TcpDialer, &page(Scheme::Http, port, "/"), "", LONG).await, Answer::Failure { .. }));
    }

    #[tokio::test]
    async fn headers_are_sent_as_written_and_others_by_default() {
        let (port, seen) = server(None).await;
        let ask = async |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            get(&TcpDialer, &HttpGet { headers, ..page(Scheme::Http, port, "/moved") }, "", LONG).await;
            std::mem::take(&mut *seen.lock().unwrap())
        };
        for heads in ask(&[]).await {
            assert_eq!(heads[header::USER_AGENT], USER_AGENT);
            assert_eq!(heads[header::ACCEPT], "*/*");
            assert_eq!(heads[header::HOST], format!("h:{port}"));
        }
        let heads = ask(&[("Host", "me"), ("X", "1"), ("X", "2"), ("Accept", ""), ("User-Agent", "you")]).await;
        assert_eq!(heads.len(), 2);
        for heads in heads {
            assert_eq!(heads.get_all("x").iter().collect::<Vec<_>>(), ["1", "2"]);
            assert_eq!(
                (heads[header::HOST].as_bytes(), heads[header::USER_AGENT].as_bytes()),
                (&b"me"[..], &b"you"[..])
            );
            assert!(!heads.contains_key(header::ACCEPT));
        }
    }

    #[tokio::test]
    async fn any_certificate_will_do() {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["other".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let (port, _) = server(Some(TlsAcceptor::from(Arc::new(config)))).await;
        assert_eq!(get(&TcpDialer, &page(Scheme::Https, port, "/ok?x=1"), "", LONG).await, Answer::Success);
        let plain = get(&TcpDialer, &page(Scheme::Http, port, "/ok?x=1"), "", LONG).await;
        assert!(matches!(plain, Answer::Failure { .. }), "{plain:?}");
    }

    #[tokio::test]
    async fn any_answer_will_do_for_a_hook_also_one_in_the_clear() {
        let (port, seen) = server(None).await;
        for (scheme, has_it) in [(Scheme::Http, true), (Scheme::Https, false)] {
            let headers = vec![("Authorization".to_owned(), "secret".to_owned())];
            let action = HttpGet { headers, ..page(scheme, port, "/") };
            assert!(any_answer(&TcpDialer, &action, "").await.is_ok(), "503 is an answer");
            let heads = std::mem::take(&mut *seen.lock().unwrap());
            assert_eq!(heads.len(), 1);
            assert_eq!(heads[0].contains_key(header::AUTHORIZATION), has_it);
        }
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let nobody = any_answer(&TcpDialer, &page(Scheme::Https, free, "/"), "").await;
        assert!(matches!(nobody, Err(Failed::There(_))));
    }
}
