//! The `CmdJob` resource. The doc comments below are what `kubectl explain cmdjob` prints, so they speak to its users.

#![allow(unreachable_pub, reason = "KubeSchema repeats the structs inside a function, pub and all")]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, VolumeMount};
use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::policy::{After, CompletionMode, OnUnknown, PodFailurePolicy, SuccessPolicy};
use crate::resources::Resources;
use crate::status::CmdJobStatus;
use crate::volumes::Volume;

/// The default of `spec.terminationGracePeriodSeconds`, in seconds: core/v1 Pod's.
pub const DEFAULT_GRACE_SECONDS: i64 = 30;
/// What runs `spec.script` if neither `spec.shell` nor a `#!` line says otherwise.
pub const DEFAULT_SHELL: &str = "/bin/sh";

/// What to run, where, and how often to try.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "vk-cmd.io",
    version = "v1alpha1",
    kind = "CmdJob",
    plural = "cmdjobs",
    // Not `cj`, which is CronJob's.
    shortname = "cmdj",
    category = "all",
    namespaced,
    status = "CmdJobStatus",
    derive = "PartialEq",
    doc = "A command that runs once, on a machine that vk-cmd has made a Kubernetes node (vk-…): a login node, a batch allocation, a workstation. Like a batch/v1 Job, but for the host itself: a container image can be named, and is not needed.",
    printcolumn(name = "STATUS", type_ = "string", json_path = ".status.state", description = "Where the job is, in one word"),
    printcolumn(name = "NODE", type_ = "string", json_path = ".spec.target.node", description = "The node that it runs on"),
    printcolumn(name = "EXIT", type_ = "integer", json_path = ".status.exitCode", description = "The exit code of the last attempt that ended"),
    printcolumn(name = "AGE", type_ = "date", json_path = ".metadata.creationTimestamp", description = "Time since the job was created"),
    printcolumn(name = "DURATION", type_ = "string", json_path = ".status.duration", description = "How long the last attempt ran", priority = 1),
    printcolumn(name = "REASON", type_ = "string", json_path = ".status.reason", description = "Why it is there, as one word", priority = 1),
    printcolumn(name = "MESSAGE", type_ = "string", json_path = ".status.message", description = "Why it is there, in plain words", priority = 1),
    validation = Rule::new("size(self.metadata.name) <= 63").message("a CmdJob's name has at most 63 characters, because it is also a label of its pods: choose a shorter one"),
    // From batch/v1 Job (`shouldAllowMutablePodTemplate`), for Kueue.
    validation = Rule::new("has(self.spec.resources) == has(oldSelf.spec.resources) && (!has(self.spec.resources) || self.spec.resources == oldSelf.spec.resources) || (oldSelf.spec.suspend && (!has(oldSelf.status) || (!has(oldSelf.status.startTime) && oldSelf.status.active + oldSelf.status.terminating == 0)))").message("resources cannot be changed but while the job is suspended and nothing of it is left: suspend it first, or make a new CmdJob under another name").field_path(".spec.resources"),
)]
#[x_kube(
    validation = rule("has(self.script) || has(self.command)", None, "there is nothing to run: set script (a text for a shell) or command (a program with args)"),
    validation = rule("!(has(self.script) && has(self.command))", None, "set either script or command, not both: script is a text for a shell, command is a program run without one"),
    validation = rule("!has(self.args) || has(self.command)", Some(".args"), "args belong to command: set command, or write the arguments into the script"),
    validation = rule("!(has(self.shell) && has(self.command))", Some(".shell"), "shell belongs to script: command is run without a shell, so leave shell out (or name it in the command: [/bin/bash, -c, …])"),
    validation = rule("!has(self.volumeMounts) || has(self.image) || self.volumeMounts.all(m, m.mountPath.startsWith('/') || !has(m.readOnly) || !m.readOnly || (has(self.volumes) && self.volumes.exists(v, v.name == m.name && !has(v.hostPath) && !has(v.emptyDir))))", Some(".volumeMounts"), "a command on the host itself reaches a relative mountPath by a link, which keeps nobody from writing: leave readOnly out, or write an absolute path"),
    validation = rule("has(self.image) || !has(self.workingDir) || !has(self.volumeMounts) || self.volumeMounts.all(m, m.mountPath.startsWith('/'))", Some(".workingDir"), "without an image, a relative mountPath counts from a directory of the attempt's own, in which it then starts: leave workingDir out, or write absolute mountPaths"),
    validation = rule("!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name))", Some(".volumeMounts"), "a volumeMount names a volume that is not among spec.volumes: add it there, e.g. {name: data, hostPath: {path: /scratch/me}}"),
    validation = rule("!has(self.resources) || !has(self.resources.limits) || has(self.image) || self.resources.limits.all(name, !(name in ['nvidia.com/gpu', 'amd.com/gpu']))", Some(".resources"), "a command on the host itself sees the graphics processors that its host shows it: leave the limit out, or name an image"),
    validation = rule("!self.everyNode || !has(self.target.node)", Some(".everyNode"), "everyNode is about the nodes of a fleet or of a nodeSelector: with one node, leave it out"),
    validation = rule("!self.everyNode || (!has(self.completions) && self.completionMode == 'NonIndexed')", Some(".everyNode"), "with everyNode the nodes are what is counted: leave completions and completionMode out"),
    // From here on as `validateJobSpec` and `ValidateJobSpecUpdate` of Kubernetes have it for batch/v1 Job.
    validation = rule("self.completionMode != 'Indexed' || has(self.completions) || !has(self.parallelism)", Some(".completions"), "an Indexed job needs completions: how many indexes there are"),
    validation = rule("self.completionMode != 'Indexed' || !has(self.parallelism) || self.parallelism <= 100000", Some(".parallelism"), "parallelism of an Indexed job is at most 100000"),
    validation = rule("!has(self.backoffLimitPerIndex) || self.completionMode == 'Indexed' || self.everyNode", Some(".backoffLimitPerIndex"), "backoffLimitPerIndex is for jobs that have indexes: set completionMode: Indexed, or use backoffLimit"),
    validation = rule("!has(self.maxFailedIndexes) || has(self.backoffLimitPerIndex)", Some(".maxFailedIndexes"), "maxFailedIndexes needs backoffLimitPerIndex, by which an index can fail alone"),
    validation = rule("!has(self.maxFailedIndexes) || (self.maxFailedIndexes <= 100000 && (self.everyNode || self.maxFailedIndexes <= (has(self.completions) ? self.completions : 1)))", Some(".maxFailedIndexes"), "maxFailedIndexes is at most completions, and at most 100000"),
    validation = rule("!has(self.backoffLimitPerIndex) || !has(self.completions) || self.completions <= 100000 || (has(self.maxFailedIndexes) && self.maxFailedIndexes <= 10000)", Some(".maxFailedIndexes"), "with backoffLimitPerIndex and more than 100000 completions, maxFailedIndexes must be set, to 10000 at most"),
    validation = rule("!has(self.backoffLimitPerIndex) || !has(self.completions) || self.completions <= 100000 || !has(self.parallelism) || self.parallelism <= 10000", Some(".parallelism"), "with backoffLimitPerIndex and more than 100000 completions, parallelism is at most 10000"),
    validation = rule("!has(self.successPolicy) || self.completionMode == 'Indexed'", Some(".successPolicy"), "successPolicy is for jobs that have indexes: set completionMode: Indexed"),
    validation = rule("!has(self.successPolicy) || self.successPolicy.rules.all(r, !has(r.succeededCount) || r.succeededCount <= (has(self.completions) ? self.completions : 1))", Some(".successPolicy"), "succeededCount is at most completions"),
    validation = rule("!has(self.podFailurePolicy) || has(self.backoffLimitPerIndex) || self.podFailurePolicy.rules.all(r, r.action != 'FailIndex')", Some(".podFailurePolicy"), "the action FailIndex needs backoffLimitPerIndex, by which an index can fail alone"),
    // Without both, completions is 1; with parallelism alone the first success is enough, and that is another job.
    validation = rule("self.everyNode || (has(self.completions) ? self.completions : has(self.parallelism) ? -1 : 1) == (has(oldSelf.completions) ? oldSelf.completions : has(oldSelf.parallelism) ? -1 : 1) || (self.completionMode == 'Indexed' && has(self.completions) && self.completions == (has(self.parallelism) ? self.parallelism : 1))", Some(".completions"), "completions can be changed only for an Indexed job, and together with parallelism to the same number (a job without completions has 1, or with parallelism alone ends after its first success: to change parallelism of a job that has neither, set completions: 1 as well)"),
    validation = immutable("script"),
    validation = immutable("command"),
    validation = immutable("args"),
    validation = immutable("env"),
    validation = immutable("envFrom"),
    validation = immutable("workingDir"),
    validation = immutable("shell"),
    validation = immutable("image"),
    validation = immutable("volumes"),
    validation = immutable("volumeMounts"),
    validation = immutable("backoffLimitPerIndex"),
    validation = immutable("podFailurePolicy"),
    validation = immutable("successPolicy"),
    validation = immutable("walltimeSeconds"),
    validation = immutable("after"),
    validation = immutable("managedBy"),
)]
#[serde(rename_all = "camelCase")]
pub struct CmdJobSpec {
    /// Where to run. Cannot be changed later.
    #[x_kube(validation = Rule::new("self == oldSelf").message("target cannot be changed, because the command may already have run there: make a new CmdJob under another name"))]
    pub target: Target,

