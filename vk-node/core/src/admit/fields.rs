//! The fields of a pod, one by one. The patterns name every field of the type: when Kubernetes adds one, this file
//! no longer compiles until somebody has decided about it.

use k8s_openapi::api::core::v1::{self as core_v1, Container, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use vk_cmd_crds::labels::{COMPLETION_INDEX, is_host_image};
use vk_site::Kind;
use vk_task::{HostAlias, Image, Limits, Place, Security, Stdin, Stdio};

use super::Problem;
use super::mounts::{self, AdmittedMount, needs_mounts};
use super::resources::{self, Where};
use super::security::{self, ForContainers};
use super::volumes::{self, AdmittedVolume};
use crate::env_files::EnvFile;
use crate::facts::NodeFacts;
use crate::images::ImageRule;
use crate::probe::{self, Probes};

/// Collects problems under a common prefix.
pub(super) struct Check<'a> {
    pub(super) at: &'a str,
    pub(super) problems: &'a mut Vec<Problem>,
}

/// What the fields of a container come to, besides what it runs and with which variables.
pub(super) struct Settings {
    pub(super) place: Place,
    pub(super) mounts: Vec<AdmittedMount>,
    pub(super) host_aliases: Vec<HostAlias>,
    pub(super) stdio: Stdio,
    pub(super) limits: Limits,
    pub(super) probes: Probes,
    pub(super) security: Security,
}

impl Check<'_> {
    pub(super) fn add(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(Problem { field: format!("{}.{field}", self.at), message: message.into() });
    }

    /// Refuses a field that is set at all.
    fn unset<T>(&mut self, field: &str, value: Option<&T>) {
        if value.is_some() {
            self.add(field, "this version of vk-node cannot honour it: leave it out");
        }
    }

    /// Refuses a field that is set to anything but its default, which is how most clients leave it out.
    pub(super) fn default<T: Default + PartialEq>(&mut self, field: &str, value: Option<&T>) {
        self.unset(field, value.filter(|v| **v != T::default()));
    }
}

/// What the fields of a pod come to for its containers.
pub(super) struct OfPod {
    pub(super) volumes: Vec<AdmittedVolume>,
    /// What its security context says.
    pub(super) security: ForContainers,
    pub(super) host_aliases: Vec<HostAlias>,
    pub(super) shares_processes: bool,
}

/// Whether the pod's host name is none that somebody counts on. From the kubelet (`generatePodSandboxConfig`), which leaves it
/// out in the host's network; and the Job controller writes one into every pod of an Indexed Job, `JOB-INDEX`, asked or not.
fn needs_no_hostname(meta: &ObjectMeta, spec: &PodSpec) -> bool {
    let of_index = || {
        let job = meta.owner_references.as_ref()?.iter().find(|o| o.controller == Some(true) && o.kind == "Job")?;
        let index = meta.annotations.as_ref()?.get(COMPLETION_INDEX)?;
        Some(format!("{}-{index}", job.name))
    };
    spec.host_network == Some(true) || (spec.hostname.is_some() && spec.hostname == of_index())
}

/// Checks the fields of a pod's specification other than its containers.
pub(super) fn pod(meta: &ObjectMeta, spec: &PodSpec, node: &NodeFacts, problems: &mut Vec<Problem>) -> OfPod {
    let PodSpec {
        // Honoured by the node: see `AdmittedPod`.
        active_deadline_seconds: _,
        containers: _,
        enable_service_links: _,
        ephemeral_containers: _,
        init_containers: _,
        readiness_gates: _,
        restart_policy: _,
        termination_grace_period_seconds: _,
        // Honoured by the API server, the scheduler and the controllers before the pod comes here.
        affinity: _,
        node_name: _,
        node_selector: _,
        overhead: _,
        preemption_policy: _,
        priority: _,
        priority_class_name: _,
        scheduler_name: _,
        scheduling_gates: _,
        scheduling_group: _,
        service_account: _,
        service_account_name: _,
        automount_service_account_token: _,
        tolerations: _,
        topology_spread_constraints: _,
        // It is the site's runtime that gets an image, with what the site's user has for it: see docs/reference/pod-fields.md.
        image_pull_secrets: _,
        // A host process is in the host's network, process and IPC namespaces: to ask for them is to get them.
        host_ipc: _,
        host_network: _,
        host_pid: _,
        dns_config,
        dns_policy,
        host_aliases,
        host_users,
        hostname,
        hostname_override,
        os,
        resource_claims,
        resources,
        runtime_class_name,
        security_context,
        set_hostname_as_fqdn,
        share_process_namespace,
        subdomain,
        volumes,
    } = spec;
    let mut check = Check { at: "spec", problems };
    check.default("dnsConfig", dns_config.as_ref());
    if dns_policy.as_deref() == Some("None") {
        check.add("dnsPolicy", "a host process resolves names as its host does: leave it out, or write Default");
    }
    if *host_users == Some(false) {
        check.add("hostUsers", "a host process runs as the site's user: leave it out");
    }
    check.default("hostname", hostname.as_ref().filter(|_| !needs_no_hostname(meta, spec)));
    check.unset("hostnameOverride", hostname_override.as_ref());
    if let Some(os) = os.as_ref().filter(|os| os.name != "linux") {
        check.add("os.name", format!("this node runs linux, not {}", os.name));
    }
    check.default("resourceClaims", resource_claims.as_ref());
    if resources.as_ref().is_some_and(|r| r.limits.as_ref().is_some_and(|limits| !limits.is_empty())) {
        check.add("resources.limits", "vk-node limits each container by itself: write the limits there");
    }
    check.default("resources.claims", resources.as_ref().and_then(|r| r.claims.as_ref()));
    check.unset("runtimeClassName", runtime_class_name.as_ref());
    let security = security::pod(&mut check, security_context.as_ref(), node);
    check.default("setHostnameAsFQDN", set_hostname_as_fqdn.as_ref());
    check.default("subdomain", subdomain.as_ref());
    let alias = |alias: &core_v1::HostAlias| HostAlias {
        ip: alias.ip.clone(),
        hostnames: alias.hostnames.clone().unwrap_or_default(),
    };
    OfPod {
        volumes: volumes::read(&mut check, volumes.iter().flatten()),
        security,
        host_aliases: host_aliases.iter().flatten().map(alias).collect(),
        shares_processes: *share_process_namespace == Some(true),
    }
}

