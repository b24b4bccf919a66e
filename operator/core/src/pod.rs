//! The pod of one attempt. Cannot fail: everything that could be wrong was found by [`crate::validate()`].

mod confinement;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod, PodSpec, ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use vk_cmd_crds::Volume;
use vk_cmd_crds::cmdjob::DEFAULT_SHELL;
use vk_cmd_crds::labels::{self, ScriptForm};

pub use self::confinement::{Confinement, confined};
use crate::trace::TraceParent;
use crate::validate::{Run, ValidJob};

/// The longest name: it shall be usable as a host name and as a label value, too.
const NAME_MAX: usize = 63;
/// Where a command on the host starts that says nothing of it: a pod's container has a directory of its own there, and whoever
/// submits a job expects the home directory, as with sbatch. A vk-node reads it so; an image has a directory of its own.
const HOME: &str = "~";

/// The name of the pod of an attempt: `<job>-<10 hex digits of the job's UID>-<index>-<attempt>`.
///
/// The same decision always gives the same name, so the API server takes each attempt once, whatever the operator forgets.
pub fn name(job: &ValidJob<'_>, index: u32, attempt: u32) -> String {
    let tail = format!("-{}-{index}-{attempt}", job.short_uid);
    // A CmdJob's name may have dots; a DNS label may not. It begins with a letter or digit, and must not end in '-' here.
    let head: String = job
        .object
        .name
        .chars()
        .map(|c| if c == '.' { '-' } else { c })
        .take(NAME_MAX.saturating_sub(tail.len()))
        .collect();
    format!("{}{tail}", head.trim_end_matches('-'))
}

