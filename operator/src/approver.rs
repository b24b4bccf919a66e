//! Approves the certificate requests of vk-nodes. Which of them is decided in [`vk_operator_core::csr`].

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use kube::runtime::controller::{Action, Controller, Error};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use tracing::{debug, info, warn};
use vk_cmd_crds::certificates::Purpose;
use vk_cmd_crds::{CmdFleet, NodeName};
use vk_operator_core::csr::{self, Decision};

use crate::api::{CallError, call, post_params};

/// How soon a request is looked at again that may become right: its Node is being made, or is going away.
const LATER: Duration = Duration::from_secs(5);
/// How soon a request is looked at again that may become right when somebody changes a fleet.
const NOW_AND_THEN: Duration = Duration::from_secs(20);
/// The wait after an error.
const PAUSE: Duration = Duration::from_secs(5);

/// How many fleets of one token are looked at: those that we make are of one.
const FLEETS: usize = 4;

/// Which requests are approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// Those for serving certificates.
    pub serving: bool,
    /// Those for client certificates: the first of a node, by a bootstrap token, and the next ones.
    pub clients: bool,
}

/// Approves, for ever.
pub async fn run(client: Client, approvals: Approvals) {
    let chosen = [(approvals.serving, Purpose::Serving), (approvals.clients, Purpose::Client)];
    let all = chosen.into_iter().filter(|(is_on, _)| *is_on).map(|(_, purpose)| approve(client.clone(), purpose));
    futures::future::join_all(all).await;
    // None is chosen.
    std::future::pending().await
}

async fn approve(client: Client, purpose: Purpose) {
    let signer = purpose.signer();
    let watched = watcher::Config::default().fields(&format!("spec.signerName={signer}"));
    Controller::new(Api::<CertificateSigningRequest>::all(client.clone()), watched)
        .run(reconcile, |_, _, _| Action::requeue(PAUSE), Arc::new(client))
        .for_each(|result| {
            match result {
                Ok((request, action)) => debug!(%request, ?action, "looked at"),
                Err(Error::ObjectNotFound(request)) => debug!(%request, "gone"),
                Err(Error::ReconcilerFailed(error, request)) => {
                    warn!(request = request.name, "cannot approve: {:#}; trying again", anyhow::Error::from(error));
                }
                Err(error) => warn!(signer, "watching certificate requests: {:#}", anyhow::Error::from(error)),
            }
            std::future::ready(())
        })
        .await;
}

async fn reconcile(request: Arc<CertificateSigningRequest>, client: Arc<Client>) -> Result<Action, CallError> {
    let client = client.as_ref().clone();
    let node = match csr::node_to_look_at(&request) {
        Some(name) => {
            let nodes: Api<Node> = Api::all(client.clone());
            call("read a node", nodes.get_opt(name.as_str())).await?
        }
        None => None,
    };
    let mut fleets = Vec::new();
    for fleet in csr::fleets_to_look_at(&request).into_iter().take(FLEETS) {
        let there: Api<CmdFleet> = Api::all(client.clone());
        fleets.extend(call("read a CmdFleet", there.get_opt(fleet)).await?);
    }
    let name = request.name_any();
    match csr::decide(&request, node.as_ref(), &fleets) {
        Decision::Nothing => Ok(Action::await_change()),
        Decision::Approve(node) => {
            approve_one(&client, request.as_ref().clone(), &node).await?;
            info!(request = name, %node, signer = request.spec.signer_name, "approved");
            Ok(Action::await_change())
        }
        Decision::Later(why) => {
            debug!(request = name, "not yet approved: {why}");
            Ok(Action::requeue(LATER))
        }
        Decision::Mend(why) => {
            info!(request = name, signer = request.spec.signer_name, "not approved: {why}");
            Ok(Action::requeue(NOW_AND_THEN))
        }
        Decision::Leave(why) => {
            info!(request = name, signer = request.spec.signer_name, "left for people to approve or deny: {why}");
            Ok(Action::await_change())
        }
    }
}

/// Approves a request as it was looked at: if it has changed since, the API server refuses.
async fn approve_one(
    client: &Client,
    mut request: CertificateSigningRequest,
    node: &NodeName,
) -> Result<(), CallError> {
    let condition = CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("VkCmdApproved".to_owned()),
        message: Some(format!("vk-operator has approved this certificate of {node}")),
        last_update_time: Some(Time(Timestamp::now())),
        ..CertificateSigningRequestCondition::default()
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let (name, params) = (request.name_any(), post_params());
    let written = requests.replace_subresource("approval", &name, &params, &request);
    call("approve a certificate request", written).await.map(drop)
}
