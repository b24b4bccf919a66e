//! A layer of settings as the keys and values of the file that would say the same.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::settings::{LEASE_DURATION, MAX_PODS, PORT, STATUS_REPORT_EVERY, STATUS_UPDATE_EVERY, home_pipe};
use super::{CertificateSettings, EndSettings, TunnelSettings, pressure};
use super::{MemberSettings, Names, NodeTaint, PipeOwner, Pressure, PressureSettings, Settings};
use crate::ending::EndPlan;

/// One setting: the keys that lead to it in the file, and its value as the file has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The keys: one, or two where the first is a mapping.
    pub path: Vec<String>,
    /// The value.
    pub value: Value,
}

/// A time as the file has it.
fn time(time: Duration) -> Value {
    match time.subsec_millis() {
        0 => json!(format!("{}s", time.as_secs())),
        _ => json!(format!("{}ms", time.as_millis())),
    }
}

/// The settings that are said, in the order of the documented example.
#[derive(Default)]
struct Saying(Vec<Said>);

impl Saying {
    fn top(&mut self, key: &str, value: Option<impl Into<Value>>) {
        self.0.extend(value.map(|value| Said { path: vec![key.to_owned()], value: value.into() }));
    }

    fn within(&mut self, key: &str, inner: &str, value: Option<impl Into<Value>>) {
        self.0.extend(value.map(|value| Said { path: vec![key.to_owned(), inner.to_owned()], value: value.into() }));
    }
}

impl Settings {
    /// What this layer says. Settings that only tests have are not among it.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        let mut saying = Saying::default();
        let all = &mut saying;
        match &self.names {
            None => {}
            Some(Names::One(name)) => all.top("nodeName", Some(name.as_str())),
            Some(Names::Numbered { prefix, count }) => {
                all.top("nodes", Some(json!({"prefix": prefix, "count": count})));
            }
            Some(Names::Listed(nodes)) => {
                let listed = nodes.iter().map(|(name, own)| listed(name.as_str(), own));
                all.top("nodes", Some(Value::Array(listed.collect())));
            }
        }
        self.member.say(all);
        all.top("clientCAFile", self.client_ca_file.as_ref().map(|file| json!(file)));
        let tunnel = &self.tunnel;
        all.within("tunnel", "to", tunnel.to.as_ref().map(ToString::to_string));
        all.within("tunnel", "bind", tunnel.bind.map(|bind| bind.to_string()));
        all.within("tunnel", "apiServer", tunnel.api_server.as_ref().map(endpoint));
        all.within("tunnel", "program", tunnel.program.as_ref().map(|program| json!(program)));
        all.within("tunnel", "configFile", tunnel.config_file.as_ref().map(|file| json!(file)));
        all.within("tunnel", "options", tunnel.options.as_ref().map(|options| json!(options)));
        all.within("relay", "address", self.relay.addresses.as_ref().map(ToString::to_string));
        all.within("relay", "caFile", self.relay.ca_file.as_ref().map(|file| json!(file)));
        let certificates = &self.certificates;
        all.top("bootstrapKubeconfig", certificates.bootstrap_kubeconfig.as_ref().map(|file| json!(file)));
        all.top("certDirectory", certificates.directory.as_ref().map(|directory| json!(directory)));
        all.top("serverTLSBootstrap", certificates.serving);
        let service = self.kubernetes_service.as_ref();
        all.within("kubernetesService", "host", service.map(|service| service.host.as_str()));
        all.within("kubernetesService", "port", service.map(|service| service.port));
        self.ending.say(all);
        all.top("images", self.images.as_ref().map(|images| json!(images)));
        self.pressure.say(all);
        all.top("nodeStatusUpdateFrequency", self.status_update_every.map(time));
        all.top("nodeStatusReportFrequency", self.status_report_every.map(time));
        all.top("nodeLeaseDurationSeconds", self.lease_duration_seconds);
        let owner = self.pipe_owner.map(|owner| match owner {
            PipeOwner::Node => "node",
            PipeOwner::External => "external",
        });
        all.within("pipe", "run", owner);
        all.within("pipe", "directory", self.hostpipe.as_ref().map(|directory| json!(directory)));
        all.within("pipe", "records", self.records.as_ref().map(|directory| json!(directory)));
        all.within("pipe", "cgroup", self.cgroup.as_ref().map(ToString::to_string));
        all.within("pipe", "siteFile", self.site_file.as_ref().map(|file| json!(file)));
        all.top("log", self.log.as_deref());
        saying.0
    }

    /// The layer beneath this one, which is all that anybody has said: the defaults.
    #[must_use]
    pub fn defaults(&self, home: Option<std::path::PathBuf>) -> Self {
        let hostpipe = home_pipe(home);
        let plan = EndPlan::default();
        let pressure = Pressure::default();
        let is_tunnelled = self.tunnel.to.is_some();
        let mut member = MemberSettings { port: Some(PORT), max_pods: Some(MAX_PODS), ..MemberSettings::default() };
        if is_tunnelled {
            let address = match self.tunnel.bind {
                Some(crate::tunnel::Bind::Address(address)) => address,
                Some(crate::tunnel::Bind::Every) | None => std::net::Ipv4Addr::LOCALHOST.into(),
            };
            member.address = Some(address);
            member.listen_address = Some(std::net::Ipv4Addr::LOCALHOST.into());
            member.port = Some(0);
        }
        Self {
            member,
            tunnel: match is_tunnelled {
                true => TunnelSettings { program: Some("ssh".into()), ..TunnelSettings::default() },
                false => TunnelSettings::default(),
            },
            certificates: CertificateSettings {
                directory: self.hostpipe.as_ref().or(hostpipe.as_ref()).map(|pipe| pipe.join("pki")),
                serving: Some(true),
                ..CertificateSettings::default()
            },
            pipe_owner: Some(PipeOwner::Node),
            hostpipe,
            cgroup: Some(vk_task::CgroupChoice::Auto),
            pressure: PressureSettings {
                memory: Some(pressure.memory),
                disk: Some(pressure.disk),
                inodes: Some(pressure.inodes),
                processes: Some(pressure.processes),
                transition_period: Some(pressure.transition_period),
            },
            status_update_every: Some(STATUS_UPDATE_EVERY),
            status_report_every: Some(STATUS_REPORT_EVERY),
            lease_duration_seconds: u32::try_from(LEASE_DURATION.as_secs()).ok(),
            ending: EndSettings {
                margin: Some(plan.margin),
                check_every: Some(plan.check_every),
                kill_wait: Some(plan.kill_wait),
                notice: Some(plan.notice),
                warning: plan.warning,
                on_term: Some(plan.on_term),
            },
            log: Some(super::LOG.to_owned()),
            ..Self::default()
        }
    }
}

