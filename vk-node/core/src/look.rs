//! One look at a pod: what it is to be, what is known of it, and what that says of each of its containers.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ContainerStatus;
use vk_task::TaskView;

use crate::admit::{AdmittedContainer, AdmittedPod, HookKind, Role};
use crate::facts::{Facts, Hook, Probe, Probed};
use crate::probe::Kind;
use crate::runs::{History, ID_SCHEME, Outcome, Run, RunState, histories, published_of};

/// One look at a pod.
pub(crate) struct Look<'a> {
    pub(crate) pod: &'a AdmittedPod,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) histories: Vec<History>,
}

/// One of its containers.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// Where it is in the pod's list.
    pub(crate) index: usize,
    pub(crate) container: &'a AdmittedContainer,
    pub(crate) history: &'a History,
    facts: &'a Facts<'a>,
}

impl<'a> Look<'a> {
    pub(crate) fn new(pod: &'a AdmittedPod, facts: &'a Facts<'a>) -> Self {
        Self { pod, facts, histories: histories(pod, facts) }
    }

    /// All containers, in the order in which they are started.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = Seen<'_>> {
        self.pod.containers.iter().zip(&self.histories).enumerate().map(|(index, (container, history))| Seen {
            index,
            container,
            history,
            facts: self.facts,
        })
    }

    /// Those with this part in the pod.
    pub(crate) fn with(&self, role: Role) -> impl DoubleEndedIterator<Item = Seen<'_>> {
        self.all().filter(move |seen| seen.container.role == role)
    }

    /// Init containers and sidecars.
    pub(crate) fn init_part(&self) -> impl DoubleEndedIterator<Item = Seen<'_>> {
        self.all().filter(|seen| matches!(seen.container.role, Role::Init | Role::Sidecar))
    }

    /// Whether every main container has ended for good.
    pub(crate) fn mains_are_done(&self) -> bool {
        self.with(Role::Main).all(|seen| seen.is_done())
    }

    /// Whether a main container was ever started, or is being. Then all that comes before them has been done.
    pub(crate) fn mains_have_begun(&self) -> bool {
        self.with(Role::Main).any(|seen| seen.latest().is_some())
    }
}