    /// The text of a script, run by `shell`. It reaches the machine exactly as it is written here, up to 512 KiB of it;
    /// nothing in it is replaced. A script that begins with "#!" is executed itself if `shell` is not set, e.g.
    /// "#!/usr/bin/env python3". Set either script or command. Cannot be changed later.
    ///
    /// kubectl apply keeps a copy of the whole object in an annotation of at most 256 KiB: for longer scripts use
    /// kubectl create or kubectl apply --server-side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 524_288))]
    #[x_kube(validation = ("size(self) > 0", "the script is empty: write what is to be run"))]
    pub script: Option<String>,

    /// The absolute path of the program that runs the script, without options, e.g. /bin/bash. Default: the script's own
    /// "#!" line if it has one, else /bin/sh. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    #[x_kube(validation = ("self.startsWith('/') && !self.contains(' ')", "shell is the absolute path of one program, e.g. /bin/bash: options go into the script (set -e) or into its first line (#!/bin/bash -l) with shell left out"))]
    pub shell: Option<String>,

    /// The program to run and its first arguments, without a shell: no globs, no pipes, no redirections. A name without a
    /// slash is looked up in PATH. As in core/v1 Container, $(VAR) is replaced by the variable VAR of `env`, and $$ gives
    /// one $. Set either script or command. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), inner(length(max = 131_072)))]
    #[x_kube(validation = ("size(self) > 0 && size(self[0]) > 0", "command is empty: its first entry is the program, e.g. [hostname, -f]"))]
    pub command: Option<Vec<String>>,

