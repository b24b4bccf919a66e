//! The tokens of a pod's ServiceAccount: asked for when a volume needs them, bound to the pod, replaced in good time. They
//! are kept in memory and in the pod's volumes, nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::authentication::v1 as api;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use tracing::warn;
use vk_api_client::chain;
use vk_node_core::admit::{PodKey, TokenRequest};
use vk_node_core::tokens::renew_after;
use vk_record::clock::boot;

use crate::pods::call;

/// The tokens of one pod.
pub(super) struct Tokens {
    api: Api<ServiceAccount>,
    account: String,
    pod: PodKey,
    held: BTreeMap<TokenRequest, Held>,
}

/// A token.
struct Held {
    text: String,
    /// When it is to be replaced, and until when it is valid, by [`boot`]: nobody can set that clock, and it goes on while
    /// the machine sleeps. How long a token is valid is the API server's word; what time it is there need not be ours.
    renew_at: Duration,
    expires_at: Duration,
}

/// What is known of each token: its text, or why there is none.
pub(super) type Texts = BTreeMap<TokenRequest, Result<String, String>>;

impl Tokens {
    pub(super) fn new(client: &Client, account: &str, pod: PodKey) -> Self {
        let api = Api::namespaced(client.clone(), &pod.namespace);
        Self { api, account: account.to_owned(), pod, held: BTreeMap::new() }
    }

    /// The tokens that are asked for, each one valid as far as that could be done. The second value is false when one
    /// could not be renewed.
    pub(super) async fn valid(&mut self, requests: &[TokenRequest]) -> (Texts, bool) {
        let (mut texts, mut all_renewed) = (Texts::new(), true);
        for request in requests {
            let text = match self.held.get(request) {
                Some(held) if !held.is_due() => Ok(held.text.clone()),
                before => match self.ask(request).await {
                    Ok(held) => {
                        let text = held.text.clone();
                        self.held.insert(request.clone(), held);
                        Ok(text)
                    }
                    Err(why) => {
                        all_renewed = false;
                        // The one before does as long as it is valid.
                        match before.filter(|held| held.expires_at > boot()) {
                            Some(held) => {
                                warn!(pod = %self.pod, "a token could not be replaced: {why}; trying again");
                                Ok(held.text.clone())
                            }
                            None => Err(why),
                        }
                    }
                },
            };
            texts.insert(request.clone(), text);
        }
        (texts, all_renewed)
    }

    /// How long none of them needs to be replaced.
    pub(super) fn next_renewal(&self) -> Option<Duration> {
        self.held.values().map(Held::due_in).min()
    }

    async fn ask(&self, request: &TokenRequest) -> Result<Held, String> {
        let wanted = api::TokenRequest {
            spec: Some(api::TokenRequestSpec {
                audiences: request.audience.clone().map(|audience| vec![audience]),
                bound_object_ref: Some(api::BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(self.pod.name.clone()),
                    uid: Some(self.pod.uid.clone()),
                }),
                expiration_seconds: Some(request.expiration_seconds),
            }),
            ..api::TokenRequest::default()
        };
        let asked_at = boot();
        let answer = call(self.api.create_token_request(&self.account, &PostParams::default(), &wanted)).await;
        let made = answer.map_err(|error| chain(&error))?;
        let text = made.status.and_then(|status| status.token).ok_or("the API server's answer holds no token")?;
        // The API server may have made it another than was asked.
        let seconds = made.spec.and_then(|spec| spec.expiration_seconds).unwrap_or(request.expiration_seconds);
        let lifetime = SignedDuration::from_secs(seconds.max(0));
        let renew_after = renew_after(lifetime, &(&self.pod, request));
        let from_then = |time| asked_at.saturating_add(Duration::try_from(time).unwrap_or_default());
        Ok(Held { text, renew_at: from_then(renew_after), expires_at: from_then(lifetime) })
    }
}

impl Held {
    fn is_due(&self) -> bool {
        self.due_in().is_zero()
    }

    fn due_in(&self) -> Duration {
        self.renew_at.saturating_sub(boot())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says so that it failed")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::{Request, Response, StatusCode};
    use jiff::Timestamp;
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    /// An API server that makes tokens `1`, `2` and so on, which are valid for so many seconds; with none, it makes none.
    fn api_server(lifetimes: Vec<Option<i64>>) -> (Client, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let count = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let lifetime = lifetimes.get(usize::try_from(n).unwrap()).copied().flatten();
            async move {
                assert_eq!(request.uri().path(), "/api/v1/namespaces/ns/serviceaccounts/sa/token");
                let asked: Value = serde_json::from_slice(&request.into_body().collect_bytes().await.unwrap()).unwrap();
                let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"});
                assert_eq!(asked["spec"]["boundObjectRef"], bound);
                let (status, answer) = match lifetime {
                    Some(seconds) => {
                        let expires = Timestamp::now() + SignedDuration::from_secs(seconds);
                        let mut spec = asked["spec"].clone();
                        spec["expirationSeconds"] = json!(seconds);
                        let status = json!({"token": (n + 1).to_string(), "expirationTimestamp": expires.to_string()});
                        (StatusCode::CREATED, json!({"spec": spec, "status": status}))
                    }
                    None => (StatusCode::FORBIDDEN, json!({"status": "Failure", "message": "no", "code": 403})),
                };
                let answer = Response::builder().status(status).body(Body::from(answer.to_string().into_bytes()));
                Ok::<_, std::convert::Infallible>(answer.unwrap())
            }
        });
        (Client::new(service, "ns"), asked)
    }

    fn tokens(client: &Client) -> Tokens {
        Tokens::new(client, "sa", PodKey { namespace: "ns".into(), name: "p".into(), uid: "u".into() })
    }

    fn request(audience: Option<&str>) -> TokenRequest {
        TokenRequest { audience: audience.map(str::to_owned), expiration_seconds: 3600 }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_once_in_its_time_and_for_each_audience() {
        let (client, asked) = api_server(vec![Some(3600), Some(3600), None]);
        let mut tokens = tokens(&client);
        assert_eq!(tokens.next_renewal(), None);
        for _ in 0..2 {
            let (texts, all_renewed) = tokens.valid(&[request(None), request(Some("vault"))]).await;
            assert!(all_renewed);
            assert_eq!(texts.values().map(|text| text.as_deref().unwrap()).collect::<Vec<_>>(), ["1", "2"]);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let renewal = tokens.next_renewal().unwrap();
        assert!(renewal <= Duration::from_secs(2880) && renewal >= Duration::from_secs(2800), "{renewal:?}");
    }

    #[tokio::test]
    async fn one_that_cannot_be_replaced_does_as_long_as_it_is_valid() {
        // One of few seconds is to be replaced at once.
        let (client, _) = api_server(vec![None, Some(5), None, Some(5), Some(0), None]);
        let mut tokens = tokens(&client);
        let one = [request(None)];
        for (text, is_new) in
            [(None, false), (Some("2"), true), (Some("2"), false), (Some("4"), true), (Some("5"), true)]
        {
            tokens.held.values_mut().for_each(|held| held.renew_at = Duration::ZERO);
            let (texts, all_renewed) = tokens.valid(&one).await;
            assert_eq!((texts[&one[0]].as_deref().ok(), all_renewed), (text, is_new));
        }
        let (texts, all_renewed) = tokens.valid(&one).await;
        assert!(!all_renewed && texts[&one[0]].as_ref().unwrap_err().contains("no"));
    }
}
