//! Puts the parts together, and takes them apart in order at the end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, pin_mut, stream};
use jiff::SignedDuration;
use kube::ResourceExt;
use kube::config::Kubeconfig;
use kube::runtime::controller::{Action, Config, Error, applier};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use vk_api_client::chain;
use vk_operator_core::lease::Times;

use crate::approver::{self, Approvals};
use crate::cache::{self, Caches, MaybeJob};
use crate::election::Election;
use crate::events;
use crate::fleet;
use crate::health;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::nodes;
use crate::pilots::{self, Launchers};
use crate::reconcile::{Context, ReconcileError, reconcile};
use crate::strays;

/// How many CmdJobs are looked at side by side. Each takes a few calls; the API server's own fairness does the rest.
const CONCURRENCY: u16 = 32;
/// The longest time for opening a connection.
const CONNECT_TIME_LIMIT: Duration = Duration::from_secs(5);

/// How long an operator that ends goes on telling Events.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A CmdJob that may have something to do now.
type Change = Result<ObjectRef<MaybeJob>, watcher::Error>;

/// How to reach the API server: by that kubeconfig, or by what the surroundings say.
pub async fn kube_config(kubeconfig: Option<&Path>) -> anyhow::Result<kube::Config> {
    let mut config = match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            vk_api_client::config(read).await.with_context(|| format!("cannot use {}", path.display()))?
        }
        None => vk_api_client::infer()
            .await
            .context("found neither a kubeconfig nor a ServiceAccount: name a kubeconfig with --kubeconfig")?,
    };
    // Answers are waited for in `api::call`, and watches have a time limit of their own (kube-runtime's idle timeout).
    config.connect_timeout = Some(CONNECT_TIME_LIMIT);
    Ok(config)
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to serve health.
    pub health_address: Option<SocketAddr>,
    /// Which certificates of nodes are approved.
    pub approvals: Approvals,
    /// The namespace of the Lease by which one of several operators acts, and its times; none: this is the only one.
    pub election: Option<(String, Times)>,
    /// How long a node whose end has passed is not heard from before its object is removed.
    pub dead_after: SignedDuration,
}

/// Runs until SIGTERM or SIGINT; what is under way then is finished first. Of several operators the others keep their caches
/// filled, and write nothing.
pub async fn run(config: kube::Config, options: Options) -> anyhow::Result<()> {
    let leads = watch::Sender::new(options.election.is_none());
    let metrics = Arc::new(Metrics::new(CONCURRENCY, leads.subscribe()).context("cannot set up what is measured")?);
    let client =
        vk_api_client::observed(&config, metrics.of_requests()).context("cannot set up the way to the API server")?;
    let mut unrepeated = config;
    unrepeated.default_retry = false;
    let once = vk_api_client::observed(&unrepeated, metrics.of_requests())
        .context("cannot set up the way to the API server")?;
    let memory = Arc::new(Memory::default());
    let (caches, changes) = cache::watch(&client, Arc::clone(&memory));
    let mut election =
        options.election.map(|(namespace, times)| Election::new(client.clone(), &namespace, times, leads.clone()));
    let leads = leads.subscribe();
    let looked = election.as_ref().map(Election::looked);
    let health = match options.health_address {
        Some(address) => health::serve(address, caches.clone(), looked, Arc::clone(&metrics)).left_future(),
        None => std::future::pending().right_future(),
    };
    let stop = shutdown()?;
    let approver = when_leading(leads.clone(), approver::run(client.clone(), options.approvals));
    let (events, telling) = events::queue(client.clone(), Arc::clone(&metrics));
    let context = Arc::new(Context {
        client,
        once,
        caches: caches.clone(),
        memory: Arc::clone(&memory),
        metrics,
        events,
        launchers: Launchers::default(),
    });
    let nodes = when_leading(leads.clone(), nodes::run(Arc::clone(&context), options.dead_after));
    let strays = when_leading(leads.clone(), strays::run(Arc::clone(&context)));
    let pilots = when_leading(leads.clone(), pilots::run(Arc::clone(&context)));
    let fleets = when_leading(leads.clone(), fleet::run(Arc::clone(&context)));
    let changes = of_leader(changes, leads, caches.clone());

    let work = applier(
        |job, context| reconcile(job, context).boxed(),
        retry,
        context,
        caches.jobs,
        changes.take_until(stop),
        Config::default().concurrency(CONCURRENCY),
    )
    .for_each(|result| {
        log(&memory, result);
        std::future::ready(())
    });
    info!("vk-operator {} has started", env!("CARGO_PKG_VERSION"));

    let leading = match &mut election {
        Some(election) => election.run().left_future(),
        None => std::future::pending().right_future(),
    };
    let telling = telling.run().fuse();
    pin_mut!(telling);
    let ended = {
        pin_mut!(work, health, approver, nodes, strays, fleets, pilots, leading);
        tokio::select! {
            // Cancel-safe: it ends only by itself, after a signal; if another ends first, what is dropped here is what a
            // crash would have dropped, and every step survives that.
            () = &mut work => {
                info!("vk-operator has stopped");
                Ok(())
            }
            // Cancel-safe: an approval is one write, and what was not approved is looked at again by the next start.
            () = &mut approver => Ok(()),
            // Cancel-safe: each deed is one write, and what was not done is decided again by the next start.
            () = &mut nodes => Ok(()),
            // Cancel-safe: a pod that was not let go is found again by the next start.
            () = &mut strays => Ok(()),
            // Cancel-safe: each step is one write that follows from what is seen, and is found again by the next start.
            () = &mut fleets => Ok(()),
            // Cancel-safe: each step is one call, and what was not done is decided again.
            () = &mut pilots => Ok(()),
            // Cancel-safe: Events are told as well as it goes.
            () = &mut telling => Ok(()),
            // Cancel-safe: a probe that gets no answer is asked again.
            result = &mut health => result,
            // Cancel-safe: a lease that is not renewed runs out.
            lost = &mut leading => Err(lost),
        }
    };
    if let Some(election) = election.filter(|_| ended.is_ok()) {
        election.release().await;
    }
    // Nobody has anything more to tell by now, so that it ends with what waits to be told.
    if timeout(LAST_WORDS, telling).await.is_err() {
        debug!("not all Events have been told");
    }
    ended
}

