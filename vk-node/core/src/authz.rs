//! What a client of the kubelet's API must be allowed to do, for each route.
//!
//! ```text
//!   method, path ──▶ verb on nodes/{a subresource of its own}   allowed ──▶ served
//!                              │ denied
//!                              ▼
//!                    the same verb on nodes/proxy               allowed ──▶ served, else refused
//! ```
//!
//! As in "Kubelet authentication/authorization" in Kubernetes' documentation and `pkg/kubelet/server/auth.go`, but for one
//! thing: there the verb follows from the HTTP method alone, and `kubectl exec` over a WebSocket begins with a GET, so that
//! whoever may *read* `nodes/proxy` may run commands in any pod of the node. Here what acts in a container needs `create`.

use std::fmt;

/// A verb of an access review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// To read.
    Get,
    /// To act, and all that is not known to be less.
    Create,
    /// To replace.
    Update,
    /// To change.
    Patch,
    /// To remove.
    Delete,
}

/// A subresource of `nodes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subresource {
    /// The list of pods.
    Pods,
    /// Whether the kubelet is well.
    Healthz,
    /// The kubelet's configuration and flags.
    Configz,
    /// Figures of nodes and pods.
    Stats,
    /// The same, for Prometheus.
    Metrics,
    /// The host's own log files.
    Log,
    /// Checkpoints of containers.
    Checkpoint,
    /// The kubelet's state.
    Statusz,
    /// All the rest.
    Proxy,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The verb.
    pub verb: Verb,
    /// The subresources: to be allowed the verb on any of them is enough. They are asked for in this order.
    pub any_of: &'static [Subresource],
}

/// The path segments below which a request acts in a container, or as one, whatever its method.
const ACTING: [&str; 5] = ["exec", "attach", "portForward", "run", "cri"];

/// What a request of `method` to `path` needs. The path is the one that routes are matched against, not decoded.
#[must_use]
pub fn needed(method: &str, path: &str) -> Needed {
    use Subresource::{Checkpoint, Configz, Healthz, Log, Metrics, Pods, Proxy, Stats, Statusz};
    let first = path.strip_prefix('/').unwrap_or(path).split('/').next().unwrap_or_default();
    let any_of: &[Subresource] = match first {
        "pods" | "runningpods" => &[Pods, Proxy],
        "healthz" => &[Healthz, Proxy],
        "configz" => &[Configz, Proxy],
        "stats" => &[Stats],
        "metrics" => &[Metrics],
        "logs" => &[Log],
        "checkpoint" => &[Checkpoint],
        "statusz" => &[Statusz],
        "flagz" => &[Configz],
        _ => &[Proxy],
    };
    let verb = if ACTING.contains(&first) { Verb::Create } else { verb_of(method) };
    Needed { verb, any_of }
}

/// The verb of a method. The kubelet knows none for those that are not listed, which only who may do everything has;
/// none of them is served.
fn verb_of(method: &str) -> Verb {
    match method {
        "GET" | "HEAD" => Verb::Get,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ => Verb::Create,
    }
}

impl Verb {
    /// As an access review has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

impl Subresource {
    /// As an access review has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Healthz => "healthz",
            Self::Configz => "configz",
            Self::Stats => "stats",
            Self::Metrics => "metrics",
            Self::Log => "log",
            Self::Checkpoint => "checkpoint",
            Self::Statusz => "statusz",
            Self::Proxy => "proxy",
        }
    }
}

/// In the kubelet's words: `verb=get, resource=nodes, subresource(s)=[pods proxy]`.
impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.any_of.iter().map(|subresource| subresource.as_str()).collect();
        write!(f, "verb={}, resource=nodes, subresource(s)=[{}]", self.verb.as_str(), names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every route of the kubelet, with every method that one could try on it.
    #[test]
    fn every_route_needs_what_the_kubelet_asks_for() {
        let by_method = [("GET", "get"), ("HEAD", "get"), ("POST", "create"), ("PUT", "update"), ("PATCH", "patch")];
        let read = [
            ("/pods", "pods proxy"),
            ("/pods/", "pods proxy"),
            ("/pods/x", "pods proxy"),
            ("/runningpods", "pods proxy"),
            ("/runningpods/", "pods proxy"),
            ("/healthz", "healthz proxy"),
            ("/healthz/ping", "healthz proxy"),
            ("/healthz/syncloop", "healthz proxy"),
            ("/configz", "configz proxy"),
            ("/flagz", "configz"),
            ("/statusz", "statusz"),
            ("/stats", "stats"),
            ("/stats/summary", "stats"),
            ("/metrics", "metrics"),
            ("/metrics/cadvisor", "metrics"),
            ("/metrics/resource", "metrics"),
            ("/metrics/probes", "metrics"),
            ("/metrics/slis", "metrics"),
            ("/logs", "log"),
            ("/logs/", "log"),
            ("/logs/a/b", "log"),
            ("/checkpoint/ns/pod/container", "checkpoint"),
            ("/containerLogs/ns/pod/container", "proxy"),
            ("/debug/pprof/profile", "proxy"),
            ("/debug/flags/v", "proxy"),
            ("/", "proxy"),
            ("", "proxy"),
            ("*", "proxy"),
            // Only whole segments count, and only as they are written.
            ("/podsx", "proxy"),
            ("/Pods", "proxy"),
            ("//pods", "proxy"),
            ("/./pods", "proxy"),
            ("/p%6fds", "proxy"),
            ("/statsandmore", "proxy"),
            ("/livez", "proxy"),
            ("/unknown/pods", "proxy"),
        ];
        for (path, subresources) in read {
            for (method, verb) in by_method {
                let expected = format!("verb={verb}, resource=nodes, subresource(s)=[{subresources}]");
                assert_eq!(needed(method, path).to_string(), expected, "{method} {path}");
            }
        }
    }

    #[test]
    fn who_acts_in_a_container_needs_create_whatever_the_method() {
        let acting = [
            "/exec/ns/pod/container",
            "/exec/ns/pod/uid/container",
            "/attach/ns/pod/container",
            "/attach/ns/pod/uid/container",
            "/portForward/ns/pod",
            "/portForward/ns/pod/uid",
            "/run/ns/pod/container",
            "/run/ns/pod/uid/container",
            "/exec",
            "/exec/",
            "/cri/exec/token",
        ];
        for path in acting {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "get", ""] {
                let expected = "verb=create, resource=nodes, subresource(s)=[proxy]";
                assert_eq!(needed(method, path).to_string(), expected, "{method} {path}");
            }
        }
    }

    #[test]
    fn unknown_methods_need_what_acting_needs() {
        for method in ["OPTIONS", "TRACE", "CONNECT", "get", ""] {
            assert_eq!(needed(method, "/pods").verb, Verb::Create, "{method}");
        }
        assert_eq!(needed("DELETE", "/pods").verb, Verb::Delete);
    }
}
