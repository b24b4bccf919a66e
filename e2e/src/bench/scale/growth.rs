//! What more jobs cost beside those that are there; very many, to their end; and how long it takes until they are gone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use vk_cmd_crds::CmdJob;

use super::super::contestant;
use super::super::figures::Milliseconds;
use super::rates::{all_ended, create, one_pod_jobs};
use super::told::{Ended, Seen, Told};
use super::world::{NODE, World};
use super::{Deletion, Growth, LIMIT, Load, Plan, ScaleFigures};

const NAMESPACE: &str = "scale";
/// For as many jobs as anybody asks for; a load that stands still is told by its counts before that.
const LONG: Duration = Duration::from_secs(2 * 60 * 60);
/// More pods are not deleted in the end: it takes the API server and the garbage collector longer than all that came before, and shows
/// nothing that fewer do not.
const MOST_DELETED: usize = 5000;
/// How often it is asked to delete all that there is.
const TRIES: u32 = 100;
/// A status that only tells how far the work is waits for half a second.
const REST: Duration = Duration::from_secs(3);

pub(super) async fn measure(world: &World, plan: &Plan, figures: &mut ScaleFigures) -> Result<()> {
    let told = world.namespace(NAMESPACE).await?;
    let mut jobs = Jobs { world, told: &told, made: 0, others: 0 };
    figures.growth.push(jobs.some_more(plan.more, "none").await?);

    let tenth = plan.jobs / 10;
    for (until, what) in [(tenth, "a tenth"), (plan.jobs, "all")] {
        let load = jobs.load_until(until, what).await?;
        figures.loads.extend(load);
        figures.growth.push(jobs.some_more(plan.more, &format!("{} that have ended", jobs.made)).await?);
    }
    waiting(world, plan.jobs).await?;
    let beside = format!("{} that have ended and {} that wait", jobs.made, plan.jobs);
    figures.growth.push(jobs.some_more(plan.more, &beside).await?);
    deleted(world, WAITING, plan.jobs, 0).await?;

    let one_pod = jobs.made;
    ensure!(told.seen().ended.values().all(|(_, how)| *how == complete(1, None)), "a job has not ended as it must");
    if plan.indexed > 0 {
        figures.loads.push(indexed(world, &told, plan, one_pod).await?);
        jobs.others = plan.indexed;
        figures
            .growth
            .push(jobs.some_more(plan.more, &format!("all of these ({} pods)", told.seen().pods.len())).await?);
    }
    let (pods, made) = (told.seen().pods.len(), jobs.made + plan.indexed * plan.completions);
    let succeeded = told.seen().succeeded.len();
    ensure!(succeeded == made, "{succeeded} pods have succeeded, of {made}");
    // Of those that have ended the controller-manager keeps 12,500 in all (--terminated-pod-gc-threshold).
    ensure!(pods <= made, "{pods} pods are there, of {made}");
    if pods <= MOST_DELETED {
        figures.deletion.push(gone(world, &told, NAMESPACE, jobs.made + plan.indexed, pods).await?);
    }
    Ok(())
}

/// One-pod CmdJobs that come to a namespace.
struct Jobs<'a> {
    world: &'a World,
    told: &'a Told,
    made: usize,
    /// Other jobs in it, which have ended.
    others: usize,
}

impl Jobs<'_> {
    /// Makes some more, one at a time and then as many at once, and looks closely.
    async fn some_more(&mut self, more: usize, beside: &str) -> Result<Growth> {
        eprintln!("bench: {more} more beside {beside}");
        tokio::time::sleep(REST).await;
        let before = self.world.meter().await?;
        let first = self.made;
        for _ in 0..more {
            self.make(self.made + 1).await?;
            all_ended(self.told, self.made + self.others, LIMIT).await?;
        }
        let end_to_complete = self.delays(first..self.made)?;
        let first = self.made;
        self.make(self.made + more).await?;
        all_ended(self.told, self.made + self.others, LIMIT).await?;
        let at_once = self.delays(first..self.made)?;
        tokio::time::sleep(REST).await;
        let work = self.world.work_since(&before).await?;
        Ok(Growth { beside: beside.to_owned(), more: 2 * more, end_to_complete, at_once, work })
    }

    /// Makes them until there are so many, and waits for the end of all.
    async fn load_until(&mut self, count: usize, what: &str) -> Result<Option<Load>> {
        let Some(more) = count.checked_sub(self.made).filter(|more| *more > 0) else { return Ok(None) };
        eprintln!("bench: {more} one-pod CmdJobs, until there are {count}");
        let (before, begin) = (self.world.meter().await?, Instant::now());
        self.make(count).await?;
        let seconds = all_ended(self.told, self.made + self.others, LONG).await?.duration_since(begin).as_secs_f64();
        let work = self.world.work_since(&before).await?;
        let what = format!("one-pod CmdJobs, until there are {what} ({count})");
        Ok(Some(Load { what, jobs: more, processes: more, seconds, work }))
    }

    async fn make(&mut self, until: usize) -> Result<()> {
        one_pod_jobs(self.world, NAMESPACE, "job", self.made..until).await?;
        self.made = until;
        Ok(())
    }

    /// From the word that a pod has ended to the word that its job is Complete. Two watches tell of them, so that the second may be
    /// heard first.
    fn delays(&self, numbers: std::ops::Range<usize>) -> Result<Milliseconds> {
        let seen = self.told.seen();
        let delay = |number: usize| {
            let name = format!("job-{number}");
            let (complete, _) = seen.ended.get(&name)?;
            Some(complete.saturating_duration_since(*seen.pods_ended.get(&name)?))
        };
        let all: Vec<_> = numbers.filter_map(delay).collect();
        Milliseconds::of(&all).context("nothing was measured")
    }
}

