//! From a core/v1 `Probe` to one that can be made: the API's defaults, and everything that is wrong at once.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Handler, HttpGet, Kind, ProbeSpec, Probes, Scheme};
use crate::expand::expand;

/// What is asked for where no path is said.
const HTTP_PATH: &str = "/";

/// Something wrong: the field below the container, and why.
type Wrong = (String, String);

/// Reads the probes of a container, with what is wrong about them.
pub(crate) fn read(container: &Container, wrong: &mut Vec<Wrong>) -> Probes {
    let Container { startup_probe, liveness_probe, readiness_probe, .. } = container;
    let mut one = |kind, field: &str, probe: &Option<Probe>| {
        let probe = probe.as_ref()?;
        let mut inner = Vec::new();
        let spec = spec(kind, probe, container, &mut inner);
        wrong.extend(inner.into_iter().map(|(inside, why)| (join(field, &inside), why)));
        spec
    };
    Probes {
        startup: one(Kind::Startup, "startupProbe", startup_probe),
        liveness: one(Kind::Liveness, "livenessProbe", liveness_probe),
        readiness: one(Kind::Readiness, "readinessProbe", readiness_probe),
    }
}

fn join(field: &str, inside: &str) -> String {
    if inside.is_empty() { field.to_owned() } else { format!("{field}.{inside}") }
}

fn spec(kind: Kind, probe: &Probe, container: &Container, wrong: &mut Vec<Wrong>) -> Option<ProbeSpec> {
    let Probe {
        exec: _,
        grpc: _,
        http_get: _,
        tcp_socket: _,
        initial_delay_seconds,
        period_seconds,
        timeout_seconds,
        success_threshold,
        failure_threshold,
        termination_grace_period_seconds,
    } = probe;
    let handler = handler(probe, container, wrong);
    let mut number = |field: &str, value: &Option<i32>, default: u32| match value.unwrap_or(0) {
        // The API server writes the default for a zero.
        0 => default,
        n => u32::try_from(n).unwrap_or_else(|_| {
            wrong.push((field.into(), format!("{n} is less than 0")));
            default
        }),
    };
    let initial_delay = number("initialDelaySeconds", initial_delay_seconds, 0);
    let period = number("periodSeconds", period_seconds, 10);
    let timeout = number("timeoutSeconds", timeout_seconds, 1);
    let success = number("successThreshold", success_threshold, 1);
    let failure = number("failureThreshold", failure_threshold, 3);
    if success != 1 && kind != Kind::Readiness {
        wrong.push(("successThreshold".into(), "it must be 1 for startup and liveness probes".into()));
    }
    let grace = termination_grace_period_seconds.map(SignedDuration::from_secs);
    if grace.is_some_and(|grace| !grace.is_positive()) {
        wrong.push(("terminationGracePeriodSeconds".into(), "it must be greater than 0".into()));
    }
    if grace.is_some() && kind == Kind::Readiness {
        let why = "a readiness probe ends nothing: leave it out";
        wrong.push(("terminationGracePeriodSeconds".into(), why.into()));
    }
    let threshold = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Some(ProbeSpec {
        handler: handler?,
        initial_delay: Duration::from_secs(initial_delay.into()),
        period: Duration::from_secs(period.into()),
        timeout: Duration::from_secs(timeout.into()),
        success_threshold: threshold(success),
        failure_threshold: threshold(failure),
        grace,
    })
}

