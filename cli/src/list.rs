//! `list`.

use std::collections::BTreeMap;

use anyhow::Result;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube_runtime::WatchStreamExt as _;
use kube_runtime::watcher::{self, Event};
use vk_cli_core::args::{ClusterFlags, List};
use vk_cli_core::output::{self, Format};
use vk_cli_core::progress::Teller;
use vk_cli_core::{list, plain};
use vk_cmd_crds::CmdJob;

use crate::cluster::Cluster;
use crate::follow;
use crate::screen::{Progress, print, print_table, print_value, say};

pub(crate) async fn run(flags: &ClusterFlags, args: List) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    if args.watch {
        return watch(&cluster, &args).await;
    }
    let mut jobs = if args.all_namespaces {
        let all: Api<CmdJob> = Api::all(cluster.client.clone());
        let listed = cluster.call("list jobs", all.list(&params(&args))).await;
        listed.map_err(|error| cluster.no_job("", error))?.items
    } else {
        cluster.chosen(&args.names, args.selector.as_deref()).await?
    };
    jobs.retain(|job| !args.active || list::is_active(job));
    // The oldest first, as squeue: the last ones stand above the prompt.
    jobs.sort_by_key(|job| (job.metadata.creation_timestamp.clone(), plain::name(job).to_owned()));
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            print_value(format, &output::list(&jobs, args.names.len() == 1))?
        }
        Some(Format::Name) => {
            print(&jobs.iter().map(|job| format!("{}\n", output::job_name(plain::name(job)))).collect::<String>())?;
        }
        format @ (Some(Format::Wide) | None) => {
            if jobs.is_empty() {
                say(&format!(
                    "no CmdJobs in {}",
                    if args.all_namespaces { "any namespace" } else { &cluster.namespace }
                ));
            } else {
                show(&jobs, args.all_namespaces, format.is_some())?;
            }
        }
    }
    Ok(0)
}

fn params(args: &List) -> ListParams {
    args.selector.as_deref().map_or_else(ListParams::default, |labels| ListParams::default().labels(labels))
}

fn show(jobs: &[CmdJob], with_namespace: bool, is_wide: bool) -> Result<()> {
    let now = Timestamp::now();
    let mut headings = list::HEADINGS.to_vec();
    let mut rows: Vec<Vec<String>> = jobs.iter().map(|job| list::row(job, now)).collect();
    if with_namespace {
        headings.insert(0, "NAMESPACE");
        for (row, job) in rows.iter_mut().zip(jobs) {
            row.insert(0, job.metadata.namespace.clone().unwrap_or_default());
        }
    }
    print_table(&headings, &rows, is_wide)
}

/// A line for each job that is there, and then for each change, until somebody ends it.
async fn watch(cluster: &Cluster, args: &List) -> Result<u8> {
    let api: Api<CmdJob> = if args.all_namespaces { Api::all(cluster.client.clone()) } else { cluster.jobs() };
    let mut config = watcher::Config::default();
    if let Some(labels) = &args.selector {
        config = config.labels(labels);
    }
    let is_meant = |job: &CmdJob| args.names.is_empty() || args.names.iter().any(|name| name == plain::name(job));
    let progress = Progress::silent();
    let mut tellers: BTreeMap<String, Teller> = BTreeMap::new();
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let (job, is_there) = match event {
            Ok(Event::Apply(job) | Event::InitApply(job)) => (job, true),
            Ok(Event::Delete(job)) => (job, false),
            Ok(Event::Init | Event::InitDone) => continue,
            Err(error) => {
                follow::tolerate(error, &progress)?;
                continue;
            }
        };
        if !is_meant(&job) || (args.active && !list::is_active(&job)) {
            continue;
        }
        let key = format!("{}/{}", job.metadata.namespace.as_deref().unwrap_or_default(), plain::name(&job));
        let told = tellers.entry(key.clone()).or_default().tell(plain::name(&job), is_there.then_some(&job));
        match (told, args.output.output) {
            (None, _) => {}
            // An object on each line, so that a program can read them as they come.
            (Some(_), Some(Format::Json)) => print(&format!("{}\n", serde_json::to_string(&job)?))?,
            (Some(_), Some(Format::Yaml)) => {
                print("---\n")?;
                print_value(Format::Yaml, &output::list(std::slice::from_ref(&job), true))?;
            }
            (Some(_), Some(Format::Name)) => print(&format!("{}\n", output::job_name(plain::name(&job))))?,
            (Some(line), Some(Format::Wide) | None) => print(&format!("{line}\n"))?,
        }
        if !is_there {
            tellers.remove(&key);
        }
    }
    Ok(0)
}
