//! `list`.

use std::collections::{BTreeMap, BTreeSet};

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
use crate::follow::Trouble;
use crate::screen::{print, print_table, print_value, say};

pub(crate) async fn run(flags: &ClusterFlags, args: List) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    if args.watch {
        return watch(&cluster, &args).await;
    }
    let mut jobs = if args.all_namespaces {
        let all: Api<CmdJob> = Api::all(cluster.client.clone());
        cluster.all("list jobs", &all, params(&args)).await.map_err(|error| cluster.no_job("", error))?
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
    let mut trouble = Trouble::default();
    let mut told = Told { args, jobs: BTreeMap::new(), listed: None };
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                trouble.bear(error, |words| say(&words))?;
                continue;
            }
        };
        trouble.over(|words| say(&words));
        match event {
            Event::Apply(job) => told.is_there(job)?,
            Event::Delete(job) => told.is_gone(job)?,
            Event::Init => told.listed = Some(BTreeSet::new()),
            Event::InitApply(job) => {
                told.listed.get_or_insert_default().insert(key(&job));
                told.is_there(job)?;
            }
            Event::InitDone => told.is_listed()?,
        }
    }
    Ok(0)
}

fn key(job: &CmdJob) -> String {
    format!("{}/{}", job.metadata.namespace.as_deref().unwrap_or_default(), plain::name(job))
}

/// What has been told of which jobs.
struct Told<'a> {
    args: &'a List,
    jobs: BTreeMap<String, (Teller, CmdJob)>,
    /// Those that the list has which is being read.
    listed: Option<BTreeSet<String>>,
}

impl Told<'_> {
    fn is_there(&mut self, job: CmdJob) -> Result<()> {
        let (args, key) = (self.args, key(&job));
        let is_meant = args.names.is_empty() || args.names.iter().any(|name| name == plain::name(&job));
        let is_over = args.active && !list::is_active(&job);
        // Of those that have not ended, it is told how they do.
        if !is_meant || is_over && !self.jobs.contains_key(&key) {
            return Ok(());
        }
        let (teller, last) = self.jobs.entry(key.clone()).or_insert_with(|| (Teller::default(), job.clone()));
        if let Some(line) = teller.tell(plain::name(&job), Some(&job)) {
            show_change(args, &line, &job)?;
        }
        *last = job;
        if is_over {
            self.jobs.remove(&key);
        }
        Ok(())
    }

    fn is_gone(&mut self, job: CmdJob) -> Result<()> {
        let Some((mut teller, _)) = self.jobs.remove(&key(&job)) else { return Ok(()) };
        teller.tell(plain::name(&job), None).map_or(Ok(()), |line| show_change(self.args, &line, &job))
    }

    /// What is not in a whole list was deleted while nobody was heard.
    fn is_listed(&mut self) -> Result<()> {
        let Some(listed) = self.listed.take() else { return Ok(()) };
        let gone: Vec<CmdJob> =
            self.jobs.iter().filter(|(key, _)| !listed.contains(*key)).map(|(_, (_, job))| job.clone()).collect();
        gone.into_iter().try_for_each(|job| self.is_gone(job))
    }
}

fn show_change(args: &List, line: &str, job: &CmdJob) -> Result<()> {
    match args.output.output {
        // An object on each line, so that a program can read them as they come.
        Some(Format::Json) => print(&format!("{}\n", serde_json::to_string(job)?)),
        Some(Format::Yaml) => {
            print("---\n")?;
            print_value(Format::Yaml, &output::list(std::slice::from_ref(job), true))
        }
        Some(Format::Name) => print(&format!("{}\n", output::job_name(plain::name(job)))),
        Some(Format::Wide) | None if args.all_namespaces => {
            print(&format!("{}/{line}\n", job.metadata.namespace.as_deref().unwrap_or_default()))
        }
        Some(Format::Wide) | None => print(&format!("{line}\n")),
    }
}