fn handler(probe: &Probe, container: &Container, wrong: &mut Vec<Wrong>) -> Option<Handler> {
    let mut all = Vec::new();
    if let Some(exec) = &probe.exec {
        let command = exec.command.as_deref().unwrap_or_default();
        if command.is_empty() {
            wrong.push(("exec.command".into(), "there is none: write the program to run".into()));
        }
        let variables: BTreeMap<&str, &str> = container
            .env
            .iter()
            .flatten()
            .map(|var| (var.name.as_str(), var.value.as_deref().unwrap_or_default()))
            .collect();
        let argv = command.iter().map(|text| expand(text, |name| variables.get(name).copied())).collect();
        all.push(Some(Handler::Exec { argv }));
    }
    if let Some(action) = &probe.http_get {
        let mut inner = Vec::new();
        all.push(http_get(action, container, &mut inner).map(Handler::Http));
        wrong.extend(inner.into_iter().map(|(inside, why)| (join("httpGet", &inside), why)));
    }
    if let Some(tcp) = &probe.tcp_socket {
        let host = tcp.host.clone().filter(|host| !host.is_empty());
        let port = port(&tcp.port, container).map_err(|why| wrong.push(("tcpSocket.port".into(), why)));
        all.push(port.ok().map(|port| Handler::Tcp { host, port }));
    }
    if let Some(grpc) = &probe.grpc {
        let port = number_of_port(grpc.port).map_err(|why| wrong.push(("grpc.port".into(), why)));
        let service = grpc.service.clone().unwrap_or_default();
        all.push(port.ok().map(|port| Handler::Grpc { port, service }));
    }
    match all.len() {
        0 => wrong.push((String::new(), "it does nothing: write one of exec, httpGet, tcpSocket, grpc".into())),
        1 => {}
        _ => wrong.push((String::new(), "it does more than one of exec, httpGet, tcpSocket, grpc".into())),
    }
    all.into_iter().next().flatten()
}

/// Reads an action that asks for a page: of a probe or of a hook. What is wrong is told with the field below it.
pub fn http_get(action: &HTTPGetAction, container: &Container, wrong: &mut Vec<(String, String)>) -> Option<HttpGet> {
    let HTTPGetAction { host, http_headers, path, port: at, scheme } = action;
    let scheme = match scheme.as_deref() {
        None | Some("" | "HTTP") => Some(Scheme::Http),
        Some("HTTPS") => Some(Scheme::Https),
        Some(other) => {
            wrong.push(("scheme".into(), format!("{other:?} is neither HTTP nor HTTPS")));
            None
        }
    };
    let mut headers = Vec::new();
    for header in http_headers.iter().flatten() {
        if !is_header_name(&header.name) {
            wrong.push(("httpHeaders".into(), format!("{:?} is no name of a header", header.name)));
        } else if header.value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f) {
            wrong.push(("httpHeaders".into(), format!("the value of {} has control characters", header.name)));
        } else {
            headers.push((header.name.clone(), header.value.clone()));
        }
    }
    let port = port(at, container).map_err(|why| wrong.push(("port".into(), why))).ok();
    Some(HttpGet {
        scheme: scheme?,
        host: host.clone().filter(|host| !host.is_empty()),
        port: port?,
        path: path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| HTTP_PATH.into()),
        headers,
    })
}

/// The number of a port that is said by number, or by the name that it has among the container's ports.
///
/// # Errors
/// When there is no such port, for people.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let name = match port {
        IntOrString::Int(number) => return number_of_port(*number),
        IntOrString::String(name) => name,
    };
    let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
    // As the kubelet reads it: a number may have been written as a text.
    match named.map(|port| port.container_port).or_else(|| name.parse().ok()) {
        Some(number) => number_of_port(number),
        None => Err(format!("none of the container's ports has the name {name:?}: name it there, or write its number")),
    }
}

fn number_of_port(number: i32) -> Result<u16, String> {
    let port = u16::try_from(number).ok().filter(|port| *port > 0);
    port.ok_or_else(|| format!("{number} is no port: write 1 to 65535"))
}

