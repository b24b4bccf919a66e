//! How many jobs get to their end in a second: CmdJobs with a process each, and native Jobs whose pods kwok fakes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::PostParams;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vk_cmd_crds::CmdJob;

use super::super::contestant::{self, Contestant, Resourceful, typed};
use super::super::figures::median;
use super::told::Told;
use super::world::{NODE, World};
use super::{LIMIT, ScaleRate};

const IN_TURN: [Contestant; 2] = [Contestant::CmdJob, Contestant::FakeJob];
/// How many objects are asked for at a time.
const AT_A_TIME: usize = 50;
/// How many jobs of each contestant come before what is measured: an API server that has just started compiles rules and fills caches.
const WARM_UP: usize = 20;
/// Everything gets this long to be quiet.
const REST: Duration = Duration::from_secs(2);

/// The namespace of a round.
pub(super) fn namespace(who: Contestant, round: usize) -> String {
    who.object_name("round", round)
}

/// Each contestant in turn, so often, each time so many. What has ended stays.
pub(super) async fn measure(world: &World, jobs: usize, rounds: usize) -> Result<Vec<ScaleRate>> {
    for who in IN_TURN {
        round(world, who, &who.object_name("warm-up", 0), WARM_UP).await?;
    }
    let mut samples = IN_TURN.map(|who| (who, Vec::new()));
    for number in 0..rounds {
        for (who, samples) in &mut samples {
            eprintln!("bench: {jobs} at once, rate limits {}: {}", world.limits.name(), who.name());
            let taken = round(world, *who, &namespace(*who, number), jobs).await?;
            samples.push(f64::from(u32::try_from(jobs)?) / taken.as_secs_f64());
        }
    }
    let row = |(who, samples): (Contestant, Vec<f64>)| {
        let limits = world.limits;
        ScaleRate { limits, who, jobs, rounds, per_second: median(samples) }
    };
    Ok(samples.into_iter().map(row).collect())
}

/// So many jobs of a contestant at once, in a namespace of their own, and a rest; how long it took until the last had ended.
async fn round(world: &World, who: Contestant, namespace: &str, jobs: usize) -> Result<Duration> {
    let told = world.namespace(namespace).await?;
    let begin = Instant::now();
    match who {
        Contestant::CmdJob => one_pod_jobs(world, namespace, "job", 0..jobs).await?,
        Contestant::FakeJob | Contestant::OurPod | Contestant::FakePod | Contestant::NobodysPod => {
            create(Api::<Job>::namespaced(world.client.clone(), namespace), 0..jobs, native).await?;
        }
    }
    let taken = all_ended(&told, jobs, LIMIT).await?.duration_since(begin);
    tokio::time::sleep(REST).await;
    Ok(taken)
}

/// Waits until so many jobs have ended; when the last of them had.
pub(in crate::bench) async fn all_ended(told: &Told, jobs: usize, limit: Duration) -> Result<Instant> {
    told.until("all jobs to end", limit, |seen| seen.ended.len() >= jobs).await?;
    let seen = told.seen();
    seen.ended.values().map(|(at, _)| *at).max().context("nothing was measured")
}

/// Creates CmdJobs that run `true`, for the one vk-node.
pub(super) async fn one_pod_jobs(
    world: &World,
    namespace: &str,
    series: &str,
    numbers: std::ops::Range<usize>,
) -> Result<()> {
    let api = Api::<CmdJob>::namespaced(world.client.clone(), namespace);
    create(api, numbers, |number| contestant::cmdjob(&format!("{series}-{number}"), NODE, &["true".to_owned()])).await
}

fn native(number: usize) -> Value {
    contestant::job(&format!("job-{number}"), &["true".to_owned()])
}

/// Creates objects.
pub(in crate::bench) async fn create<K>(
    api: Api<K>,
    numbers: std::ops::Range<usize>,
    object: impl Fn(usize) -> Value,
) -> Result<()>
where
    K: Resourceful + Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let creating = |number| {
        let (api, object) = (&api, object(number));
        async move {
            let object: K = typed(object)?;
            api.create(&PostParams::default(), &object).await.context("cannot create a job to measure")?;
            anyhow::Ok(())
        }
    };
    stream::iter(numbers.map(creating)).buffer_unordered(AT_A_TIME).try_collect().await
}
