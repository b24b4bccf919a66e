//! `/configz`: what is in force, as the kubelet tells it.

use serde_json::{Value, json};

use super::{MemberConfig, NodeConfig, PipeOwner};

/// What `member` works with: `kubeletconfig` in the words of `KubeletConfiguration`, for tools that read a kubelet's, and
/// `vk-node` with what only a vk-node has. There are no secrets in it.
#[must_use]
pub fn configz(config: &NodeConfig, member: &MemberConfig) -> Value {
    let seconds = |time: std::time::Duration| format!("{}s", time.as_secs_f64());
    let taints: Vec<Value> = member
        .taints
        .iter()
        .map(|taint| json!({"key": taint.key, "value": taint.value, "effect": taint.effect.name()}))
        .collect();
    let pressure = &config.pressure;
    json!({
        "kubeletconfig": {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "address": member.listen_address.or(member.address),
            "port": member.port,
            "maxPods": member.max_pods,
            "authentication": {
                "x509": {"clientCAFile": config.client_ca_file},
                "anonymous": {"enabled": false},
            },
            "authorization": {"mode": "Webhook"},
            "rotateCertificates": true,
            "serverTLSBootstrap": config.certificates.serving,
            "registerNode": true,
            "registerWithTaints": taints,
            "systemReserved": member.reserved.quantities(),
            "nodeStatusUpdateFrequency": seconds(config.status_update_every),
            "nodeStatusReportFrequency": seconds(config.status_report_every),
            "nodeLeaseDurationSeconds": config.lease_duration.as_secs(),
            // Nothing is evicted here.
            "evictionHard": {},
            "cgroupsPerQOS": false,
            "enableServer": true,
        },
        "vk-node": {
            "nodeName": member.name.as_str(),
            "kubeconfig": member.kubeconfig,
            "bootstrapKubeconfig": config.certificates.bootstrap_kubeconfig,
            "certDirectory": config.certificates.directory_of(&member.name),
            "address": member.address,
            "tunnel": config.tunnel.as_ref().map(|tunnel| json!({
                "to": tunnel.to.to_string(),
                "bind": tunnel.bind.map(|bind| bind.to_string()),
                "apiServer": tunnel.api_server.as_ref().map(|at| json!({"host": at.host, "port": at.port})),
                "program": tunnel.program,
                "configFile": tunnel.config_file,
                "options": tunnel.options,
            })),
            "relay": config
                .relay
                .as_ref()
                .map(|relay| json!({"address": relay.addresses.to_string(), "caFile": relay.ca_file})),
            "labels": member.labels,
            "capacity": member.capacity.quantities(),
            "walltimeSeconds": member.walltime.said.map(|time| time.as_secs()),
            "walltimeMarginSeconds": config.ending.margin.as_secs(),
            "walltimeCheckSeconds": config.ending.check_every.as_secs(),
            "killWaitSeconds": config.ending.kill_wait.as_secs(),
            "noticeSeconds": config.ending.notice.as_secs(),
            "warningSignal": config.ending.warning.map(|warning| warning.to_string()),
            "onTerm": config.ending.on_term.word(),
            "nodesInThisProcess": config.members.len(),
            "images": config.images,
            "kubernetesService": config
                .kubernetes_service
                .as_ref()
                .map(|service| json!({"host": service.host, "port": service.port})),
            "pressure": {
                "memory.available": pressure.memory.to_string(),
                "nodefs.available": pressure.disk.to_string(),
                "nodefs.inodesFree": pressure.inodes.to_string(),
                "pid.available": pressure.processes.to_string(),
                "transitionPeriod": seconds(pressure.transition_period),
            },
            "pipe": {
                "run": match config.pipe.owner {
                    PipeOwner::Node => "node",
                    PipeOwner::External => "external",
                },
                "directory": config.pipe.directory,
                "records": config.pipe.records,
                "cgroup": config.pipe.cgroup.to_string(),
                "siteFile": config.pipe.site_file,
            },
        },
    })
}
