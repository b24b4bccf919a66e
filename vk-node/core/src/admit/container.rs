//! Admission of one container: what its fields come to.

use k8s_openapi::api::core::v1::Container;
use vk_cmd_crds::labels::{self, ScriptForm};
use vk_task::{ScriptRunner, StopSignal, TerminationMessage};

use super::fields::{self, Check, OfPod};
use super::lifecycle::{self, Hooks, Restarts};
use super::mounts;
use super::{AdmittedContainer, Problem, ProgramTemplate, RestartPolicy, Role};
use crate::facts::NodeFacts;
use crate::images::ImageRule;

/// What all containers of a pod have in common.
pub(super) struct Common<'a> {
    pub(super) node: &'a NodeFacts,
    pub(super) of_pod: &'a OfPod,
    /// The operator's annotation.
    pub(super) script: Option<&'a str>,
    /// The pod's `restartPolicy`.
    pub(super) policy: RestartPolicy,
}

impl Common<'_> {
    /// Checks one container; without a program to run there is none.
    pub(super) fn admit(
        &self,
        container: &Container,
        role: Role,
        at: &str,
        problems: &mut Vec<Problem>,
    ) -> Option<AdmittedContainer> {
        let rule = container.image.as_deref().and_then(|image| self.node.images.find(image));
        let settings = fields::container(container, rule, at, self.of_pod, self.node, problems);
        let mut check = Check { at, problems };
        let life = Life {
            role,
            restarts: lifecycle::restarts(&mut check, container, self.policy),
            hooks: lifecycle::hooks(&mut check, container),
            stop_signal: lifecycle::stop_signal(&mut check, container),
            termination_message: lifecycle::termination_message(&mut check, container),
        };
        // The operator makes pods of one container, whose script it is.
        let script = self.script.filter(|_| role == Role::Main);
        match program(container, rule, script) {
            Ok(program) => Some(admitted(container, rule, program, settings, life)),
            Err(message) => {
                check.add("command", message);
                None
            }
        }
    }
}

/// What a container's life is to be.
struct Life {
    role: Role,
    restarts: Restarts,
    hooks: Hooks,
    stop_signal: Option<StopSignal>,
    termination_message: TerminationMessage,
}

fn admitted(
    container: &Container,
    rule: Option<&ImageRule>,
    program: ProgramTemplate,
    settings: fields::Settings,
    life: Life,
) -> AdmittedContainer {
    let fields::Settings { place, mounts, host_aliases, stdio, limits, probes, security } = settings;
    let Life { role, restarts, hooks, stop_signal, termination_message } = life;
    AdmittedContainer {
        role,
        restarts,
        hooks,
        stop_signal,
        termination_message,
        place,
        mounts,
        host_aliases,
        stdio,
        limits,
        security,
        probes,
        name: container.name.clone(),
        told_mounts: container.volume_mounts.iter().flatten().map(mounts::told).collect(),
        resources: container.resources.clone(),
        image: container.image.clone().unwrap_or_default(),
        program,
        env: container.env.clone().unwrap_or_default(),
        env_from: container.env_from.clone().unwrap_or_default(),
        image_env: rule.map(|rule| rule.env.clone()).unwrap_or_default(),
        working_dir: match container.working_dir.as_deref() {
            None | Some("") => rule.and_then(|rule| rule.working_dir.clone()),
            Some(dir) => Some(dir.into()),
        },
    }
}

/// What the container runs: its command and arguments, or the script that the operator left in the last of them. Where
/// it has no command, that of its image in the node's map, as with an image's `ENTRYPOINT` and `CMD`.
fn program(container: &Container, rule: Option<&ImageRule>, script: Option<&str>) -> Result<ProgramTemplate, String> {
    let command = container.command.as_deref().unwrap_or_default();
    let args = container.args.as_deref().unwrap_or_default();
    let of_image = rule.filter(|_| command.is_empty());
    let entrypoint = of_image.map(|rule| rule.command.as_slice()).unwrap_or_default();
    let default_args = of_image.filter(|_| args.is_empty()).map(|rule| rule.args.as_slice()).unwrap_or_default();
    let argv: Vec<String> = [command, entrypoint, args, default_args].concat();
    if of_image.is_none() && command.is_empty() {
        return Err(
            "there is none, and vk-node knows no entry point of this image: write the command, or have the image \
                    in the node's image map"
                .into(),
        );
    }
    if argv.is_empty() {
        return Err("there is none, nor has the node's image map one for this image: write the command".into());
    }
    let Some(kind) = script else {
        return Ok(ProgramTemplate::Exec(argv));
    };
    let (Ok(form), [shell, _, text]) = (kind.parse(), argv.as_slice()) else {
        return Err(format!(
            "the annotation {}={kind} goes with a command of the form [shell, \"-c\", script]",
            labels::SCRIPT
        ));
    };
    let runner = match form {
        ScriptForm::Shebang => ScriptRunner::Shebang,
        ScriptForm::Shell => ScriptRunner::Shell { path: shell.clone() },
    };
    Ok(ProgramTemplate::Script { text: text.clone(), runner })
}
