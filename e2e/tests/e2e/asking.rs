//! Requests to the API server as they are, for what a typed client cannot say.

use http::Request;
use kube::Client;
use serde_json::Value;

/// What the API server says: an object, or what is wrong.
pub(crate) type Said = Result<Value, String>;

/// One request.
pub(crate) struct Asking<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) url: &'a str,
    pub(crate) content: &'a str,
    /// The user and the groups in whose name it is asked; by default the administrator's.
    pub(crate) user: Option<(&'a str, &'a [&'a str])>,
}

impl Asking<'_> {
    /// Sends it.
    pub(crate) async fn send(&self, client: &Client, body: &Value) -> Said {
        let mut request = Request::builder().method(self.method).uri(self.url).header("content-type", self.content);
        if let Some((user, groups)) = self.user {
            request = request.header("impersonate-user", user);
            request = groups.iter().fold(request, |request, group| request.header("impersonate-group", *group));
        }
        match client.request::<Value>(request.body(serde_json::to_vec(body).unwrap()).unwrap()).await {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(error) => panic!("the API server does not answer: {error}"),
        }
    }
}