    /// More arguments for command, with the same replacements. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096), inner(length(max = 131_072)))]
    pub args: Option<Vec<String>>,

    /// A container image to run it in, by the site's own container runtime: docker, podman, apptainer, shifter or another,
    /// e.g. docker.io/library/python:3.13, docker://godlovedc/lolcow or /images/me.sif. What the runtime can make of a name
    /// is the site's affair. Its entry point is not used: script or command say what is run, and the script's shell must be
    /// in the image. Default: no image, the command runs on the host itself. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    #[x_kube(validation = ("size(self) > 0 && !self.matches('[[:space:]]')", "image is one name without spaces, e.g. docker.io/library/python:3.13: leave it out to run on the host itself"))]
    pub image: Option<String>,

    /// What it may use at most, and what the node must have free for it. As in core/v1 Container. Can be changed later only
    /// while the job is suspended and nothing of it is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// Files for volumeMounts: a ConfigMap, a Secret, what the pod says of itself, an empty directory, a path on the node's
    /// host. As in core/v1 Pod, of whose kinds a vk-cmd node has these. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub volumes: Option<Vec<Volume>>,

    /// Where the command sees the volumes. As in core/v1 Container. Without an image, an absolute mountPath takes a mount
    /// namespace of the command's own, which some hosts do not allow: the attempt then says so. A relative one counts from a
    /// directory of the attempt's own, in which the command then starts; with an image, from the image's root. Cannot be changed
    /// later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["mountPath"]))]
    pub volume_mounts: Option<Vec<VolumeMount>>,

