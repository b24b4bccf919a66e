//! What is asked of the dashboard, and what it answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Redirect, Response};
use axum::routing::get;
use futures::AsyncReadExt as _;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::LogParams;
use serde::{Deserialize, Serialize};
use vk_api_client::chain;
use vk_cli_core::dashboard::door::{self, Knock, PARAMETER, Token};
use vk_cli_core::dashboard::view::{self, Asked, Table};
use vk_cli_core::explain::story;

use super::sent::{Pieces, Sent};
use super::world::World;
use crate::cluster::Cluster;
use crate::explain::gather;

/// How many lines of a log are shown of what is there already.
const TAIL: i64 = 2000;
/// How much of a log is read at a time.
const CHUNK: usize = 16 * 1024;
/// Nothing of another origin is loaded, run, framed or sent to.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// All that an answer is made of.
pub(super) struct Desk {
    cluster: Cluster,
    world: World,
    token: Token,
    port: u16,
    all_namespaces: bool,
    sent: Sent,
}

impl Desk {
    pub(super) fn new(cluster: Cluster, world: World, token: Token, port: u16, all_namespaces: bool) -> Self {
        Self { cluster, world, token, port, all_namespaces, sent: Sent::default() }
    }

    /// Where one looks, in words.
    fn place(&self) -> String {
        let namespace = if self.all_namespaces {
            "all namespaces".to_owned()
        } else {
            format!("namespace {}", self.cluster.namespace)
        };
        format!("{namespace} on {}", self.cluster.url)
    }

    /// An answer with a table, of whose rows those are sent that the page has not.
    fn told_by_pieces<T: Serialize>(
        &self,
        mut answer: T,
        table: impl FnOnce(&mut T) -> &mut Table,
        since: Option<u64>,
        trouble: Option<String>,
    ) -> Response {
        let rows = table(&mut answer).take_rows();
        self.told(InPieces { answer, pieces: self.sent.pieces(since, rows) }, trouble)
    }

    fn told<T: Serialize>(&self, answer: T, trouble: Option<String>) -> Response {
        Json(Told { answer, r#where: self.place(), trouble }).into_response()
    }
}

/// An answer, and what is said beside each.
#[derive(Serialize)]
struct Told<T> {
    #[serde(flatten)]
    answer: T,
    r#where: String,
    /// What is wrong, if something is: what is shown may be old.
    trouble: Option<String>,
}

/// An answer, and the rows of its table.
#[derive(Serialize)]
struct InPieces<T> {
    #[serde(flatten)]
    answer: T,
    #[serde(flatten)]
    pieces: Pieces,
}

type Here = State<Arc<Desk>>;

/// The pages and what they ask for.
pub(super) fn routes(desk: Desk) -> Router {
    let desk = Arc::new(desk);
    Router::new()
        .route("/", get(|| async { text("text/html; charset=utf-8", include_str!("assets/index.html")) }))
        .route("/style.css", get(|| async { text("text/css; charset=utf-8", include_str!("assets/style.css")) }))
        .route("/page.js", get(|| async { text("text/javascript; charset=utf-8", include_str!("assets/page.js")) }))
        .route("/api/jobs", get(jobs))
        .route("/api/jobs/{namespace}/{name}", get(job))
        .route("/api/nodes", get(nodes))
        .route("/api/fleets", get(fleets))
        .route("/api/logs/{namespace}/{pod}", get(log))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), guard))
        .with_state(desk)
}

fn text(kind: &'static str, body: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], body)
}

/// Lets nobody in but who has the token, and says to browsers what the page may do.
async fn guard(State(desk): Here, request: Request, next: Next) -> Response {
    let mut response = match knocked(&request, &desk) {
        door::Answer::In => next.run(request).await,
        door::Answer::Welcome(cookie) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        door::Answer::Out(why) => (StatusCode::FORBIDDEN, format!("{why}\n")).into_response(),
    };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What the page has already.
#[derive(Deserialize)]
struct Has {
    since: Option<u64>,
}

async fn jobs(State(desk): Here, Query(asked): Query<Asked>, Query(has): Query<Has>) -> Response {
    let seen = &desk.world.jobs;
    seen.first().await;
    let shown = view::jobs(&seen.all(), &asked, desk.all_namespaces, Timestamp::now());
    desk.told_by_pieces(shown, |jobs| &mut jobs.table, has.since, seen.trouble())
}

async fn nodes(State(desk): Here, Query(asked): Query<Asked>, Query(has): Query<Has>) -> Response {
    let World { nodes, pods, .. } = &desk.world;
    futures::join!(nodes.first(), pods.first());
    // Whoever may not see all pods may see the nodes all the same.
    let running = pods.trouble().is_none().then(|| pods.all());
    let shown = view::nodes::<Arc<Node>, Arc<Pod>>(&nodes.all(), running.as_deref(), asked.skip, Timestamp::now());
    desk.told_by_pieces(shown, |nodes| &mut nodes.table, has.since, nodes.trouble())
}

async fn fleets(State(desk): Here, Query(asked): Query<Asked>, Query(has): Query<Has>) -> Response {
    let seen = &desk.world.fleets;
    seen.first().await;
    let shown = view::fleets(&seen.all(), asked.skip);
    desk.told_by_pieces(shown, |fleets| &mut fleets.table, has.since, seen.trouble())
}

async fn job(State(desk): Here, Path((namespace, name)): Path<(String, String)>) -> Response {
    let there = desk.cluster.with_namespace(namespace);
    let told = async {
        let job = there.job(&name).await?;
        let gathered = gather(&there, &job).await?;
        let story = story(&job, &gathered.pods, &gathered.events);
        anyhow::Ok((view::job(story, &gathered.pods), gathered.without_events))
    };
    match told.await {
        Ok((job, trouble)) => desk.told(job, trouble),
        Err(error) => refused(chain(&*error)),
    }
}

/// What a pod's process has written and writes, as it is.
async fn log(State(desk): Here, Path((namespace, pod)): Path<(String, String)>) -> Response {
    let pods: Api<Pod> = Api::namespaced(desk.cluster.client.clone(), &namespace);
    let params = LogParams { follow: true, tail_lines: Some(TAIL), ..LogParams::default() };
    match pods.log_stream(&pod, &params).await {
        Ok(log) => {
            let chunks = stream::unfold(Box::pin(log), |mut log| async move {
                let mut chunk = vec![0; CHUNK];
                match log.read(&mut chunk).await {
                    Ok(0) => None,
                    Ok(read) => {
                        chunk.truncate(read);
                        Some((Ok(chunk), log))
                    }
                    Err(error) => Some((Err(error), log)),
                }
            });
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(chunks.boxed())).into_response()
        }
        Err(error) => refused(chain(&error)),
    }
}

fn knocked(request: &Request, desk: &Desk) -> door::Answer {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let given = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
        .find_map(|(key, value)| (key == PARAMETER).then(|| value.into_owned()));
    let knock = Knock {
        host: header(header::HOST),
        cookies: header(header::COOKIE),
        token: given.as_deref(),
        reads: matches!(*request.method(), Method::GET | Method::HEAD),
    };
    door::answer(knock, &desk.token, desk.port)
}

fn refused(why: String) -> Response {
    (StatusCode::BAD_GATEWAY, why).into_response()
}
