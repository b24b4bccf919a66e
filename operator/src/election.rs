//! Holds the Lease by which one of several operators acts: what to do is decided in `vk_operator_core::lease`.

use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};
use vk_operator_core::lease::{Facts, Held, Step, Times, decide};

use crate::api::{CallError, call_within, post_params};

/// The name of the Lease.
const NAME: &str = "vk-operator";

/// One that takes part.
pub struct Election {
    leases: Api<Lease>,
    me: String,
    times: Times,
    started: Instant,
    leads: watch::Sender<bool>,
    looked: watch::Sender<Instant>,
    renewed: Option<Duration>,
    seen: Option<(Lease, Held)>,
}

impl Election {
    /// Takes part in the election of this namespace, under a name that no other process has.
    ///
    /// `leads` says whether it leads. It is never taken back: who leads no more ends.
    pub fn new(client: Client, namespace: &str, times: Times, leads: watch::Sender<bool>) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let at = Timestamp::now().as_nanosecond();
        Self {
            leases: Api::namespaced(client, namespace),
            me: format!("{}_{}_{at:x}", host.trim(), std::process::id()),
            times,
            started: Instant::now(),
            leads,
            looked: watch::Sender::new(Instant::now()),
            renewed: None,
            seen: None,
        }
    }

    /// When it has last begun to look, by which others see whether it hangs.
    pub fn looked(&self) -> watch::Receiver<Instant> {
        self.looked.subscribe()
    }

    /// Takes part until it has led and leads no more. Cancel-safe: a lease that is not renewed runs out.
    pub async fn run(&mut self) -> anyhow::Error {
        info!(me = self.me, "waiting for the lease by which one operator acts");
        loop {
            self.looked.send_replace(Instant::now());
            // However long a request hangs: when the deadline is over, nothing is done any more.
            let deadline = self.renewed.map(|renewed| self.started + renewed + self.times.renew_deadline());
            let round = async {
                let pause = self.step().await?;
                sleep(pause).await;
                anyhow::Ok(())
            };
            let done = match deadline {
                Some(deadline) => match timeout_at(deadline, round).await {
                    Ok(done) => done,
                    // The next look decides, with the time as it is.
                    Err(_) => Ok(()),
                },
                None => round.await,
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    /// One look and what follows from it. Says how long to wait before the next, or why it leads no more.
    async fn step(&mut self) -> anyhow::Result<Duration> {
        let deadline = self.times.renew_deadline();
        let is_late = self.renewed.is_some_and(|renewed| self.now().saturating_sub(renewed) >= deadline);
        // What cannot be read is as it was: only time goes on.
        if !is_late && let Err(error) = self.look().await {
            warn!("{:#}; trying again", anyhow::Error::from(error));
        }
        let lease = self.seen.as_ref().map(|(_, held)| held);
        let facts = Facts { me: &self.me, lease, renewed: self.renewed, now: self.now(), times: self.times };
        let step = decide(&facts);
        let written = match step {
            Step::Wait(pause) => return Ok(pause),
            Step::Lost => bail!(
                "the lease is lost (another has it, or it could not be renewed for {deadline:?}): another operator goes on"
            ),
            Step::Create | Step::Take | Step::Renew => self.write(step).await,
        };
        match written {
            Ok(()) if !self.leads.send_replace(true) => info!(me = self.me, "this operator leads"),
            Ok(()) => {}
            // Another was faster, or the API server is away: the next look tells.
            Err(error) => warn!("{:#}; trying again", anyhow::Error::from(error)),
        }
        Ok(self.times.retry())
    }

    async fn look(&mut self) -> Result<(), CallError> {
        let found = call_within(self.times.call(), "read the lease", self.leases.get_opt(NAME)).await?;
        let (now, usual) = (self.now(), self.times.lease());
        self.seen = found.map(|lease| match self.seen.take() {
            Some((before, held)) if before.metadata.resource_version == lease.metadata.resource_version => {
                (before, held)
            }
            _ => {
                let held = held(&lease, now, usual);
                (lease, held)
            }
        });
        Ok(())
    }

    async fn write(&mut self, step: Step) -> Result<(), CallError> {
        let begun = self.now();
        let before = self.seen.as_ref().map(|(lease, _)| lease);
        let lease = self.held_by_me(before, step);
        let parameters = post_params();
        let written = match before {
            // By the version that was read: a write of another in between refuses it.
            Some(_) => {
                call_within(self.times.call(), "renew the lease", self.leases.replace(NAME, &parameters, &lease)).await
            }
            None => call_within(self.times.call(), "make the lease", self.leases.create(&parameters, &lease)).await,
        };
        let lease = written?;
        let held = held(&lease, begun, self.times.lease());
        self.seen = Some((lease, held));
        self.renewed = Some(begun);
        Ok(())
    }

    fn held_by_me(&self, before: Option<&Lease>, step: Step) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = before.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let is_new = step != Step::Renew;
        let transitions = spec.lease_transitions.unwrap_or_default();
        Lease {
            metadata: match before {
                Some(lease) => lease.metadata.clone(),
                None => ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(self.times.lease().as_secs()).ok(),
                acquire_time: if is_new { Some(now.clone()) } else { spec.acquire_time.clone() },
                renew_time: Some(now),
                lease_transitions: Some(transitions.saturating_add(i32::from(step == Step::Take))),
                ..spec
            }),
        }
    }

    /// Gives the lease back, so that another need not wait for its end.
    pub async fn release(mut self) {
        if !*self.leads.borrow() {
            return;
        }
        let given = async {
            self.look().await?;
            let Some((lease, Held { by, .. })) = &self.seen else { return Ok(()) };
            if by.as_deref() != Some(&self.me) {
                return Ok(());
            }
            let mut free = lease.clone();
            if let Some(spec) = &mut free.spec {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            let parameters = post_params();
            let replaced = self.leases.replace(NAME, &parameters, &free);
            call_within(self.times.call(), "give the lease back", replaced).await.map(drop)
        };
        match given.await {
            Ok(()) => info!("the lease is given back"),
            Err(error) => warn!("{:#}: it runs out", anyhow::Error::from(error)),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// What a lease says. `usual`: how long one lasts that does not say it.
fn held(lease: &Lease, now: Duration, usual: Duration) -> Held {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Held {
        by: spec.and_then(|spec| spec.holder_identity.clone()).filter(|by| !by.is_empty()),
        duration: seconds.map_or(usual, Duration::from_secs),
        unchanged_since: now,
    }
}
