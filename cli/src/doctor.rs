//! `doctor`.

use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};
use serde_json::json;
use vk_api_client::chain;
use vk_cli_core::args::{ClusterFlags, Doctor};
use vk_cli_core::doctor::{self, Check, HEADINGS, RIGHTS, Right};
use vk_cli_core::output::Format;
use vk_cli_core::{completion, exit, plain};
use vk_cmd_crds::{CmdJob, labels};

use crate::cluster::{Cluster, FIELD_MANAGER};
use crate::screen::{Progress, print, print_table, print_value};
use crate::{cancel, follow, nodes};

/// How long an operator may take with `--try`.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run(flags: &ClusterFlags, args: Doctor) -> Result<u8> {
    let checks = checks(flags, args.attempt).await;
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            print_value(format, &json!({"ok": doctor::is_well(&checks), "checks": checks}))?;
        }
        Some(Format::Name) => print(&checks.iter().map(|check| format!("{}\n", check.id)).collect::<String>())?,
        Some(Format::Wide) | None => {
            let rows: Vec<Vec<String>> = checks.iter().map(Check::row).collect();
            print_table(&HEADINGS, &rows, true)?;
        }
    }
    Ok(if doctor::is_well(&checks) { 0 } else { exit::FAILED })
}

async fn checks(flags: &ClusterFlags, attempt: bool) -> Vec<Check> {
    let mut checks = vec![doctor::completion(is_on_path(completion::PROGRAM))];
    let cluster = match Cluster::of(flags).await {
        Ok(cluster) => cluster,
        Err(error) => {
            checks.push(doctor::kubeconfig(Err(&format!("{error:#}"))));
            return checks;
        }
    };
    checks.push(doctor::kubeconfig(Ok(&cluster.url)));
    let asked = Instant::now();
    let version = cluster.call("ask for the version", cluster.client.apiserver_version()).await;
    let took = SignedDuration::try_from(asked.elapsed()).unwrap_or(SignedDuration::ZERO);
    let words = version.as_ref().map_err(|error| chain(error));
    checks.push(doctor::server(words.as_ref().map(|info| (&*info.major, &*info.minor)).map_err(|why| &**why), took));
    if version.is_err() {
        // Nothing else would be answered either, each after its time limit.
        return checks;
    }
    let group = format!("{}/{}", labels::GROUP, labels::VERSION);
    let served = cluster.call("ask for the kinds", cluster.client.list_api_group_resources(&group)).await;
    let served = served.map(|list| list.resources.into_iter().map(|resource| resource.name).collect::<Vec<_>>());
    checks.extend(doctor::kinds(
        served.as_deref().map_err(|error| chain(error)).as_ref().map(|all| *all).map_err(|why| &**why),
    ));
    checks.push(operator(&cluster, attempt).await);
    let found = nodes::of_vk_cmd(&cluster, None).await.map_err(|error| format!("{error:#}"));
    checks.push(doctor::nodes(found.as_deref().map_err(|why| &**why)));
    checks.extend(futures::future::join_all(RIGHTS.iter().map(|right| may(&cluster, right))).await);
    checks
}

async fn operator(cluster: &Cluster, attempt: bool) -> Check {
    if attempt {
        let took = tokio::time::timeout(PATIENCE, tried(cluster)).await;
        let took = took.unwrap_or_else(|_| Err(format!("it has not looked at a job within {} s", PATIENCE.as_secs())));
        return doctor::tried(took.as_ref().copied().map_err(|why| &**why));
    }
    let jobs = cluster.chosen(&[], None).await.map_err(|error| format!("{error:#}"));
    doctor::operator(jobs.as_deref().map_err(|why| &**why), Timestamp::now())
}

/// Makes a job that is held, and waits until an operator says so.
async fn tried(cluster: &Cluster) -> Result<SignedDuration, String> {
    let words = |error: anyhow::Error| format!("{error:#}");
    // The node need not be there: nothing of a job that is held is placed.
    let spec =
        json!({"target": {"node": "vk-doctor"}, "command": ["true"], "suspend": true, "ttlSecondsAfterFinished": 0});
    let name = format!("doctor-{:08x}", fastrand::u32(..));
    let object = json!({"apiVersion": format!("{}/{}", labels::GROUP, labels::VERSION), "kind": labels::KIND, "metadata": {"name": name}, "spec": spec});
    let job: CmdJob = serde_json::from_value(object).map_err(|error| error.to_string())?;
    let params = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
    let jobs = cluster.jobs();
    let made =
        cluster.call("make a job that is held", jobs.create(&params, &job)).await.map_err(|error| chain(&error))?;
    let begun = Instant::now();
    let quiet = Progress::silent();
    let seen = follow::until(cluster, &name, &quiet, |job| {
        job.filter(|job| job.status.as_ref().is_some_and(|status| status.state.is_some())).map(|_| ())
    });
    let seen = tokio::time::timeout(PATIENCE.mul_f32(0.75), seen).await;
    let took = SignedDuration::try_from(begun.elapsed()).unwrap_or(SignedDuration::ZERO);
    cancel::end_quickly(cluster, plain::name(&made), made.metadata.uid.as_deref()).await.map_err(words)?;
    match seen {
        Ok(seen) => seen.map(|()| took).map_err(words),
        Err(_) => Err("it has not looked at a job that was made for it; that has been deleted again".to_owned()),
    }
}

async fn may(cluster: &Cluster, right: &Right) -> Check {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let asked = ResourceAttributes {
        verb: text(right.verb),
        group: Some(right.group.to_owned()),
        resource: text(right.resource),
        subresource: text(right.subresource),
        namespace: right.namespaced.then(|| cluster.namespace.clone()),
        ..ResourceAttributes::default()
    };
    let spec =
        SelfSubjectAccessReviewSpec { resource_attributes: Some(asked), ..SelfSubjectAccessReviewSpec::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = cluster.call("ask what we may", api.create(&PostParams::default(), &review)).await;
    let answer = answer.map(|review| review.status.is_some_and(|status| status.allowed)).map_err(|error| chain(&error));
    doctor::may(right, &cluster.namespace, answer.as_ref().copied().map_err(|why| &**why))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