impl<'a> Seen<'a> {
    pub(crate) fn latest(&self) -> Option<&'a Run> {
        self.history.latest.as_ref()
    }

    /// How its last run ended, if that is over.
    pub(crate) fn outcome(&self) -> Option<&'a Outcome> {
        match &self.latest()?.state {
            RunState::Over(outcome) => Some(outcome),
            RunState::Starting { .. } | RunState::Running { .. } => None,
        }
    }

    /// When a run ended, and how long it lasted, however often the clock was set since.
    pub(crate) fn ended_after(&self, outcome: &Outcome) -> (Timestamp, SignedDuration) {
        let ended = self.facts.present(outcome.finished_at);
        (ended, ended.duration_since(self.facts.present(outcome.started_at)))
    }

    /// The run with which its back-off began anew, if that is known.
    pub(crate) fn back_off_from(&self) -> Option<u32> {
        self.facts.back_off_from.get(&self.container.name).copied()
    }

    /// Whether processes of it may run.
    pub(crate) fn is_active(&self) -> bool {
        self.latest().is_some_and(|run| run.state.is_active())
    }

    /// Whether its program was started at least once.
    pub(crate) fn has_begun(&self) -> bool {
        self.history.previous.is_some()
            || self.latest().is_some_and(|run| !matches!(run.state, RunState::Starting { .. }))
    }

    /// The pipe's view of its last run, if that is active.
    pub(crate) fn task(&self) -> Option<&'a TaskView> {
        let run = self.latest().filter(|run| run.state.is_active())?;
        self.facts.tasks.iter().find(|task| task.id.as_str() == run.id)
    }

    /// Whether it has ended, and is not run again.
    pub(crate) fn is_done(&self) -> bool {
        let Some(outcome) = self.outcome() else { return false };
        let AdmittedContainer { role, restarts, .. } = self.container;
        match role {
            Role::Init if outcome.is_success() => true,
            // As in the kubelet: run again as what it is to be now, whatever the policy.
            Role::Main if outcome.is_for_change() => false,
            Role::Init | Role::Main => !restarts.again(outcome.exit_code, outcome.satisfies_on_failure()),
            // It is run for as long as the pod lives.
            Role::Sidecar => false,
            Role::Ephemeral => true,
        }
    }

    /// How a hook of its last run has gone; done, where there is none. After a restart of the node, a run that is published
    /// as started has its `postStart` behind it.
    pub(crate) fn hook(&self, kind: HookKind) -> Hook {
        let Some(run) = self.latest() else { return Hook::Unknown };
        if self.container.hooks.get(kind).is_none() {
            return Hook::Done { since: run.state.first_at() };
        }
        let told = self.facts.hooks.get(&self.container.name).filter(|hooks| hooks.restart == run.restart);
        match told.map(|hooks| hooks.get(kind)) {
            Some(hook) if *hook != Hook::Unknown => hook.clone(),
            _ if kind == HookKind::PostStart && self.published_as(|status| status.started == Some(true)) => {
                Hook::Done { since: run.state.first_at() }
            }
            _ => Hook::Unknown,
        }
    }

    /// When `preStop` of its last run was begun, if it has one and it was.
    pub(crate) fn begun_pre_stop(&self) -> Option<Timestamp> {
        self.container.hooks.pre_stop.as_ref()?;
        self.hook(HookKind::PreStop).since()
    }

    /// Whether its last run is in the time of its `postStart`: as in the kubelet, what comes after it waits.
    pub(crate) fn is_in_post_start(&self) -> bool {
        self.is_active()
            && self.container.hooks.post_start.is_some()
            && !matches!(self.hook(HookKind::PostStart), Hook::Done { .. })
    }

    /// Whether it has come up: it runs, `postStart` is done, and the startup probe, if any, succeeds.
    pub(crate) fn is_started(&self) -> bool {
        let has_come_up = || match self.probe(Kind::Startup) {
            None | Some(Probe::Success) => true,
            Some(Probe::Failure { .. }) => false,
            Some(Probe::Unknown) => self.published_as(|status| status.started == Some(true)),
        };
        self.is_running() && matches!(self.hook(HookKind::PostStart), Hook::Done { .. }) && has_come_up()
    }

    /// Whether it can serve. An init container is ready when it has done its work.
    pub(crate) fn is_ready(&self) -> bool {
        match self.container.role {
            Role::Init => self.outcome().is_some_and(Outcome::is_success),
            // The kubelet says nothing of them.
            Role::Ephemeral => false,
            Role::Sidecar | Role::Main => {
                self.is_started()
                    && match self.probe(Kind::Readiness) {
                        None | Some(Probe::Success) => true,
                        Some(Probe::Failure { .. }) => false,
                        Some(Probe::Unknown) => self.published_as(|status| status.ready),
                    }
            }
        }
    }

    /// What a probe has told of its last run; `None` where it has none of this kind.
    pub(crate) fn probe(&self, kind: Kind) -> Option<Probe> {
        self.container.probes.get(kind)?;
        let run = self.latest()?;
        let Some(probed) = self.facts.probed.get(&self.container.name).filter(|p| p.restart == run.restart) else {
            return Some(Probe::Unknown);
        };
        let Probed { restart: _, startup, liveness, readiness } = probed;
        Some(match kind {
            Kind::Startup => startup.clone(),
            Kind::Liveness => liveness.clone(),
            Kind::Readiness => readiness.clone(),
        })
    }

    /// Whether it runs as what the pod no longer says that it is: its image was changed, which is all that can be. What it
    /// was started as is told by its status.
    pub(crate) fn is_changed(&self) -> bool {
        matches!(self.container.role, Role::Main | Role::Sidecar)
            && self.is_running()
            && self.as_started().is_some_and(|status| status.image != self.container.image)
    }

    /// What was published of the run that is active. The image and the resources that it was started with are there: those
    /// of the pod may have been changed.
    pub(crate) fn as_started(&self) -> Option<&'a ContainerStatus> {
        let published = published_of(self.facts.published, &self.container.name)?;
        Some(published).filter(|status| self.is_active() && self.is_this_run(status))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.latest().is_some_and(|run| matches!(run.state, RunState::Running { .. }))
    }

    /// Whether what is published of this very run is so.
    fn published_as(&self, what: impl Fn(&ContainerStatus) -> bool) -> bool {
        let published = published_of(self.facts.published, &self.container.name);
        published.filter(|status| self.is_this_run(status)).is_some_and(what)
    }

    fn is_this_run(&self, status: &ContainerStatus) -> bool {
        let id = status.container_id.as_deref().and_then(|id| id.strip_prefix(ID_SCHEME));
        self.latest().is_some_and(|run| id == Some(run.id.as_str()))
    }
}
