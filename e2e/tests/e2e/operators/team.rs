//! The operators of a test: one, or two of which one acts; whoever acts can be killed, and another one goes on.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::Signal;
use vk_cmd_e2e::chart;
use vk_cmd_e2e::control_plane::free_port;
use vk_cmd_e2e::loopback;
use vk_cmd_e2e::operator::Operator;
use vk_cmd_e2e::wait::{self, Probe};

use super::load::Progress;
use crate::ground::{GLANCE, Ground, Room};

/// The longest until another operator leads: the lease's fifteen seconds, and a busy machine.
const HANDOVER: Duration = Duration::from_secs(60);

/// How many there are, and with which flags.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    operators: usize,
    flags: &'static [&'static str],
}

/// One, that knows of no other.
pub(super) const ALONE: Form = Form { operators: 1, flags: &[] };
/// Two, with the times that they have by default.
pub(super) const USUAL: Form = Form { operators: 2, flags: &["--leader-elect"] };
/// Two, with the times of a site that cannot wait for long.
pub(super) const BRISK: Form = Form {
    operators: 2,
    flags: &[
        "--leader-elect",
        "--leader-elect-lease-duration=3s",
        "--leader-elect-renew-deadline=2s",
        "--leader-elect-retry-period=500ms",
    ],
};

/// The operators, in place of the one that the ground has.
pub(super) struct Team<'a> {
    ground: &'a Ground,
    members: Vec<Member>,
    /// Of several.
    leases: Option<Api<Lease>>,
    /// When each of them was killed that acted, and how long it took until another one led.
    pub(super) handovers: Vec<(Timestamp, Duration)>,
}

/// One of them.
pub(super) struct Member {
    operator: Operator,
    port: u16,
}

impl<'a> Team<'a> {
    /// Ends the ground's operator, and starts these.
    pub(super) async fn start(ground: &'a Ground, room: &Room, form: Form) -> Self {
        // A test that has failed may have left it dead.
        let mut operator = ground.operator.lock().await;
        if operator.process().is_some() {
            operator.kill().unwrap();
        }
        let chart = chart::installed(ground.plane.cluster()).await.unwrap().unwrap();
        let account = ground.plane.service_account_kubeconfig(&chart.namespace, &chart.service_account).await.unwrap();
        let mut members = Vec::new();
        for _ in 0..form.operators {
            let port = free_port().unwrap();
            let address = format!("--health-address=127.0.0.1:{port}");
            let namespace = format!("--leader-elect-namespace={}", chart.namespace);
            let flags = [form.flags, &[&address, &namespace]].concat();
            members.push(Member { operator: Operator::start_with(&account, &flags).await.unwrap(), port });
        }
        let leases = (form.operators > 1).then(|| Api::namespaced(room.client.clone(), &chart.namespace));
        Self { ground, members, leases, handovers: Vec::new() }
    }

    /// The one that acts; waits until there is one.
    pub(super) async fn acting(&mut self) -> usize {
        let Some(leases) = self.leases.clone() else { return 0 };
        wait::until("an operator to lead", HANDOVER, GLANCE, async || {
            let leads = leader(&leases).await;
            let pids: Vec<_> = self.members.iter_mut().map(Member::pid).collect();
            Ok(match pids.iter().position(|pid| leads == Some(*pid)) {
                Some(which) => Probe::Ready(which),
                None => Probe::not_yet(format!("{leads:?} leads, and not one of {pids:?}")),
            })
        })
        .await
        .unwrap()
    }

    /// Its members.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Ends the one that acts, and starts it anew. Of several, waits until another one leads, which then is the one that acts.
    pub(super) async fn end(&mut self, signal: Signal) -> usize {
        let acting = self.acting().await;
        let (at, begun) = (Timestamp::now(), Instant::now());
        self.members[acting].again(signal);
        let next = self.acting().await;
        self.handovers.push((at, begun.elapsed()));
        next
    }

    /// Kills the one that acts so often, each time at another moment; sometimes the others with it.
    pub(super) async fn haunt(&mut self, kills: u32, random: &mut fastrand::Rng, progress: &Progress) {
        for kill in 1..=kills {
            progress.set(f64::from(kill) / f64::from(kills));
            self.acting().await;
            tokio::time::sleep(moment(random)).await;
            if self.members.len() > 1 && random.u8(0..8) == 0 {
                self.members.iter_mut().for_each(|member| member.again(Signal::KILL));
            } else {
                self.end(Signal::KILL).await;
            }
        }
        self.acting().await;
    }

    /// Ends them, and starts the ground's operator again.
    pub(super) async fn disband(self) {
        drop(self.members);
        self.ground.operator.lock().await.restart().unwrap();
    }
}

/// How long an operator is let live: some are killed before they have said a word, some as they settle, some at steady work.
fn moment(random: &mut fastrand::Rng) -> Duration {
    let most = match random.u8(0..3) {
        0 => 0..100,
        1 => 100..1_000,
        _ => 1_000..5_000,
    };
    Duration::from_millis(random.u64(most))
}

impl Member {
    fn pid(&mut self) -> u32 {
        self.operator.process().unwrap().pid()
    }

    fn again(&mut self, signal: Signal) {
        let process = self.operator.process().unwrap();
        process.must_be_running().unwrap();
        process.signal(signal).unwrap();
        process.wait(HANDOVER).unwrap();
        self.operator.restart().unwrap();
    }

    /// What is at this path of its health address; none while it does not answer.
    pub(super) async fn get(&self, path: &str) -> Option<String> {
        loopback::get(self.port, path).await.ok()
    }

    /// The sum of what it has measured under names that begin so; none while it does not answer.
    pub(super) async fn measured(&self, name: &str) -> Option<f64> {
        let all = self.get("/metrics").await?;
        let values = all.lines().filter_map(|line| line.strip_prefix(name)?.rsplit(' ').next()?.parse::<f64>().ok());
        Some(values.sum())
    }
}

/// The operator that holds the lease, by its process id.
async fn leader(leases: &Api<Lease>) -> Option<u32> {
    let holder = leases.get_opt("vk-operator").await.ok()??.spec?.holder_identity?;
    holder.split('_').nth(1)?.parse().ok()
}
