//! Having a certificate signed: the request, and the wait for what becomes of it.

use std::time::Duration;

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use kube_runtime::wait::{Condition, await_condition};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use vk_node_core::certificates::{self, Answer, Seen, Setback, Wanted};

use super::pair::{self, Pair};
use super::store::Store;

/// The longest that one request to the API server may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an approval may take before it is told that one is waited for, and how often that is told again.
const SAY_AFTER: Duration = Duration::from_secs(5);
const SAY_EVERY: Duration = Duration::from_secs(300);

/// Why there is no certificate.
struct Failed {
    setback: Setback,
    why: anyhow::Error,
}

impl From<anyhow::Error> for Failed {
    fn from(why: anyhow::Error) -> Self {
        Self { setback: Setback::Trouble, why }
    }
}

/// Asks for a certificate until there is one, and puts it where it belongs. `client` says by which client to ask, each
/// time anew.
pub(super) async fn obtain(
    client: impl Fn() -> Client,
    wanted: &Wanted,
    store: &Store,
    lifetime: Option<i32>,
) -> (Pair, Seen) {
    let mut in_a_row = 0_u32;
    loop {
        let Failed { setback, why } = match ask(client(), wanted, store, lifetime).await {
            Ok(had) => return had,
            Err(failed) => failed,
        };
        in_a_row = in_a_row.saturating_add(1);
        let pause = certificates::pause(setback, in_a_row);
        warn!("no {} certificate: {why:#}; asking again in {} s", kind(wanted), pause.as_secs());
        sleep(Duration::try_from(pause).unwrap_or_default()).await;
    }
}

async fn ask(client: Client, wanted: &Wanted, store: &Store, lifetime: Option<i32>) -> Result<(Pair, Seen), Failed> {
    let key = store.pending_key()?;
    let (pem, fingerprint) = pair::request(wanted, &key)?;
    let request = certificates::request(wanted, pem, &fingerprint, lifetime);
    let name = request.name_any();
    let requests: Api<CertificateSigningRequest> = Api::all(client);
    match timeout(CALL_TIMEOUT, requests.create(&PostParams::default(), &request)).await {
        Ok(Ok(_)) => info!(request = name, "asked for a {} certificate", kind(wanted)),
        // An earlier run of this node has made it.
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
        Ok(Err(error)) => return Err(anyhow!(error).context("the API server refuses the request").into()),
        Err(_) => return Err(anyhow!("the API server does not answer").into()),
    }
    match wait(&requests, &name, wanted).await? {
        Answer::Signed(certificate) => {
            let certificate = String::from_utf8(certificate).context("what was signed is no PEM");
            let pair = certificate.map(|certificate| Pair::new(certificate, key.serialize_pem()));
            let had = pair.and_then(|pair| {
                let seen = pair.seen()?;
                certificates::usable(&seen, wanted, Timestamp::now())?;
                Ok((pair, seen))
            });
            // The same request would have the same end.
            let (pair, seen) =
                had.inspect_err(|_| store.drop_pending_key()).context("what was signed cannot be used")?;
            store.put(&pair, Timestamp::now())?;
            info!(until = %seen.not_after, "have a new {} certificate", kind(wanted));
            Ok((pair, seen))
        }
        Answer::Refused { why } => {
            store.drop_pending_key();
            Err(Failed { setback: Setback::Refused, why: anyhow!("{name}: {why}") })
        }
        Answer::Gone => Err(anyhow!("somebody has removed the request {name}").into()),
        Answer::Pending { .. } => Err(anyhow!("the request {name} was lost sight of").into()),
    }
}

/// Waits until something has become of the request.
async fn wait(requests: &Api<CertificateSigningRequest>, name: &str, wanted: &Wanted) -> anyhow::Result<Answer> {
    let mut patience = SAY_AFTER;
    loop {
        // Each look begins with the present state, so that nothing is missed between two of them.
        match timeout(patience, await_condition(requests.clone(), name, Decided)).await {
            Ok(seen) => return Ok(certificates::answer(seen.context("cannot watch the request")?.as_ref())),
            Err(_) => info!(
                "still waiting for a {} certificate: somebody must approve it, `kubectl certificate approve {name}`",
                kind(wanted)
            ),
        }
        patience = SAY_EVERY;
    }
}

/// Whether something has become of a request.
struct Decided;

impl Condition<CertificateSigningRequest> for Decided {
    fn matches_object(&self, request: Option<&CertificateSigningRequest>) -> bool {
        !matches!(certificates::answer(request), Answer::Pending { .. })
    }
}

fn kind(wanted: &Wanted) -> &'static str {
    match wanted.purpose {
        vk_cmd_crds::certificates::Purpose::Client => "client",
        vk_cmd_crds::certificates::Purpose::Serving => "serving",
    }
}