impl MemberSettings {
    fn say(&self, all: &mut Saying) {
        all.top("kubeconfig", self.kubeconfig.as_ref().map(|file| json!(file)));
        all.top("address", self.address.map(|address| address.to_string()));
        all.top("listenAddress", self.listen_address.map(|address| address.to_string()));
        all.top("port", self.port);
        all.top("site", self.site.as_deref());
        all.top("fleet", self.fleet.as_deref());
        all.top("nodetype", self.node_type.as_deref());
        all.top("walltimeSeconds", self.walltime.map(|time| time.as_secs()));
        for (key, value) in &self.labels {
            all.within("labels", key, Some(value.as_str()));
        }
        all.top("registerWithTaints", self.taints.as_ref().map(|all| all.iter().map(taint).collect::<Vec<Value>>()));
        all.top("maxPods", self.max_pods);
        for (key, of) in [("capacity", &self.capacity), ("systemReserved", &self.reserved)] {
            for (name, quantity) in of.quantities() {
                all.within(key, &name, Some(quantity.0));
            }
        }
    }
}

impl EndSettings {
    fn say(&self, all: &mut Saying) {
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        all.top("walltimeMarginSeconds", seconds(self.margin));
        all.top("walltimeCheckSeconds", seconds(self.check_every));
        all.top("killWaitSeconds", seconds(self.kill_wait));
        all.top("noticeSeconds", seconds(self.notice));
        all.top("warningSignal", self.warning.map(|warning| warning.to_string()));
        all.top("onTerm", self.on_term.map(crate::ending::OnTerm::word));
    }
}

impl PressureSettings {
    fn say(&self, all: &mut Saying) {
        let [memory, disk, inodes, processes, period] = pressure::KEYS;
        for (key, least) in
            [(memory, self.memory), (disk, self.disk), (inodes, self.inodes), (processes, self.processes)]
        {
            all.within(
                "pressure",
                key,
                least.map(|least| match least {
                    super::Threshold::Amount(amount) => json!(amount),
                    super::Threshold::Percent(_) => json!(least.to_string()),
                }),
            );
        }
        all.within("pressure", period, self.transition_period.map(time));
    }
}

/// An item of `nodes`.
fn listed(name: &str, own: &MemberSettings) -> Value {
    let mut saying = Saying::default();
    own.say(&mut saying);
    let mut item = Map::new();
    item.insert("name".to_owned(), json!(name));
    for Said { path, value } in saying.0 {
        match path.as_slice() {
            [key] => drop(item.insert(key.clone(), value)),
            [key, inner] => {
                let map = item.entry(key.clone()).or_insert_with(|| json!({}));
                if let Value::Object(map) = map {
                    map.insert(inner.clone(), value);
                }
            }
            _ => {}
        }
    }
    Value::Object(item)
}

fn taint(taint: &NodeTaint) -> Value {
    json!({"key": taint.key, "value": taint.value, "effect": taint.effect.name()})
}

fn endpoint(at: &crate::facts::Endpoint) -> String {
    if at.host.contains(':') { format!("[{}]:{}", at.host, at.port) } else { format!("{}:{}", at.host, at.port) }
}
