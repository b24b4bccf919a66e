//! What a container's life is to be: its part in the pod, when it is run again, its hooks, where its last words are.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, EphemeralContainer, Lifecycle, LifecycleHandler, PodSpec,
};
use vk_task::{StopSignal, TerminationMessage};

use super::fields::Check;
use super::{RestartPolicy, Role};
use crate::probe::{HttpGet, http_get};

/// Whether a container is run again when it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarts {
    /// What holds where no rule does: the container's own `restartPolicy`, or the pod's.
    pub policy: RestartPolicy,
    /// `restartPolicyRules`: it is run again if one of them matches.
    pub rules: Vec<ExitCodeRule>,
}

/// A rule by which a container is run again, whatever its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitCodeRule {
    /// Whether the exit code must be one of these; else it must be none of them.
    pub is_in: bool,
    /// Exit codes.
    pub values: BTreeSet<i32>,
}

/// What is done when a container has been started, and before it is ended: core/v1 `lifecycle`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Right after it has been started. Until it is done the container has not come up; if it fails, the container ends.
    pub post_start: Option<HookAction>,
    /// Before its processes are sent `SIGTERM`, within its grace.
    pub pre_stop: Option<HookAction>,
}

/// What a hook does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookAction {
    /// Runs a program in the container; the exit code 0 is a success.
    Exec(Vec<String>),
    /// Asks for a page; any answer is a success.
    Http(HttpGet),
    /// Waits.
    Sleep(SignedDuration),
}

/// When in the life of a run a hook is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookKind {
    /// When it has been started.
    PostStart,
    /// Before it is ended.
    PreStop,
}

impl Hooks {
    /// The hook of this kind.
    #[must_use]
    pub fn get(&self, kind: HookKind) -> Option<&HookAction> {
        match kind {
            HookKind::PostStart => self.post_start.as_ref(),
            HookKind::PreStop => self.pre_stop.as_ref(),
        }
    }
}

impl ExitCodeRule {
    fn matches(&self, exit_code: i32) -> bool {
        self.values.contains(&exit_code) == self.is_in
    }
}

impl Restarts {
    /// Whether a run is followed by another one. The kubelet's `ContainerShouldRestart`.
    pub(crate) fn again(&self, exit_code: i32, is_success: bool) -> bool {
        let by_policy = match self.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !is_success,
            RestartPolicy::Never => false,
        };
        by_policy || self.rules.iter().any(|rule| rule.matches(exit_code))
    }
}

/// The pod's own policy.
pub(super) fn pods_policy(spec: &PodSpec) -> RestartPolicy {
    spec.restart_policy.as_deref().and_then(policy).unwrap_or(RestartPolicy::Always)
}

fn policy(text: &str) -> Option<RestartPolicy> {
    Some(match text {
        "Always" => RestartPolicy::Always,
        "OnFailure" => RestartPolicy::OnFailure,
        "Never" => RestartPolicy::Never,
        _ => return None,
    })
}

