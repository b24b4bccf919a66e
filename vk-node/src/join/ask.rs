//! Asks the API server whether it takes the token, over a connection that only the authorities in the token vouch for.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{Api, PostParams};
use kube::config::AuthInfo;
use kube::{Client, Config};
use tokio::time::timeout;
use vk_api_client::Unusable;
use vk_cmd_crds::join::JoinToken;
use vk_node_core::join::{self, Problem};

/// The longest that a connection may take to come up, and the answer.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(20);

/// Asks.
pub(super) async fn ask(token: &JoinToken) -> anyhow::Result<()> {
    let mut config = Config::new(token.server.parse().context("the URL in the join token cannot be read")?);
    config.root_cert = Some(token.authorities.clone());
    config.auth_info = AuthInfo { token: Some(token.token.bearer().into()), ..AuthInfo::default() };
    (config.connect_timeout, config.read_timeout) = (Some(CONNECT), Some(ANSWER));
    let client: Client = match vk_api_client::client(&config) {
        Ok(client) => client,
        Err(error @ Unusable::Proxy(_)) => return Err(error.into()),
        Err(error @ (Unusable::Credentials(_) | Unusable::ServerName(_))) => {
            return Err(anyhow!(error).context("the authorities in the join token cannot be used: have a new one made"));
        }
    };
    let reviews: Api<SelfSubjectReview> = Api::all(client);
    let asked = timeout(ANSWER, reviews.create(&PostParams::default(), &SelfSubjectReview::default())).await;
    let unreachable = || Problem::Unreachable { server: token.server.clone() };
    let review = match asked {
        Ok(Ok(review)) => review,
        Ok(Err(kube::Error::Api(status))) => return Err(join::refused(token, status.code, &status.message).into()),
        Ok(Err(error)) if is_untrusted(&error) => {
            return Err(anyhow!(error).context(Problem::Untrusted { server: token.server.clone() }));
        }
        Ok(Err(error)) => return Err(anyhow!(error).context(unreachable())),
        Err(_) => return Err(anyhow!("it has not answered within {} s", ANSWER.as_secs()).context(unreachable())),
    };
    let groups = review.status.and_then(|status| status.user_info?.groups).unwrap_or_default();
    Ok(join::known_as(token, &groups)?)
}

/// Whether it is the server's certificate that was refused.
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // The source of an error around another may be that of the other, and not the other.
        let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>();
        let of_io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match (shared, of_io) {
            (Some(shared), _) => Some(&**shared),
            (None, Some(inner)) => Some(inner),
            (None, None) => error.source(),
        };
    }
    false
}
