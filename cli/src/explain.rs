//! `explain`.

use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use serde_json::json;
use vk_api_client::chain;
use vk_cli_core::args::{ClusterFlags, Explain};
use vk_cli_core::explain::{HEADINGS, story};
use vk_cli_core::output::{self, Format};
use vk_cmd_crds::{CmdJob, labels};

use crate::cluster::Cluster;
use crate::screen::{print, print_table, print_value, say};

/// What a job's story is told from, beside itself.
pub(crate) struct Gathered {
    pub(crate) pods: Vec<Pod>,
    pub(crate) events: Vec<Event>,
    /// Why there are no events, if they could not be read: the story is told without.
    pub(crate) without_events: Option<String>,
}

/// Asks for all that a job's story is told from.
pub(crate) async fn gather(cluster: &Cluster, job: &CmdJob) -> Result<Gathered> {
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let pods = cluster.namespaced::<Pod>();
    let of_job = ListParams::default().labels(&format!("{}={uid}", labels::JOB_UID));
    let pods = cluster.call("list the job's pods", pods.list(&of_job)).await?.items;
    let (mut events, mut without_events) = (Vec::new(), None);
    let uids = std::iter::once(uid.as_str()).chain(pods.iter().filter_map(|pod| pod.metadata.uid.as_deref()));
    for uid in uids {
        let told = cluster.namespaced::<Event>();
        let about = ListParams::default().fields(&format!("regarding.uid={uid}"));
        match cluster.call("list what was told of it", told.list(&about)).await {
            Ok(list) => events.extend(list.items),
            Err(error) => {
                without_events = Some(format!("without events: {}", chain(&error)));
                break;
            }
        }
    }
    Ok(Gathered { pods, events, without_events })
}

pub(crate) async fn run(flags: &ClusterFlags, args: Explain) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    let job = cluster.job(&args.name).await?;
    let gathered = gather(&cluster, &job).await?;
    gathered.without_events.iter().for_each(|why| say(why));
    let story = story(&job, &gathered.pods, &gathered.events);
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => print_value(format, &json!(story))?,
        Some(Format::Name) => print(&format!("{}\n", output::job_name(&story.name)))?,
        format @ (Some(Format::Wide) | None) => {
            print_table(&HEADINGS, &story.rows(), format.is_some())?;
            print(&format!("\n{}\n", story.summary()))?;
        }
    }
    Ok(0)
}
