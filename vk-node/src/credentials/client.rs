//! A client whose credentials can change while it is used.

use std::sync::{Arc, PoisonError, RwLock};

use http::Request;
use kube::Client;
use kube::client::Body;

/// Where the client of the moment is. A request goes by the one that is there when it is made; what is then open of an
/// earlier one, a watch say, stays open, and its connections end with the last of it.
#[derive(Clone)]
pub(super) struct Switch(Arc<RwLock<Client>>);

impl Switch {
    /// A switch that is at `client`, and a client that always goes where the switch is.
    pub(super) fn new(client: Client) -> (Self, Client) {
        let namespace = client.default_namespace().to_owned();
        let switch = Self(Arc::new(RwLock::new(client)));
        let moment = switch.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let client = moment.get();
            async move { client.send(request).await }
        });
        (switch, Client::new(service, namespace))
    }

    /// Uses this client from now on.
    pub(super) fn set(&self, client: Client) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    /// The client of the moment.
    pub(super) fn get(&self) -> Client {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
