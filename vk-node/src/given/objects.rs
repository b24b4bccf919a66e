//! Watches of single ConfigMaps and Secrets. The Node authorizer lets a node see those that its pods name and no others,
//! each by itself: a list or watch with a field selector for one name.
//!
//! A watch begins with the first pod whose volumes need the object and ends with the last one. What only variables come
//! from is not watched: a variable never changes in a running container, so one GET for each start costs less than the list
//! and the watch that would be held open for it.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Resource};
use kube_runtime::WatchStreamExt;
use kube_runtime::utils::Backoff;
use kube_runtime::watcher::{self, DefaultBackoff, watch_object};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::{debug, warn};
use vk_api_client::chain;
use vk_node_core::sources::{Content, SourceRef};

/// What is known of an object.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// The API server has not answered yet.
    NotYet,
    /// It does not let us see it, or does not answer; it is asked again.
    Unreadable(String),
    /// There is none.
    Gone,
    /// This is in it.
    There(Arc<Content>),
}

/// The objects that are watched.
pub(super) struct Objects {
    client: Client,
    all: Mutex<HashMap<Key, Weak<Watched>>>,
}

/// A namespace, and an object in it.
type Key = (String, SourceRef);

/// An object that is watched for as long as anybody holds this.
pub(super) struct Watched {
    seen: watch::Receiver<Seen>,
    task: AbortHandle,
}

impl Objects {
    pub(super) fn new(client: Client) -> Self {
        Self { client, all: Mutex::default() }
    }

    /// Watches an object, if it is not being watched already.
    pub(super) fn watch(&self, namespace: &str, object: &SourceRef) -> Arc<Watched> {
        let mut all = self.lock();
        let key = (namespace.to_owned(), object.clone());
        if let Some(watched) = all.get(&key).and_then(Weak::upgrade) {
            return watched;
        }
        all.retain(|_, watched| watched.strong_count() > 0);
        let (sender, seen) = watch::channel(Seen::NotYet);
        let client = self.client.clone();
        let task = match object {
            SourceRef::ConfigMap(name) => {
                tokio::spawn(follow(Api::<ConfigMap>::namespaced(client, namespace), name.clone(), sender))
            }
            SourceRef::Secret(name) => {
                tokio::spawn(follow(Api::<Secret>::namespaced(client, namespace), name.clone(), sender))
            }
        };
        let watched = Arc::new(Watched { seen, task: task.abort_handle() });
        all.insert(key, Arc::downgrade(&watched));
        watched
    }

    /// What is known of an object that is being watched.
    pub(super) fn peek(&self, namespace: &str, object: &SourceRef) -> Option<Seen> {
        let watched = self.lock().get(&(namespace.to_owned(), object.clone()))?.upgrade()?;
        Some(watched.seen.borrow().clone())
    }

