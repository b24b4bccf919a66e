//! A probe that calls `grpc.health.v1.Health/Check`, in the clear: gRPC is HTTP/2 with a frame of five bytes before each
//! message and the status of the call after it.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{Instant, timeout_at};
use vk_node_core::probe::machine::Answer;

use super::dial::{Dial, DialError};
use super::{MAX_ANSWER_BYTES, USER_AGENT, host_port, protobuf, seconds};

/// gRPC's status of a method that is not there.
const UNIMPLEMENTED: &str = "12";

/// Calls. The messages are the kubelet's (pkg/probe/grpc).
pub(super) async fn check<D: Dial>(dialer: &D, port: u16, service: &str, address: &str, within: Duration) -> Answer {
    let by = Instant::now() + within;
    let at = host_port(address, port);
    let connection = match timeout_at(by, dialer.dial(None, port)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(DialError::Pipe(message))) => return Answer::Error { message },
        Ok(Err(DialError::Refused(why))) => {
            return failed(format!("error: failed to connect service at {at:?}: {why}"));
        }
        Err(_) => {
            return failed(format!(
                "timeout: failed to connect service {at:?} within {}: context deadline exceeded",
                seconds(within)
            ));
        }
    };
    match timeout_at(by, call(connection, &at, service)).await {
        Ok(Ok(1)) => Answer::Success,
        Ok(Ok(status)) => failed(format!("service unhealthy (responded with {:?})", protobuf::name(status))),
        Ok(Err(why)) => failed(why),
        Err(_) => failed(format!("timeout: health rpc did not complete within {}", seconds(within))),
    }
}

fn failed(message: String) -> Answer {
    Answer::Failure { message }
}

/// The status that the service answers.
async fn call<C>(connection: C, authority: &str, service: &str) -> Result<u64, String>
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let broken = |e: &dyn std::fmt::Display| format!("error: health rpc probe failed: {e}");
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder.handshake(TokioIo::new(connection)).await.map_err(|e| broken(&e))?;
    // It ends when nobody holds the sender any more.
    tokio::spawn(connection);
    let request = request(authority, service).map_err(|e| broken(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| broken(&e))?;
    read(answer).await
}

fn request(authority: &str, service: &str) -> http::Result<Request<Full<Bytes>>> {
    let message = protobuf::request(service);
    let mut body = BytesMut::with_capacity(message.len() + 5);
    // Not compressed.
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(&message);
    Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, USER_AGENT)
        .body(Full::new(body.freeze()))
}

async fn read(answer: Response<Incoming>) -> Result<u64, String> {
    let broken = |e: &dyn std::fmt::Display| format!("error: health rpc probe failed: {e}");
    if !answer.status().is_success() {
        return Err(broken(&format!("the server answered with HTTP status {}", answer.status())));
    }
    // A call that failed at once has its status among the headers.
    check_status(answer.headers())?;
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|e| broken(&e))?;
    if let Some(trailers) = body.trailers() {
        check_status(trailers)?;
    }
    let bytes = body.to_bytes();
    bytes.get(5..).and_then(protobuf::status).ok_or_else(|| broken(&"the answer is no message"))
}

/// The error that a call has ended with, if it has.
fn check_status(headers: &HeaderMap) -> Result<(), String> {
    let text = |name| headers.get(name).map(HeaderValue::to_str).and_then(Result::ok);
    let message = text("grpc-message").unwrap_or_default();
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(UNIMPLEMENTED) => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Some(code) => Err(format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}")),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::super::dial::TcpDialer;
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// A server of the health protocol: a service is as healthy as its name says.
    async fn server() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service_fn(async |request: Request<Incoming>| {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    assert_eq!(request.headers()[header::CONTENT_TYPE], "application/grpc");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let name = body.get(7..).unwrap_or_default().to_vec();
                    let trailer = |status: &'static str| {
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", HeaderValue::from_static(status));
                        trailers.insert("grpc-message", HeaderValue::from_static("why"));
                        trailers
                    };
                    let (message, status) = match name.as_slice() {
                        b"" => (&[0, 0, 0, 0, 2, 8, 1][..], "0"),
                        b"sick" => (&[0, 0, 0, 0, 2, 8, 2][..], "0"),
                        b"missing" => (&[][..], "5"),
                        b"old" => (&[][..], "12"),
                        b"garbage" => (&[1, 2][..], "0"),
                        _ => std::future::pending().await,
                    };
                    let frames = [
                        Ok::<_, Infallible>(Frame::data(Bytes::from_static(message))),
                        Ok(Frame::trailers(trailer(status))),
                    ];
                    Ok::<_, Infallible>(Response::new(StreamBody::new(futures::stream::iter(frames))))
                });
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        port
    }

    #[tokio::test]
    async fn a_service_is_as_healthy_as_it_says() {
        let port = server().await;
        let check = async |service: &str, within| check(&TcpDialer, port, service, "10.0.0.7", within).await;
        assert_eq!(check("", LONG).await, Answer::Success);
        for (service, message) in [
            ("sick", "service unhealthy (responded with \"NOT_SERVING\")"),
            ("missing", "error: health rpc probe failed: rpc error: code = 5 desc = why"),
            ("old", "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): why"),
            ("garbage", "error: health rpc probe failed: the answer is no message"),
        ] {
            assert_eq!(check(service, LONG).await, failed(message.into()), "{service}");
        }
        let slow = check("slow", Duration::from_secs(1)).await;
        assert_eq!(slow, failed("timeout: health rpc did not complete within 1s".into()));
    }

    #[tokio::test]
    async fn what_is_no_such_server_has_failed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { drop(listener.accept().await) });
        let mute = check(&TcpDialer, port, "", "10.0.0.7", LONG).await;
        assert!(matches!(mute, Answer::Failure { .. }), "{mute:?}");
    }
}