/// A token of RFC 9110.
fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;

    fn container(fields: Value) -> Container {
        let mut container = json!({"name": "c"});
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        from_value(container).unwrap()
    }

    fn read_all(fields: Value) -> (Probes, Vec<Wrong>) {
        let mut wrong = Vec::new();
        let probes = read(&container(fields), &mut wrong);
        (probes, wrong)
    }

    #[test]
    fn what_is_not_said_is_as_the_api_says() {
        let (probes, wrong) = read_all(json!({"readinessProbe": {"httpGet": {"port": 80}}}));
        assert_eq!(wrong, []);
        let expected = ProbeSpec {
            handler: Handler::Http(HttpGet {
                scheme: Scheme::Http,
                host: None,
                port: 80,
                path: "/".into(),
                headers: vec![],
            }),
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            success_threshold: NonZeroU32::MIN,
            failure_threshold: NonZeroU32::new(3).unwrap(),
            grace: None,
        };
        assert_eq!(probes, Probes { readiness: Some(expected), ..Probes::default() });
    }

    #[test]
    fn every_handler_is_read() {
        let (probes, wrong) = read_all(json!({
            "env": [{"name": "A", "value": "1"}, {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "ports": [{"name": "web", "containerPort": 8080}],
            "startupProbe": {"exec": {"command": ["cat", "$(A)", "$(F)", "$(B)", "$$(A)"]}, "initialDelaySeconds": 4,
                "periodSeconds": 5, "timeoutSeconds": 6, "failureThreshold": 8, "terminationGracePeriodSeconds": 9},
            "livenessProbe": {"tcpSocket": {"port": "web", "host": "h"}},
            "readinessProbe": {"grpc": {"port": 9, "service": "s"}, "successThreshold": 2},
        }));
        assert_eq!(wrong, []);
        let startup = probes.startup.unwrap();
        let argv = ["cat", "1", "", "$(B)", "$(A)"].map(String::from).to_vec();
        assert_eq!(startup.handler, Handler::Exec { argv });
        let seconds = [startup.initial_delay, startup.period, startup.timeout].map(|d| d.as_secs());
        assert_eq!((seconds, startup.failure_threshold.get()), ([4, 5, 6], 8));
        assert_eq!(startup.grace, Some(SignedDuration::from_secs(9)));
        assert_eq!(probes.liveness.unwrap().handler, Handler::Tcp { host: Some("h".into()), port: 8080 });
        let readiness = probes.readiness.unwrap();
        assert_eq!(readiness.handler, Handler::Grpc { port: 9, service: "s".into() });
        assert_eq!(readiness.success_threshold.get(), 2);
    }

    #[test]
    fn a_page_is_asked_for_as_written() {
        let (probes, wrong) =
            read_all(json!({"livenessProbe": {"httpGet": {"port": "81", "scheme": "HTTPS", "host": "h",
            "path": "a?b=c", "httpHeaders": [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]}}}));
        assert_eq!(wrong, []);
        let headers = vec![("X".into(), "1".into()), ("X".into(), "2".into())];
        let expected =
            HttpGet { scheme: Scheme::Https, host: Some("h".into()), port: 81, path: "a?b=c".into(), headers };
        assert_eq!(probes.liveness.unwrap().handler, Handler::Http(expected));
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let (_, wrong) = read_all(json!({
            "startupProbe": {},
            "livenessProbe": {"exec": {"command": []}, "grpc": {"port": 0}, "successThreshold": 2, "periodSeconds": -1,
                "terminationGracePeriodSeconds": 0},
            "readinessProbe": {"terminationGracePeriodSeconds": 1, "httpGet": {"port": "web", "scheme": "FTP",
                "httpHeaders": [{"name": "a b", "value": ""}, {"name": "a", "value": "\n"}]}},
        }));
        let fields: Vec<&str> = wrong.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "startupProbe",
                "livenessProbe.exec.command",
                "livenessProbe.grpc.port",
                "livenessProbe",
                "livenessProbe.periodSeconds",
                "livenessProbe.successThreshold",
                "livenessProbe.terminationGracePeriodSeconds",
                "readinessProbe.httpGet.scheme",
                "readinessProbe.httpGet.httpHeaders",
                "readinessProbe.httpGet.httpHeaders",
                "readinessProbe.httpGet.port",
                "readinessProbe.terminationGracePeriodSeconds",
            ]
        );
    }
}