    /// Environment variables, on top of those that the node gives to every process. As in core/v1 Container. Cannot be
    /// changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    #[x_kube(
        validation = ("self.all(e, e.name.matches('^[ -<>-~]+$'))", "the name of an environment variable is not empty and consists of printable ASCII characters other than '='"),
        validation = ("self.all(e, !has(e.valueFrom) || !has(e.value) || e.value == '')", "a variable has either value or valueFrom"),
        validation = ("self.all(e, !has(e.valueFrom) || [has(e.valueFrom.configMapKeyRef), has(e.valueFrom.secretKeyRef), has(e.valueFrom.fieldRef), has(e.valueFrom.resourceFieldRef), has(e.valueFrom.fileKeyRef)].exists_one(source, source))", "valueFrom is exactly one of configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef and fileKeyRef"),
    )]
    pub env: Option<Vec<EnvVar>>,

    /// ConfigMaps and Secrets whose every key becomes an environment variable. As in core/v1 Container. Cannot be changed
    /// later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    #[x_kube(validation = ("self.all(from, has(from.configMapRef) != has(from.secretRef))", "an entry of envFrom is exactly one of configMapRef and secretRef"))]
    pub env_from: Option<Vec<EnvFromSource>>,

    /// The directory to run in, as an absolute path. Default: the home directory; with an image, the image's own; with
    /// relative volumeMounts and no image, the directory that they are in. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    #[x_kube(validation = ("self.startsWith('/')", "workingDir is an absolute path, e.g. /home/me/run1: it is not read by a shell, so ~ and $HOME do not work here (a script can cd \"$HOME\")"))]
    pub working_dir: Option<String>,

    /// How many attempts may be alive at a time. Default 1; with everyNode: all. 0 starts nothing. As in batch/v1 Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "parallelism is 0 (start nothing) or more"))]
    pub parallelism: Option<i32>,

    /// How many attempts must succeed. Default 1; if only parallelism is set: the first success is enough, and what runs then
    /// is waited for. As in batch/v1 Job. Can be changed later only for an Indexed job, together with parallelism.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "completions is 0 or more"))]
    pub completions: Option<i32>,

    /// NonIndexed: so many successes of attempts that are all alike. Indexed: one success for each index from 0 to
    /// completions-1, and each attempt finds its own in JOB_COMPLETION_INDEX. As in batch/v1 Job. Cannot be changed later.
    #[serde(default)]
    #[x_kube(validation = ("self == oldSelf", "completionMode cannot be changed, because attempts may have run under it: make a new CmdJob under another name"))]
    pub completion_mode: CompletionMode,

    /// True: one attempt on each node of the fleet or of the nodeSelector, those that are there when the job is taken up. Cannot
    /// be changed later.
    #[serde(default)]
    #[x_kube(validation = ("self == oldSelf", "everyNode cannot be changed, because attempts may have run under it: make a new CmdJob under another name"))]
    pub every_node: bool,

    /// How many failed attempts are followed by another one. Default 0: a command on a host is never run twice unasked.
    /// That is deliberately not batch/v1 Job's 6. The pause between attempts is 10 s and doubles up to 10 minutes, as in Job.
    /// With backoffLimitPerIndex the default is no limit, as in Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "backoffLimit is a number of further attempts: 0 (never run again) or more"))]
    pub backoff_limit: Option<i32>,

    /// How many failed attempts of one index are followed by another one; then the index has failed, and the others go on. Only
    /// for Indexed jobs and everyNode. As in batch/v1 Job. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "backoffLimitPerIndex is a number of further attempts: 0 (never run again) or more"))]
    pub backoff_limit_per_index: Option<i32>,

    /// With more failed indexes than this the whole job fails at once. Default: it goes on, and fails at its end. Needs
    /// backoffLimitPerIndex. As in batch/v1 Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "maxFailedIndexes is 0 or more"))]
    pub max_failed_indexes: Option<i32>,

    /// What to do about failed attempts, by their exit codes or the conditions of their pods. As in batch/v1 Job. Cannot be
    /// changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_failure_policy: Option<PodFailurePolicy>,

    /// When an Indexed job has succeeded though not every index has. As in batch/v1 Job. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_policy: Option<SuccessPolicy>,

    /// What an attempt means of which nobody knows how it ended, because its machine went away, say. Default Fail.
    #[serde(default)]
    pub on_unknown: OnUnknown,

    /// The longest that one attempt may take, in seconds: it is placed only where that much time is left, and ended after it.
    /// Default: no limit. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 1", "walltimeSeconds is 1 or more: leave it out for no limit"))]
    pub walltime_seconds: Option<i64>,

    /// Other CmdJobs of the same namespace that this one waits for. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub after: Option<Vec<After>>,

    /// Of two jobs of one namespace that wait for the same nodes, the one with the higher number starts first. Between
    /// namespaces it has no say: they share. Default 0.
    #[serde(default)]
    #[x_kube(validation = ("self >= -1000 && self <= 1000", "priority is from -1000 to 1000"))]
    pub priority: i32,

    /// Who runs the job, if not the vk-cmd operator: then the operator leaves it alone. As in batch/v1 Job, for Kueue's
    /// MultiKueue say. Cannot be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = (r"self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[-A-Za-z0-9/._~%!$&\'()*+,;=:]+$')", "managedBy is a domain and a path, e.g. kueue.x-k8s.io/multikueue"))]
    pub managed_by: Option<String>,

    /// The longest time that the job may be active, in seconds, counted from when the operator takes it up; waiting for a
    /// node and pauses between attempts are included. After it, the process is ended and the job has failed with reason
    /// DeadlineExceeded. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "activeDeadlineSeconds is 0 or more: leave it out for no limit"))]
    pub active_deadline_seconds: Option<i64>,

    /// How long after its end the CmdJob is deleted, with its pods and their logs, in seconds; 0 means at once. Default:
    /// never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0", "ttlSecondsAfterFinished is 0 (delete at once) or more: leave it out to keep the CmdJob"))]
    pub ttl_seconds_after_finished: Option<i32>,

    /// True: start nothing, and end what runs. Back to false: start anew, with the deadline counted anew. An attempt ended
    /// in this way does not count as failed.
    #[serde(default)]
    pub suspend: bool,

    /// How long a process that is to be ended may take between TERM and KILL, in seconds. At least 1: with 0, Kubernetes
    /// would forget the pod before its process is gone. Default 30. Cannot be changed later.
    #[serde(default = "default_grace")]
    #[x_kube(
        validation = ("self >= 1", "terminationGracePeriodSeconds is 1 or more: with 0, Kubernetes would forget the pod before its process is gone"),
        validation = ("self == oldSelf", "terminationGracePeriodSeconds cannot be changed, because pods are made with it: make a new CmdJob under another name"),
    )]
    pub termination_grace_period_seconds: i64,
}