    /// A panic of another holder leaves the map whole: every change to it is one insertion or removal.
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Watched>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// What is known of it, now and later.
    pub(super) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Tells what becomes of one object, until it cannot change any more.
async fn follow<K>(api: Api<K>, name: String, sender: watch::Sender<Seen>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
    Content: From<K>,
{
    let mut looks = std::pin::pin!(watch_object(api, &name).backoff(QuickAtFirst::default()));
    let mut too_early = 0;
    while let Some(look) = looks.next().await {
        let seen = match look {
            Ok(Some(object)) => Seen::There(Content::from(object).into()),
            Ok(None) => Seen::Gone,
            Err(error) => {
                // What was seen before still stands.
                if matches!(*sender.borrow(), Seen::There(_) | Seen::Gone) {
                    debug!(name, error = chain(&error), "the watch of an object broke; beginning it again");
                    continue;
                }
                if is_too_early(&error) && too_early < QUICK_TRIES {
                    too_early += 1;
                    debug!(
                        name,
                        error = chain(&error),
                        "the API server does not know yet that a pod needs this; trying again"
                    );
                    continue;
                }
                let why = chain(&error);
                warn!(name, "cannot watch what a pod is given: {why}; trying again");
                Seen::Unreadable(why)
            }
        };
        let is_final = matches!(&seen, Seen::There(content) if content.immutable);
        sender.send_if_modified(|before| {
            let is_same = matches!((&*before, &seen), (Seen::Gone, Seen::Gone))
                || matches!((&*before, &seen), (Seen::There(a), Seen::There(b)) if a == b);
            *before = seen;
            !is_same
        });
        // As the kubelet: what is immutable is not watched any longer. Whoever deletes it and makes another of its name
        // has running pods keep what they have.
        if is_final {
            return;
        }
    }
}

/// Whether the Node authorizer does not know yet that a pod of this node needs the object. It has its own watch of the pods,
/// and a node may have heard of a pod before it: that is over in milliseconds.
fn is_too_early(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => {
            status.code == 403 && status.message.contains("no relationship found")
        }
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchError(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => false,
    }
}

/// The usual pauses of a watch, after a few short ones in the beginning.
#[derive(Default)]
struct QuickAtFirst {
    tries: u32,
    then: DefaultBackoff,
}

/// How many pauses are short, and the first of them; each is twice the one before.
const QUICK_TRIES: u32 = 5;
const QUICK: Duration = Duration::from_millis(20);

impl Iterator for QuickAtFirst {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.tries = self.tries.saturating_add(1);
        if self.tries <= QUICK_TRIES { Some(QUICK * (1 << (self.tries - 1))) } else { self.then.next() }
    }
}

impl Backoff for QuickAtFirst {
    /// A watch that breaks later was not too early.
    fn reset(&mut self) {
        self.tries = QUICK_TRIES;
        self.then.reset();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says so that it failed")]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use futures::stream;
    use http::{Request, Response};
    use http_body_util::{BodyExt, Full, StreamBody};
    use hyper::body::Frame;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server with one object of every name, which it lists, and whose watches tell nothing. It counts both.
    fn api_server(immutable: bool) -> (Client, Arc<[AtomicU32; 2]>) {
        let counts: Arc<[AtomicU32; 2]> = Arc::default();
        let counted = counts.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            assert!(query.contains("fieldSelector=metadata.name%3Dm"), "{query}");
            let is_watch = query.contains("watch=true");
            counts[usize::from(is_watch)].fetch_add(1, Ordering::Relaxed);
            let answer = if is_watch {
                StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>()).boxed_unsync()
            } else {
                Full::new(Bytes::from(list(immutable).to_string())).boxed_unsync()
            };
            async { Ok::<_, Infallible>(Response::new(answer)) }
        });
        (Client::new(service, "ns"), counted)
    }

    fn list(immutable: bool) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMapList", "metadata": {"resourceVersion": "1"},
            "items": [{"metadata": {"name": "m", "namespace": "ns"}, "data": {"k": "v"}, "immutable": immutable}],
        })
    }

    async fn there(watched: &Watched) -> Arc<Content> {
        let mut seen = watched.seen();
        let seen = seen.wait_for(|seen| matches!(seen, Seen::There(_))).await.unwrap().clone();
        let Seen::There(content) = seen else { unreachable!() };
        content
    }

    #[tokio::test]
    async fn an_object_is_watched_once_and_for_as_long_as_somebody_needs_it() {
        let (client, counted) = api_server(false);
        let (objects, map) = (Objects::new(client), SourceRef::ConfigMap("m".into()));
        assert!(objects.peek("ns", &map).is_none());
        let (first, second) = (objects.watch("ns", &map), objects.watch("ns", &map));
        assert_eq!(there(&first).await.file("k"), Some(&b"v"[..]));
        assert!(Arc::ptr_eq(&there(&first).await, &there(&second).await));
        assert_eq!(counted[0].load(Ordering::Relaxed), 1);
        drop(first);
        assert!(matches!(objects.peek("ns", &map), Some(Seen::There(_))));
        let mut seen = second.seen();
        drop(second);
        assert!(objects.peek("ns", &map).is_none());
        // The watch ends, and with it what it would have told.
        while seen.changed().await.is_ok() {}
        there(&objects.watch("ns", &map)).await;
        assert_eq!(counted[0].load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_is_immutable_is_read_and_not_watched() {
        let (client, counted) = api_server(true);
        let objects = Objects::new(client);
        let watched = objects.watch("ns", &SourceRef::ConfigMap("m".into()));
        there(&watched).await;
        let mut seen = watched.seen();
        while seen.changed().await.is_ok() {}
        assert_eq!(counted[1].load(Ordering::Relaxed), 0);
        assert!(there(&watched).await.immutable);
    }
}