/// The part of an init container in its pod.
pub(super) fn init_role(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

/// When the container is run again.
pub(super) fn restarts(check: &mut Check<'_>, container: &Container, pods: RestartPolicy) -> Restarts {
    let own = container.restart_policy.as_deref();
    if let Some(unknown) = own.filter(|text| policy(text).is_none()) {
        check.add("restartPolicy", format!("{unknown:?} is none of Always, OnFailure, Never"));
    }
    let mut rules = Vec::new();
    for (i, rule) in container.restart_policy_rules.iter().flatten().enumerate() {
        match exit_code_rule(rule) {
            Ok(rule) => rules.push(rule),
            Err(why) => check.add(&format!("restartPolicyRules[{i}]"), why),
        }
    }
    Restarts { policy: own.and_then(policy).unwrap_or(pods), rules }
}

fn exit_code_rule(rule: &ContainerRestartRule) -> Result<ExitCodeRule, String> {
    let ContainerRestartRule { action, exit_codes } = rule;
    if action != "Restart" {
        return Err(format!("vk-node knows the action Restart, not {action}: write Restart, or leave the rule out"));
    }
    let codes = exit_codes.as_ref().ok_or("it has no exitCodes: write them")?;
    let is_in = match codes.operator.as_str() {
        "In" => true,
        "NotIn" => false,
        other => return Err(format!("the operator {other:?} is neither In nor NotIn")),
    };
    Ok(ExitCodeRule { is_in, values: codes.values.iter().flatten().copied().collect() })
}

/// The container's hooks.
pub(super) fn hooks(check: &mut Check<'_>, container: &Container) -> Hooks {
    // The signal: see `stop_signal`.
    let Some(Lifecycle { post_start, pre_stop, stop_signal: _ }) = &container.lifecycle else {
        return Hooks::default();
    };
    let mut one = |field: &str, handler: &Option<LifecycleHandler>| {
        let action = action(handler.as_ref()?, container);
        action.map_err(|why| check.add(&format!("lifecycle.{field}"), why)).ok()
    };
    Hooks { post_start: one("postStart", post_start), pre_stop: one("preStop", pre_stop) }
}

/// The signal that it is asked to end with.
pub(super) fn stop_signal(check: &mut Check<'_>, container: &Container) -> Option<StopSignal> {
    let text = container.lifecycle.as_ref()?.stop_signal.as_ref()?;
    let signal = text.parse::<StopSignal>();
    signal.map_err(|wrong| check.add("lifecycle.stopSignal", wrong.to_string())).ok()
}

fn action(handler: &LifecycleHandler, container: &Container) -> Result<HookAction, String> {
    let LifecycleHandler { exec, http_get: get, sleep, tcp_socket } = handler;
    if tcp_socket.is_some() {
        return Err("tcpSocket is no hook that a kubelet can run: write exec, httpGet or sleep".into());
    }
    match (exec, get, sleep) {
        (Some(exec), None, None) => match exec.command.clone().unwrap_or_default() {
            command if command.is_empty() => Err("exec.command is empty: write the program to run".into()),
            command => Ok(HookAction::Exec(command)),
        },
        (None, Some(get), None) => {
            let mut wrong = Vec::new();
            let get = http_get(get, container, &mut wrong);
            let why = wrong.iter().map(|(field, why)| format!("httpGet.{field}: {why}")).collect::<Vec<_>>().join("; ");
            get.filter(|_| wrong.is_empty()).map(HookAction::Http).ok_or(why)
        }
        (None, None, Some(sleep)) => Ok(HookAction::Sleep(SignedDuration::from_secs(sleep.seconds.max(0)))),
        (None, None, None) => Err("it does nothing: write one of exec, httpGet, sleep".into()),
        _ => Err("it does more than one of exec, httpGet, sleep".into()),
    }
}

/// Where the container's last words are.
pub(super) fn termination_message(check: &mut Check<'_>, container: &Container) -> TerminationMessage {
    let path = container.termination_message_path.as_deref().filter(|path| !path.is_empty());
    let fallback_to_logs = match container.termination_message_policy.as_deref() {
        None | Some("" | "File") => false,
        Some("FallbackToLogsOnError") => true,
        Some(other) => {
            check.add("terminationMessagePolicy", format!("{other:?} is neither File nor FallbackToLogsOnError"));
            false
        }
    };
    TerminationMessage { path: path.unwrap_or(TerminationMessage::DEFAULT_PATH).into(), fallback_to_logs }
}

/// An ephemeral container as a container: the API server lets it have a part of the same fields.
pub(super) fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        // Processes of the host see each other anyway.
        target_container_name: _,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    } = ephemeral.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        lifecycle,
        liveness_probe,
        name,
        ports,
        readiness_probe,
        resize_policy,
        resources,
        restart_policy,
        restart_policy_rules,
        security_context,
        startup_probe,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
    }
}