fn complete(succeeded: i32, indexes: Option<String>) -> Ended {
    Ended { state: "Complete".to_owned(), succeeded, indexes }
}

const WAITING: &str = "scale-waiting";

/// Makes CmdJobs for a node that does not exist, and waits until all say that they wait.
async fn waiting(world: &World, count: usize) -> Result<()> {
    eprintln!("bench: {count} that wait");
    let told = world.namespace(WAITING).await?;
    let api = Api::<CmdJob>::namespaced(world.client.clone(), WAITING);
    let command = ["true".to_owned()];
    create(api, 0..count, |number| contestant::cmdjob(&format!("job-{number}"), "vk-nowhere", &command)).await?;
    told.until("all jobs to wait", LONG, |seen| seen.waiting.len() >= count).await
}

async fn indexed(world: &World, told: &Told, plan: &Plan, before: usize) -> Result<Load> {
    let Plan { indexed: jobs, completions, .. } = *plan;
    eprintln!("bench: {jobs} Indexed CmdJobs of {completions} completions each");
    let (meter, begin) = (world.meter().await?, Instant::now());
    let api = Api::<CmdJob>::namespaced(world.client.clone(), NAMESPACE);
    let object = |number: usize| -> Value {
        let mut job = contestant::cmdjob(&format!("indexed-{number}"), NODE, &["true".to_owned()]);
        if let Some(spec) = job.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("completionMode".to_owned(), json!("Indexed"));
            spec.insert("completions".to_owned(), json!(completions));
            spec.insert("parallelism".to_owned(), json!(completions));
        }
        job
    };
    create(api, 0..jobs, object).await?;
    let seconds = all_ended(told, before + jobs, LONG).await?.duration_since(begin).as_secs_f64();
    let right = complete(i32::try_from(completions)?, Some(format!("0-{}", completions - 1)));
    for number in 0..jobs {
        let seen = told.seen();
        let (_, how) = seen.ended.get(&format!("indexed-{number}")).context("an Indexed job has not ended")?;
        if *how != right {
            bail!("indexed-{number} has ended as {how:?}, and not as {right:?}");
        }
    }
    let succeeded = told.seen().succeeded.len();
    ensure!(succeeded == before + jobs * completions, "{succeeded} pods have succeeded");
    let work = world.work_since(&meter).await?;
    let what = format!("Indexed CmdJobs of {completions} completions");
    Ok(Load { what, jobs, processes: jobs * completions, seconds, work })
}

/// Deletes all CmdJobs of a namespace, of which there are so many, with so many pods.
pub(super) async fn deleted(world: &World, namespace: &str, jobs: usize, pods: usize) -> Result<Deletion> {
    let told = Told::of(&world.client, namespace);
    let are_known = |seen: &Seen| seen.jobs.len() >= jobs && seen.pods.len() >= pods;
    told.until("the jobs and their pods to be known", LIMIT, are_known).await?;
    gone(world, &told, namespace, jobs, pods).await
}

async fn gone(world: &World, told: &Told, namespace: &str, jobs: usize, pods: usize) -> Result<Deletion> {
    eprintln!("bench: deleting {jobs} CmdJobs with {pods} pods, rate limits {}", world.limits.name());
    let (before, begin) = (world.meter().await?, Instant::now());
    let api = Api::<CmdJob>::namespaced(world.client.clone(), namespace);
    let mut tries = 0..TRIES;
    // The API server deletes one after the other, and gives up after a minute: what is left is for the next time.
    while let Err(error) = api.delete_collection(&DeleteParams::background(), &ListParams::default()).await {
        ensure!(tries.next().is_some(), "cannot delete the jobs: {error}");
        eprintln!("bench: some are left: {error}");
    }
    told.until("all jobs to be gone", LONG, |seen| seen.jobs.is_empty()).await?;
    let jobs_gone_seconds = begin.elapsed().as_secs_f64();
    told.until("all pods to be gone", LONG, |seen| seen.pods.is_empty()).await?;
    let pods_gone_seconds = begin.elapsed().as_secs_f64();
    let work = world.work_since(&before).await?;
    let limits = world.limits;
    Ok(Deletion { limits, jobs, pods, jobs_gone_seconds, pods_gone_seconds, lists: work.lists, gets: work.gets })
}