/// Does something as soon as this operator leads.
async fn when_leading(mut leads: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    if leads.wait_for(|leads| *leads).await.is_ok() {
        work.await;
    }
}

/// What there is to look at for the operator that acts: nothing at first, and all jobs when it begins to lead. The changes are
/// heard of all the same, so that the caches are filled by then.
fn of_leader(
    changes: impl Stream<Item = Change> + Send,
    leads: watch::Receiver<bool>,
    caches: Caches,
) -> impl Stream<Item = Change> + Send {
    let mut begins = leads.clone();
    let all = async move {
        // The sender lives as long as the election.
        let _ = begins.wait_for(|leads| *leads).await;
        stream::iter(caches.all()).map(Ok)
    };
    let heard = changes.try_filter(move |_| std::future::ready(*leads.borrow()));
    stream::select(heard, all.flatten_stream())
}

/// Ends when the operator shall.
pub(crate) fn shutdown() -> anyhow::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        let name = tokio::select! {
            // Cancel-safe by its documentation, as is the other.
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        };
        info!("{name}: finishing what is under way");
    })
}

/// When to look again after an error.
pub(crate) fn retry(job: Arc<MaybeJob>, error: &ReconcileError, _: Arc<Context>) -> Action {
    match error {
        ReconcileError::Failed(failed) => {
            debug!(job = %job.name_any(), "looking again in {:?}: {failed}", failed.again);
            Action::requeue(failed.again)
        }
        ReconcileError::Panicked { again, .. } => Action::requeue(*again),
        ReconcileError::NoCaches => Action::await_change(),
    }
}

/// Says what went wrong. What went right shows in the objects.
fn log(memory: &Memory, result: Result<(ObjectRef<MaybeJob>, Action), Error<ReconcileError, watcher::Error>>) {
    match result {
        Ok((job, action)) => debug!(%job, ?action, "looked at"),
        Err(Error::ObjectNotFound(job)) => memory.gone(job.namespace.as_deref().unwrap_or_default(), &job.name),
        Err(Error::ReconcilerFailed(error, job)) if error.is_conflict() => debug!(%job, "{}", chain(&error)),
        Err(Error::ReconcilerFailed(error, job)) => warn!(%job, "{}; trying again", chain(&error)),
        Err(Error::QueueError(error)) => warn!("a watch has failed and is started again: {}", chain(&error)),
        Err(Error::RunnerError(error)) => warn!("{}", chain(&error)),
    }
}
