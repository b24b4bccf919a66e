//! The client against servers on this machine.

mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::{Client, Config};

use crate::{Ended, Limits, Unusable, client_by_socket, limited, observed};
use server::{Order, Server, Setup};

const LONG: Duration = Duration::from_secs(60);

fn get(path: &str) -> Request<Vec<u8>> {
    Request::get(path).body(Vec::new()).unwrap()
}

fn client(config: &Config) -> Client {
    limited(config, Limits::of(config)).unwrap()
}

/// An answer that goes on, as a watch does.
struct Watch(Body);

impl Watch {
    async fn open(client: &Client) -> Self {
        let answer = client.send(get("/watch").map(Body::from)).await.unwrap();
        let mut watch = Self(answer.into_body());
        assert_eq!(watch.next().await.unwrap().unwrap(), "first\n");
        watch
    }

    async fn next(&mut self) -> Option<Result<String, kube::Error>> {
        let frame = tokio::time::timeout(LONG, self.0.frame()).await.expect("something comes")?;
        Some(frame.map(|frame| String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()))
    }
}

#[tokio::test]
async fn a_thousand_watches_go_by_as_many_connections_as_the_server_demands() {
    let server = Server::start(Setup { streams: Some(50), ..Setup::default() }).await;
    let idle = Duration::from_secs(3);
    let client = limited(&server.config(), Limits { idle, ..Limits::of(&server.config()) }).unwrap();
    let watches = join_all((0..1000).map(|_| Watch::open(&client))).await;
    assert_eq!(server.opened(), 20);
    // All are full: another one is opened for a request.
    assert_eq!(client.request_text(get("/say")).await.unwrap(), "HTTP/2.0");
    assert_eq!(server.opened(), 21);
    // What a watch held is free when it is dropped; connections that nobody uses are closed.
    drop(watches);
    let again = join_all((0..50).map(|_| Watch::open(&client))).await;
    assert_eq!(server.opened(), 21);
    server.until_open(1).await;
    drop(again);
    server.until_open(0).await;
    assert_eq!(client.request_text(get("/say")).await.unwrap(), "HTTP/2.0");
}

#[tokio::test]
async fn requests_by_turns_share_one_connection() {
    let server = Server::start(Setup::default()).await;
    let client = client(&server.config());
    for _ in 0..300 {
        client.request_text(get("/say")).await.unwrap();
    }
    try_join_all((0..100).map(|_| client.request_text(get("/say")))).await.unwrap();
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn a_slow_reader_does_not_stop_the_others() {
    let server = Server::start(Setup::default()).await;
    let client = client(&server.config());
    // 64 answers of a mebibyte each that nobody reads are more than what a connection has on the way by default.
    let unread =
        join_all((0..64).map(|_| async { client.send(get("/much").map(Body::from)).await.unwrap().into_body() })).await;
    let text = tokio::time::timeout(LONG, client.request_text(get("/much"))).await.unwrap().unwrap();
    assert_eq!(text.len(), server::MUCH);
    assert_eq!(server.opened(), 1);
    for body in unread {
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), server::MUCH);
    }
}

#[tokio::test]
async fn a_server_that_goes_away_ends_what_is_under_way_in_peace() {
    let server = Server::start(Setup::default()).await;
    let client = client(&server.config());
    let mut watch = Watch::open(&client).await;
    server.order(Order::Leave);
    // No request fails, whenever it is made: before the word has come, or after.
    for _ in 0..20 {
        try_join_all((0..20).map(|_| client.request_text(get("/say")))).await.unwrap();
    }
    assert_eq!(server.opened(), 2);
    server.order(Order::Speak);
    assert_eq!(watch.next().await.unwrap().unwrap(), "second\n");
}

#[tokio::test]
async fn a_server_that_goes_away_all_the_time_loses_no_request() {
    let server = Server::start(Setup { requests: Some(7), ..Setup::default() }).await;
    let client = client(&server.config());
    for _ in 0..20 {
        let answers = try_join_all((0..20).map(|_| {
            let post = Request::post("/say").body(b"something".to_vec()).unwrap();
            client.request_text(post)
        }));
        answers.await.unwrap();
    }
    assert!(server.opened() >= 5, "{}", server.opened());
}

#[tokio::test]
async fn a_request_that_the_server_refused_to_look_at_is_sent_again() {
    let server = Server::start(Setup { refuses: true, ..Setup::default() }).await;
    let client = client(&server.config());
    let post = Request::post("/say").body(b"something".to_vec()).unwrap();
    assert_eq!(client.request_text(post).await.unwrap(), "at last");
    assert_eq!(server.opened(), 1);
}