/// The pod of an attempt, for this node.
///
/// It names the node itself, beside selecting it, so that no scheduler has to: who has chosen the node has seen all that a
/// scheduler would look at, and each pod is spared a write and the time in a queue. The node has the last word as always.
pub fn build(job: &ValidJob<'_>, index: u32, attempt: u32, node: &str, confinement: Confinement) -> Pod {
    let trace = job.trace.at(job.object.uid, index, attempt);
    Pod {
        metadata: ObjectMeta {
            namespace: Some(job.object.namespace.to_owned()),
            name: Some(name(job, index, attempt)),
            labels: Some(labels_of(job, index, attempt)),
            annotations: Some(annotations(job, index, trace)),
            finalizers: Some(vec![labels::FINALIZER.to_owned()]),
            owner_references: Some(vec![OwnerReference {
                api_version: format!("{}/{}", labels::GROUP, labels::VERSION),
                kind: labels::KIND.to_owned(),
                name: job.object.name.to_owned(),
                uid: job.object.uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            node_name: Some(node.to_owned()),
            node_selector: Some(BTreeMap::from([(labels::HOSTNAME.to_owned(), node.to_owned())])),
            active_deadline_seconds: job.walltime.map(|walltime| walltime.as_secs()),
            tolerations: Some(tolerations()),
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(job.grace_seconds),
            // A host process gets neither a token nor variables that it was not given by name.
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: confinement.of_pod(),
            containers: vec![Container {
                security_context: confinement.of_container(),
                ..container(job, index, trace)
            }],
            volumes: list(job.volumes, Volume::of_pod),
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// Its place in the job's trace, the form of its script, its index, as batch/v1 Job shows it, and the signal that warns it.
fn annotations(job: &ValidJob<'_>, index: u32, trace: TraceParent) -> BTreeMap<String, String> {
    let trace = (labels::TRACE_PARENT.to_owned(), trace.to_string());
    let form = form(&job.run).map(|form| (labels::SCRIPT.to_owned(), form.to_string()));
    let index = job.shows_indexes().then(|| (labels::COMPLETION_INDEX.to_owned(), index.to_string()));
    let warning = job.warning_signal.map(|signal| (labels::WARNING_SIGNAL.to_owned(), signal.to_owned()));
    [trace].into_iter().chain(form).chain(index).chain(warning).collect()
}

fn labels_of(job: &ValidJob<'_>, index: u32, attempt: u32) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::JOB.to_owned(), job.object.name.to_owned()),
        (labels::JOB_UID.to_owned(), job.object.uid.to_owned()),
        (labels::INDEX.to_owned(), index.to_string()),
        (labels::ATTEMPT.to_owned(), attempt.to_string()),
    ])
}

fn tolerations() -> Vec<Toleration> {
    let forever = |key: &str| Toleration {
        key: Some(key.to_owned()),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    vec![
        Toleration {
            key: Some(labels::TAINT_KEY.to_owned()),
            operator: Some("Equal".to_owned()),
            value: Some(labels::TAINT_VALUE.to_owned()),
            effect: Some(labels::TAINT_EFFECT.to_owned()),
            ..Toleration::default()
        },
        // Without these two, Kubernetes gives every pod five minutes: then a node that was cut off for longer would find
        // its pods deleted when it is back, and would have to kill processes that are doing well.
        forever("node.kubernetes.io/not-ready"),
        forever("node.kubernetes.io/unreachable"),
    ]
}

fn container(job: &ValidJob<'_>, index: u32, trace: TraceParent) -> Container {
    let (command, args) = match job.run {
        Run::Shell { shell, text } => (shell_command(shell, text), None),
        Run::Shebang { text } => (shell_command(DEFAULT_SHELL, text), None),
        Run::Command { command, args } => (command.to_vec(), (!args.is_empty()).then(|| args.to_vec())),
    };
    Container {
        name: labels::MAIN_CONTAINER.to_owned(),
        image: Some(job.image.unwrap_or(labels::HOST_IMAGE).to_owned()),
        command: Some(command),
        args,
        env: Some(env(job, index, trace)),
        env_from: (!job.env_from.is_empty()).then(|| job.env_from.to_vec()),
        working_dir: job.working_dir.or_else(|| starts_at_home(job).then_some(HOME)).map(str::to_owned),
        resources: job.resources.map(|resources| ResourceRequirements {
            limits: resources.limits.clone(),
            requests: resources.requests.clone(),
            claims: None,
        }),
        volume_mounts: list(job.volume_mounts, Clone::clone),
        ..Container::default()
    }
}

/// Not in an image, nor where volumes are given at relative paths: these count from the container's own directory.
fn starts_at_home(job: &ValidJob<'_>) -> bool {
    job.image.is_none() && job.volume_mounts.iter().all(|mount| mount.mount_path.starts_with('/'))
}

/// The variables: the operator's first, so that the user's own of that name has the last word, as in batch/v1 Job.
fn env(job: &ValidJob<'_>, index: u32, trace: TraceParent) -> Vec<EnvVar> {
    let of = |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let trace = of(labels::TRACE_PARENT_VARIABLE, trace.to_string());
    let index = job.shows_indexes().then(|| of(labels::COMPLETION_INDEX_VARIABLE, index.to_string()));
    [trace].into_iter().chain(index).chain(job.env.iter().cloned()).collect()
}

/// A list of an object of Kubernetes: one without entries is left out.
fn list<A, B>(from: &[A], each: impl Fn(&A) -> B) -> Option<Vec<B>> {
    (!from.is_empty()).then(|| from.iter().map(each).collect())
}

/// The command of a script, see [`labels::SCRIPT`].
fn shell_command(shell: &str, text: &str) -> Vec<String> {
    vec![shell.to_owned(), "-c".to_owned(), text.replace('$', "$$")]
}

fn form(run: &Run<'_>) -> Option<ScriptForm> {
    match run {
        Run::Shell { .. } => Some(ScriptForm::Shell),
        Run::Shebang { .. } => Some(ScriptForm::Shebang),
        Run::Command { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::validate;
    use vk_cmd_crds::CmdJob;

    fn job(name: &str, spec: &str) -> CmdJob {
        let yaml = format!(
            "{{apiVersion: vk-cmd.io/v1alpha1, kind: CmdJob, metadata: {{namespace: lab, name: {name}, uid: \
             1A2B3C4D-5e6f-4000-8000-000000000000}}, spec: {{target: {{node: vk-a}}, {spec}}}}}"
        );
        serde_yaml_ng::from_str(&yaml).unwrap()
    }

    #[test]
    fn names_are_dns_labels_and_tell_jobs_apart() {
        let long = "a".repeat(63);
        let dotted = format!("{}.x", "b".repeat(45));
        for (name, expected) in [
            ("hello", "hello-1a2b3c4d5e-0-7"),
            ("v1.2", "v1-2-1a2b3c4d5e-0-7"),
            (&*long, &*format!("{}-1a2b3c4d5e-0-7", "a".repeat(48))),
            (&*dotted, &*format!("{}-x-1a2b3c4d5e-0-7", "b".repeat(45))),
        ] {
            let job = job(name, "script: echo");
            let found = super::name(&validate(&job).unwrap(), 0, 7);
            assert_eq!(found, expected);
            assert!(found.len() <= NAME_MAX);
        }
    }

    #[test]
    fn scripts_survive_the_expansion_of_dollars() {
        let job = job("hello", r#"script: "echo $$ $(date) $(HOME) $HOME \\$\n'\"ü""#);
        let pod = build(&validate(&job).unwrap(), 0, 0, "vk-a", Confinement::Usual);
        let command = pod.spec.unwrap().containers.remove(0).command.unwrap();
        assert_eq!(command[..2], ["/bin/sh", "-c"]);
        // Kubernetes' expansion: "$$" becomes "$", and no "$(" is left that is not preceded by a "$".
        assert_eq!(command[2].replace("$$", "\0").matches('$').count(), 0);
        assert_eq!(command[2].replace("$$", "$"), "echo $$ $(date) $(HOME) $HOME \\$\n'\"ü");
        assert_eq!(pod.metadata.annotations.unwrap()[labels::SCRIPT], "shell");
    }

    #[test]
    fn a_script_with_a_shebang_runs_itself_unless_a_shell_is_named() {
        for (spec, expected) in [
            ("script: '#!/usr/bin/env python3'", Some("shebang")),
            ("script: '#!/usr/bin/env python3', shell: /bin/bash", Some("shell")),
            ("script: 'echo #!/x'", Some("shell")),
            ("command: [echo]", None),
        ] {
            let job = job("hello", spec);
            let annotations = build(&validate(&job).unwrap(), 0, 0, "vk-a", Confinement::Usual).metadata.annotations;
            let form = annotations.as_ref().and_then(|all| all.get(labels::SCRIPT)).map(String::as_str);
            assert_eq!(form, expected, "{spec}");
        }
    }

    #[test]
    fn a_command_on_the_host_starts_at_home() {
        for (spec, expected) in [
            ("script: pwd", Some("~")),
            ("script: pwd, workingDir: /tmp", Some("/tmp")),
            ("script: pwd, image: busybox", None),
            ("script: pwd, volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: /v}]", Some("~")),
            ("script: pwd, volumes: [{name: v, emptyDir: {}}], volumeMounts: [{name: v, mountPath: v}]", None),
        ] {
            let job = job("hello", spec);
            let pod = build(&validate(&job).unwrap(), 0, 0, "vk-a", Confinement::Usual);
            assert_eq!(pod.spec.unwrap().containers[0].working_dir.as_deref(), expected, "{spec}");
        }
    }

    #[test]
    fn each_attempt_is_told_its_place_in_the_trace() {
        let mut job =
            job("hello", "script: x, completions: 3, completionMode: Indexed, env: [{name: TRACEPARENT, value: mine}]");
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
        job.metadata.annotations = Some(BTreeMap::from([(labels::TRACE_PARENT.to_owned(), given.clone())]));
        let pod = build(&validate(&job).unwrap(), 2, 1, "vk-a", Confinement::Usual);
        let annotations = pod.metadata.annotations.unwrap();
        let trace = &annotations[labels::TRACE_PARENT];
        assert_eq!((&trace[..36], trace == &given), (&given[..36], false));
        assert_eq!(annotations[labels::COMPLETION_INDEX], "2");
        let env = pod.spec.unwrap().containers.remove(0).env.unwrap();
        let env: Vec<_> = env.iter().map(|var| (&*var.name, var.value.as_deref().unwrap())).collect();
        // Of two of one name, the last one counts.
        assert_eq!(env, [("TRACEPARENT", &**trace), ("JOB_COMPLETION_INDEX", "2"), ("TRACEPARENT", "mine")]);
    }

    #[test]
    fn each_attempt_is_warned_as_the_job_says() {
        let mut job = job("hello", "script: x");
        let signal = (labels::WARNING_SIGNAL.to_owned(), "USR1@120".to_owned());
        job.metadata.annotations = Some(BTreeMap::from([signal.clone(), ("other".to_owned(), "x".to_owned())]));
        let annotations =
            build(&validate(&job).unwrap(), 0, 0, "vk-a", Confinement::Usual).metadata.annotations.unwrap();
        assert_eq!(annotations.get(&signal.0), Some(&signal.1));
        assert!(!annotations.contains_key("other"));
    }

    #[test]
    fn the_whole_pod() {
        let job = job("hello", "command: [echo, $(A)], args: [b], env: [{name: A, value: x}], workingDir: /tmp");
        let yaml =
            serde_yaml_ng::to_string(&build(&validate(&job).unwrap(), 0, 3, "vk-a", Confinement::Usual)).unwrap();
        assert_eq!(yaml, include_str!("../tests/golden/pod.yaml"), "{yaml}");
    }

    /// What is not said in the usual pod is all that the standard asks for, and nothing else is said.
    #[test]
    fn the_whole_pod_of_a_restricted_namespace() {
        let job = job("hello", "script: id");
        let build = |confinement| build(&validate(&job).unwrap(), 0, 0, "vk-a", confinement);
        let (usual, mut restricted) = (build(Confinement::Usual), build(Confinement::Restricted));
        assert_eq!((confined(&usual).is_some(), confined(&restricted).is_some()), (false, true));
        let spec = restricted.spec.as_mut().unwrap();
        let contexts = (spec.security_context.take(), spec.containers[0].security_context.take());
        let yaml = serde_yaml_ng::to_string(&contexts).unwrap();
        assert_eq!(yaml, include_str!("../tests/golden/restricted.yaml"), "{yaml}");
        assert_eq!(restricted, usual);
    }

    #[test]
    fn the_whole_pod_with_an_image() {
        let job = job(
            "hello",
            "script: cowsay, image: 'docker://godlovedc/lolcow', \
             resources: {limits: {cpu: 2, memory: 4Gi, nvidia.com/gpu: 1}, requests: {cpu: 500m}}, \
             volumes: [{name: data, hostPath: {path: /scratch/me}}, \
             {name: self, downwardAPI: {items: [{path: cpu, resourceFieldRef: {resource: limits.cpu}}]}}, \
             {name: all, projected: {sources: [{secret: {name: key}}, \
             {downwardAPI: {items: [{path: cpu, resourceFieldRef: {resource: limits.cpu}}]}}]}}], \
             volumeMounts: [{name: data, mountPath: /in, readOnly: true}, {name: data, mountPath: /out, subPath: out}]",
        );
        let yaml =
            serde_yaml_ng::to_string(&build(&validate(&job).unwrap(), 0, 0, "vk-a", Confinement::Usual)).unwrap();
        assert_eq!(yaml, include_str!("../tests/golden/pod_with_image.yaml"), "{yaml}");
    }
}