/// Checks the fields of one container, whose image is one of the node's map if there is a `rule` for it, and gives what
/// they come to.
pub(super) fn container(
    container: &Container,
    rule: Option<&ImageRule>,
    at: &str,
    OfPod { volumes, security: pod_security, host_aliases, shares_processes }: &OfPod,
    node: &NodeFacts,
    problems: &mut Vec<Problem>,
) -> Settings {
    let Container {
        // Honoured: see `AdmittedContainer`.
        args: _,
        command: _,
        env_from: _,
        name: _,
        working_dir: _,
        // What a host process listens on is open on the host already; the list is for people and Services.
        ports: _,
        // It is the site's runtime that gets an image.
        image_pull_policy: _,
        // How a resize would be done; a resize itself is refused by way of the limits.
        resize_policy: _,
        // Honoured: see the module `lifecycle`.
        lifecycle: _,
        restart_policy: _,
        restart_policy_rules: _,
        termination_message_path: _,
        termination_message_policy: _,
        // Honoured: see `Probes`.
        liveness_probe: _,
        readiness_probe: _,
        startup_probe: _,
        env,
        image,
        resources,
        security_context,
        stdin,
        stdin_once,
        tty,
        volume_devices,
        volume_mounts,
    } = container;
    let mut check = Check { at, problems };
    let image = image.as_deref().filter(|image| !is_host_image(image) && rule.is_none());
    let place = if image.is_some() { Where::Image } else { Where::Host };
    if image == Some("") {
        check.add("image", "it is empty: name an image, or vk-cmd.io/host to run the command on the host itself");
    }
    let mut wrong = Vec::new();
    let probes = probe::read(container, &mut wrong);
    for (field, why) in wrong {
        check.add(&field, why);
    }
    let security = security::container(&mut check, security_context.as_ref(), *pod_security, place, node);
    if *shares_processes && place == Where::Image {
        let why = "a container of this site's runtime has its processes to itself: leave it out, or run on the host";
        check.problems.push(Problem { field: "spec.shareProcessNamespace".into(), message: why.into() });
    }
    if !host_aliases.is_empty() {
        names(&mut check, place, node);
    }
    for var in env.iter().flatten() {
        let selector = var.value_from.as_ref().and_then(|from| from.file_key_ref.as_ref());
        if let Some(Err(why)) = selector.map(EnvFile::of) {
            check.add(&format!("env[{}].valueFrom.fileKeyRef", var.name), why);
        }
    }
    check.default("volumeDevices", volume_devices.as_ref());
    let (limits, gpus) = resources::limits(&mut check, resources.as_ref(), place);
    let mounts =
        mounts::read(&mut check, volume_mounts.iter().flatten(), place, volumes, security.read_only_root, node);
    let reference = image.unwrap_or_default().to_owned();
    Settings {
        place: match place {
            Where::Host => Place::Host,
            Where::Image => Place::Image(Image { reference, mounts: Vec::new(), gpus }),
        },
        mounts,
        host_aliases: host_aliases.clone(),
        stdio: Stdio { stdin: stdin_of(*stdin, *stdin_once), terminal: *tty == Some(true) },
        limits,
        probes,
        security,
    }
}

/// Whether a container can have host names of its own: it is its pod's field that would be to blame.
fn names(check: &mut Check<'_>, place: Where, node: &NodeFacts) {
    let mut check = Check { at: "spec", problems: check.problems };
    match place {
        Where::Host => needs_mounts(&mut check, "hostAliases", "given an /etc/hosts of its own", node),
        Where::Image if node.image_runtime.as_deref() == Some(Kind::Shifter.name()) => {
            check.add("hostAliases", "shifter mounts nothing in /etc: leave it out");
        }
        Where::Image => {}
    }
}

fn stdin_of(stdin: Option<bool>, once: Option<bool>) -> Stdin {
    match (stdin, once) {
        (Some(true), Some(true)) => Stdin::Once,
        (Some(true), _) => Stdin::Open,
        // As core/v1 says of stdinOnce: without stdin there is none that could be closed.
        _ => Stdin::Null,
    }
}
