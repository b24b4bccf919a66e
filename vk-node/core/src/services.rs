//! The variables that tell a container of Services, and of the API server above all. The names are those that the kubelet
//! gives them: see "Discovering services" in the documentation of Kubernetes.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;

use crate::facts::Endpoint;

/// A Service that has an address, with what its variables tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Its address: one of the cluster's own, which most sites do not reach.
    pub host: String,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its number.
    pub port: i32,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
}

/// The name of the API server's Service.
const MASTER: &str = "kubernetes";

impl Service {
    /// What is told of a Service; nothing of one without an address.
    #[must_use]
    pub fn of(service: &api::Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let host = spec.cluster_ip.clone().filter(|ip| !matches!(ip.as_str(), "" | "None"))?;
        let ports = spec.ports.iter().flatten().map(|port| Port {
            name: port.name.clone().filter(|name| !name.is_empty()),
            port: port.port,
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        });
        Some(Self { name: service.metadata.name.clone()?, host, ports: ports.collect() })
    }
}

/// The variables of the Services of a pod's namespace, and of the API server, which every container is told of: at an
/// address that it can reach, whatever its Service has.
#[must_use]
pub fn variables(services: &[Service], api_server: &Endpoint) -> BTreeMap<String, String> {
    let https = Port { name: Some("https".into()), port: i32::from(api_server.port), protocol: "TCP".into() };
    let master = Service { name: MASTER.into(), host: api_server.host.clone(), ports: vec![https] };
    let others = services.iter().filter(|service| service.name != MASTER);
    let mut all = BTreeMap::new();
    for service in others.chain([&master]) {
        add(service, &mut all);
    }
    all
}

fn add(service: &Service, all: &mut BTreeMap<String, String>) {
    let Service { name, host, ports } = service;
    let Some(first) = ports.first() else { return };
    let prefix = variable_name(name);
    all.insert(format!("{prefix}_SERVICE_HOST"), host.clone());
    all.insert(format!("{prefix}_SERVICE_PORT"), first.port.to_string());
    all.insert(format!("{prefix}_PORT"), url(host, first));
    for port in ports {
        if let Some(name) = &port.name {
            all.insert(format!("{prefix}_SERVICE_PORT_{}", variable_name(name)), port.port.to_string());
        }
        let prefix = format!("{prefix}_PORT_{}_{}", port.port, port.protocol.to_uppercase());
        all.insert(format!("{prefix}_PROTO"), port.protocol.to_lowercase());
        all.insert(format!("{prefix}_PORT"), port.port.to_string());
        all.insert(format!("{prefix}_ADDR"), host.clone());
        all.insert(prefix, url(host, port));
    }
}

fn url(host: &str, port: &Port) -> String {
    let protocol = port.protocol.to_lowercase();
    if host.contains(':') {
        format!("{protocol}://[{host}]:{}", port.port)
    } else {
        format!("{protocol}://{host}:{}", port.port)
    }
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;

    fn service(name: &str, spec: Value) -> Option<Service> {
        Service::of(&from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap())
    }

    #[test]
    fn variables_are_those_of_the_kubelet() {
        let services = [
            service(
                "db-main",
                json!({"clusterIP": "10.0.0.1", "ports": [
                    {"port": 5432}, {"name": "admin-ui", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
                ]}),
            ),
            service("six", json!({"clusterIP": "fd00::1", "ports": [{"port": 1}]})),
            service("headless", json!({"clusterIP": "None", "ports": [{"port": 1}]})),
            service("external", json!({"externalName": "x.org"})),
            service("kubernetes", json!({"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]})),
        ];
        let services: Vec<Service> = services.into_iter().flatten().collect();
        let found = variables(&services, &Endpoint { host: "api.example.org".into(), port: 6443 });
        let lines: Vec<String> = found.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            lines,
            [
                "DB_MAIN_PORT=tcp://10.0.0.1:5432",
                "DB_MAIN_PORT_53_UDP=udp://10.0.0.1:53",
                "DB_MAIN_PORT_53_UDP_ADDR=10.0.0.1",
                "DB_MAIN_PORT_53_UDP_PORT=53",
                "DB_MAIN_PORT_53_UDP_PROTO=udp",
                "DB_MAIN_PORT_5432_TCP=tcp://10.0.0.1:5432",
                "DB_MAIN_PORT_5432_TCP_ADDR=10.0.0.1",
                "DB_MAIN_PORT_5432_TCP_PORT=5432",
                "DB_MAIN_PORT_5432_TCP_PROTO=tcp",
                "DB_MAIN_PORT_80_TCP=tcp://10.0.0.1:80",
                "DB_MAIN_PORT_80_TCP_ADDR=10.0.0.1",
                "DB_MAIN_PORT_80_TCP_PORT=80",
                "DB_MAIN_PORT_80_TCP_PROTO=tcp",
                "DB_MAIN_SERVICE_HOST=10.0.0.1",
                "DB_MAIN_SERVICE_PORT=5432",
                "DB_MAIN_SERVICE_PORT_ADMIN_UI=80",
                "DB_MAIN_SERVICE_PORT_DNS=53",
                "KUBERNETES_PORT=tcp://api.example.org:6443",
                "KUBERNETES_PORT_6443_TCP=tcp://api.example.org:6443",
                "KUBERNETES_PORT_6443_TCP_ADDR=api.example.org",
                "KUBERNETES_PORT_6443_TCP_PORT=6443",
                "KUBERNETES_PORT_6443_TCP_PROTO=tcp",
                "KUBERNETES_SERVICE_HOST=api.example.org",
                "KUBERNETES_SERVICE_PORT=6443",
                "KUBERNETES_SERVICE_PORT_HTTPS=6443",
                "SIX_PORT=tcp://[fd00::1]:1",
                "SIX_PORT_1_TCP=tcp://[fd00::1]:1",
                "SIX_PORT_1_TCP_ADDR=fd00::1",
                "SIX_PORT_1_TCP_PORT=1",
                "SIX_PORT_1_TCP_PROTO=tcp",
                "SIX_SERVICE_HOST=fd00::1",
                "SIX_SERVICE_PORT=1",
            ]
        );
    }
}
