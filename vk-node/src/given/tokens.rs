//! The tokens of a pod's ServiceAccount: asked for when a volume needs them, bound to the pod, replaced in good time. They
//! are kept in memory and in the pod's volumes, nowhere else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1 as api;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::{Api, Client};
use tracing::warn;
use vk_node_core::admit::{PodKey, TokenRequest};
use vk_node_core::tokens::renew_after;

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
    /// When it is to be replaced, by both clocks: the one may be set, the other stands still while the machine sleeps.
    renew_at: (Timestamp, Instant),
    expires_at: Timestamp,
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
                        match before.filter(|held| held.expires_at > Timestamp::now()) {
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
        let asked_at = (Timestamp::now(), Instant::now());
        let answer = call(self.api.create_token_request(&self.account, &PostParams::default(), &wanted)).await;
        let made = answer.map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
        let (text, expires_at) = made
            .status
            .and_then(|status| Some((status.token?, status.expiration_timestamp?.0)))
            .ok_or("the API server's answer holds no token")?;
        // The API server may have made it another than was asked.
        let seconds = made.spec.and_then(|spec| spec.expiration_seconds).unwrap_or(request.expiration_seconds);
        let lifetime = SignedDuration::from_secs(seconds.max(0));
        let renew_after = renew_after(lifetime, &(&self.pod, request));
        let wait = Duration::try_from(renew_after).unwrap_or_default();
        Ok(Held {
            text,
            renew_at: (asked_at.0 + renew_after, asked_at.1.checked_add(wait).unwrap_or(asked_at.1)),
            expires_at,
        })
    }
}

impl Held {
    fn is_due(&self) -> bool {
        self.due_in().is_zero()
    }

    fn due_in(&self) -> Duration {
        let by_time = self.renew_at.0.duration_since(Timestamp::now());
        let by_time = Duration::try_from(by_time).unwrap_or_default();
        by_time.min(self.renew_at.1.saturating_duration_since(Instant::now()))
    }
}