/// Where to run: exactly one of the three.
// A struct with optional fields rather than an enum, so that the API server can say in words what is missing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[x_kube(
    validation = ("has(self.node) || has(self.fleet) || has(self.nodeSelector)", "the target is empty: name the node to run on, e.g. target: {node: vk-perlmutter-01}, or a fleet, or a nodeSelector"),
    validation = ("(has(self.node) ? 1 : 0) + (has(self.fleet) ? 1 : 0) + (has(self.nodeSelector) ? 1 : 0) <= 1", "the target is one of node, fleet and nodeSelector: leave the others out"),
)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The name of a vk-cmd node, which begins with vk-. See them with: kubectl get nodes -l type=virtual-kubelet
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(
        validation = ("self.startsWith('vk-')", "this is not a vk-cmd node: their names begin with vk-, e.g. vk-perlmutter-01 (list them: kubectl get nodes -l type=virtual-kubelet)"),
        validation = ("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')", "a node's name is a DNS name: lower-case letters, digits, - and ., with a letter or digit at each end, e.g. vk-perlmutter-01"),
    )]
    pub node: Option<String>,

    /// The name of a fleet: any vk-cmd node with the label vk-cmd.io/fleet of this value. The one with the most room is
    /// taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    #[x_kube(validation = ("self.matches('^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$')", "a fleet's name is the value of a label: letters, digits, -, _ and ., with a letter or digit at each end"))]
    pub fleet: Option<String>,

    /// Labels: any vk-cmd node that has all of them. The one with the most room is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 16))]
    #[x_kube(validation = ("size(self) > 0", "nodeSelector is empty: name at least one label, e.g. {vk-cmd.io/site: nersc}"))]
    pub node_selector: Option<BTreeMap<String, String>>,
}

fn default_grace() -> i64 {
    DEFAULT_GRACE_SECONDS
}

/// A rule on the whole spec, reported at `path` below it.
fn rule(cel: &str, path: Option<&str>, message: &str) -> Rule {
    let rule = Rule::new(cel).message(message);
    match path {
        Some(path) => rule.field_path(path),
        None => rule,
    }
}

/// The rule that an optional field neither comes, goes nor changes. It stands on the spec, because a rule on the field
/// itself would not be asked when the field comes or goes.
fn immutable(field: &str) -> Rule {
    let cel =
        format!("has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})");
    let message = format!(
        "{field} cannot be changed, because the command may already have run: make a new CmdJob under another name"
    );
    rule(&cel, Some(&format!(".{field}")), &message)
}
