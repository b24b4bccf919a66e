//! The requests to the API server, counted by what came of them: client-go's `rest_client_requests_total`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use vk_node_core::stats::text::{FamilyKind, Text};

/// The counts of one API server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    /// Its host and port.
    host: Arc<str>,
    /// By code and method.
    counts: Arc<Mutex<BTreeMap<(String, String), u64>>>,
}

impl Requests {
    pub(super) fn new(host: &str) -> Self {
        Self { host: host.into(), counts: Arc::default() }
    }

    /// A client by which `client` is asked, and that is counted.
    pub(super) fn counted(&self, client: Client) -> Client {
        let (namespace, requests) = (client.default_namespace().to_owned(), self.clone());
        let counted = tower::service_fn(move |request: Request<Body>| {
            let (client, requests) = (client.clone(), requests.clone());
            let method = request.method().clone();
            async move {
                let answer = client.send(request).await;
                requests.count(&method, answer.as_ref().ok().map(Response::status));
                answer
            }
        });
        Client::new(counted, namespace)
    }

    /// As client-go has it: what has no answer has the code `<error>`.
    fn count(&self, method: &http::Method, code: Option<http::StatusCode>) {
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.as_str().to_owned());
        // A panic of another holder leaves the map whole.
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((code, method.as_str().to_owned())).or_default() += 1;
    }

    /// Writes them down.
    pub(crate) fn write(&self, text: &mut Text) {
        let help = "Number of HTTP requests, partitioned by status code, method, and host.";
        let mut family = text.family("rest_client_requests_total", help, FamilyKind::Counter);
        for ((code, method), count) in &*self.counts.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = [("code", code.as_str()), ("host", &self.host), ("method", method)];
            #[expect(clippy::cast_precision_loss, reason = "the format knows no other numbers")]
            family.sample(&labels, *count as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_and_failures_are_counted() {
        let service = tower::service_fn(|request: Request<Body>| async move {
            match request.uri().path() {
                "/gone" => Response::builder().status(404).body(Body::empty()).map_err(std::io::Error::other),
                "/ok" => Ok(Response::new(Body::empty())),
                _ => Err(std::io::Error::other("no connection")),
            }
        });
        let requests = Requests::new("10.0.0.1:6443");
        let client = requests.counted(Client::new(service, "default"));
        for (method, path) in [("GET", "/ok"), ("GET", "/ok"), ("PATCH", "/gone"), ("POST", "/broken")] {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            let _ = client.send(request).await;
        }
        let mut text = Text::default();
        requests.write(&mut text);
        let expected = "\
# HELP rest_client_requests_total Number of HTTP requests, partitioned by status code, method, and host.
# TYPE rest_client_requests_total counter
rest_client_requests_total{code=\"200\",host=\"10.0.0.1:6443\",method=\"GET\"} 2
rest_client_requests_total{code=\"404\",host=\"10.0.0.1:6443\",method=\"PATCH\"} 1
rest_client_requests_total{code=\"<error>\",host=\"10.0.0.1:6443\",method=\"POST\"} 1
";
        assert_eq!(text.into_string(), expected);
    }
}