#[tokio::test]
async fn a_connection_that_is_dead_is_noticed() {
    let server = Server::start(Setup::default()).await;
    let (ask_after, answer_within) = (Duration::from_millis(100), Duration::from_secs(2));
    let limits = Limits { ask_after, answer_within, ..Limits::of(&server.config()) };
    let client = limited(&server.config(), limits).unwrap();
    let mut watch = Watch::open(&client).await;
    // It stays open, and nothing comes any more, not even what answers a PING.
    server.order(Order::Freeze);
    watch.next().await.unwrap().unwrap_err();
    assert_eq!(client.request_text(get("/say")).await.unwrap(), "HTTP/2.0");
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_connection_that_is_lost_is_followed_by_another() {
    let server = Server::start(Setup::default()).await;
    let client = client(&server.config());
    let mut watch = Watch::open(&client).await;
    server.order(Order::Drop);
    watch.next().await.unwrap().unwrap_err();
    Watch::open(&client).await;
    assert_eq!(server.opened(), 2);
}

#[tokio::test]
async fn a_server_without_http2_is_spoken_to_in_http1() {
    for setup in [Setup { is_http1: true, ..Setup::default() }, Setup { is_plain: true, ..Setup::default() }] {
        let server = Server::start(setup).await;
        let client = client(&server.config());
        let watches = join_all((0..20).map(|_| Watch::open(&client))).await;
        assert_eq!(client.request_text(get("/say")).await.unwrap(), "HTTP/1.1");
        drop(watches);
        // A burst does not leave as many connections behind.
        try_join_all((0..20).map(|_| client.request_text(get("/say")))).await.unwrap();
        server.until_open(8).await;
    }
}

#[tokio::test]
async fn silence_has_an_end() {
    for is_http1 in [false, true] {
        let server = Server::start(Setup { is_http1, ..Setup::default() }).await;
        let mut config = server.config();
        config.read_timeout = Some(Duration::from_secs(2));
        let client = client(&config);
        let mut watch = Watch::open(&client).await;
        watch.next().await.unwrap().unwrap_err();
        tokio::time::timeout(LONG, client.request_text(get("/never"))).await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_leaves_its_place() {
    let server = Server::start(Setup { streams: Some(2), ..Setup::default() }).await;
    let client = client(&server.config());
    for _ in 0..20 {
        let never = client.request_text(get("/never"));
        tokio::time::timeout(Duration::from_millis(10), never).await.unwrap_err();
        assert_eq!(client.request_text(get("/say")).await.unwrap(), "HTTP/2.0");
    }
    assert!(server.opened() <= 2, "{}", server.opened());
}

#[tokio::test]
async fn who_cannot_connect_is_told_why() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut config = Config::new(url.parse().unwrap());
    config.root_cert = Some(Vec::new());
    let client = client(&config);
    let answers = join_all((0..3).map(|_| client.request_text(get("/say")))).await;
    for answer in answers {
        let mut error: &dyn std::error::Error = &answer.unwrap_err();
        let mut told = error.to_string();
        while let Some(source) = error.source() {
            error = source;
            told = format!("{told}: {error}");
        }
        assert!(told.contains(&url) && told.contains("Connection refused"), "{told}");
    }
}

#[tokio::test]
async fn a_server_that_is_another_is_not_spoken_to() {
    let server = Server::start(Setup::default()).await;
    let other = Server::start(Setup::default()).await;
    let mut config = server.config();
    config.root_cert = other.config().root_cert;
    let error = client(&config).request_text(get("/say")).await.unwrap_err();
    assert!(
        format!("{error:?}").contains("UnknownIssuer") || format!("{error:?}").contains("BadSignature"),
        "{error:?}"
    );
}

#[tokio::test]
async fn who_asks_is_told_how_requests_end() {
    let server = Server::start(Setup::default()).await;
    let all = Arc::new(Mutex::new(Vec::<Ended>::new()));
    let told = Arc::clone(&all);
    let client = observed(&server.config(), Arc::new(move |ended| told.lock().unwrap().push(ended.clone()))).unwrap();
    client.request_text(get("/say")).await.unwrap();
    let ended =
        Ended { method: http::Method::GET, host: server.address().to_string(), code: Some(http::StatusCode::OK) };
    assert_eq!(all.lock().unwrap().last(), Some(&ended));
    // One that nobody waits for any more; it may not have been sent by then.
    let unanswered = Ended { code: None, ..ended };
    while all.lock().unwrap().last() != Some(&unanswered) {
        let never = client.request_text(get("/never"));
        tokio::time::timeout(Duration::from_millis(10), never).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_socket_that_is_forwarded_is_waited_for_and_leads_to_the_server_of_the_kubeconfig() {
    let server = Server::start(Setup::default()).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let config = server.config();
    let client = client_by_socket(&config, &socket).unwrap();
    let forwarded = async {
        // As after a cut, it comes when the request is already waiting.
        tokio::time::sleep(Duration::from_millis(200)).await;
        server::forward(&socket, server.address());
    };
    let (answer, ()) = tokio::join!(client.request_text(get("/say")), forwarded);
    assert_eq!(answer.unwrap(), "HTTP/2.0");
    // Whoever is at its other end must be that server.
    let mut other = Server::start(Setup::default()).await.config();
    other.cluster_url = config.cluster_url;
    client_by_socket(&other, &socket).unwrap().request_text(get("/say")).await.unwrap_err();
}

#[tokio::test]
async fn a_socket_that_nobody_forwards_is_told() {
    let server = Server::start(Setup::default()).await;
    let mut config = server.config();
    config.connect_timeout = Some(Duration::from_millis(200));
    let client = client_by_socket(&config, std::path::Path::new("/no/such.sock")).unwrap();
    let error = client.request_text(get("/say")).await.unwrap_err();
    assert!(format!("{error:?}").contains("/no/such.sock"), "{error:?}");
}

#[tokio::test]
async fn proxies_are_gone_through() {
    let server = Server::start(Setup::default()).await;
    let (proxy, asked) = server::proxy().await;
    let mut config = server.config();
    config.proxy_url = Some(format!("http://me:se%20cret@{proxy}").parse().unwrap());
    assert_eq!(client(&config).request_text(get("/say")).await.unwrap(), "HTTP/2.0");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with(&format!("CONNECT {}", server.address())), "{asked}");
    // base64 of `me:se cret`.
    assert!(
        asked.to_lowercase().contains("proxy-authorization: basic") && asked.contains("bWU6c2UgY3JldA=="),
        "{asked}"
    );

    config.proxy_url = Some("ftp://user:secret@somewhere".parse().unwrap());
    let error = limited(&config, Limits::of(&config)).err().unwrap();
    assert!(matches!(&error, Unusable::Proxy(proxy) if proxy == "ftp://somewhere"), "{error}");
}
