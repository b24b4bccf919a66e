//! Probes: what is asked of a running container, how often, and what the answers come to.
//!
//! ```text
//!   core/v1 Probe ──read──▶ ProbeSpec ──┐
//!                                       ├──▶ machine: answers in a row ──▶ facts::Probe ──▶ life, status
//!   the run, what is published ─wanted──┘
//! ```
//!
//! The rules are those of the kubelet's prober (pkg/kubelet/prober), but for one: a probe belongs to one run of its
//! container, and a new run begins with nothing said and nothing counted.

pub mod machine;
mod read;
mod wanted;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::SignedDuration;

pub(crate) use self::read::read;
pub use self::read::{http_get, port};
pub use self::wanted::{Seen, wanted, was_started};

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Whether the program has come up. The other two wait for it.
    Startup,
    /// Whether it is to be ended, and run again as its restart policy says.
    Liveness,
    /// Whether it can serve.
    Readiness,
}

/// The probes of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes {
    /// `startupProbe`.
    pub startup: Option<ProbeSpec>,
    /// `livenessProbe`.
    pub liveness: Option<ProbeSpec>,
    /// `readinessProbe`.
    pub readiness: Option<ProbeSpec>,
}

/// A core/v1 `Probe` that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    /// What is done.
    pub handler: Handler,
    /// `initialDelaySeconds`: from the start of the run to the first probe.
    pub initial_delay: Duration,
    /// `periodSeconds`: from the beginning of one probe to that of the next.
    pub period: Duration,
    /// `timeoutSeconds`: a probe that takes longer has failed.
    pub timeout: Duration,
    /// `successThreshold`: so many successes in a row make a success.
    pub success_threshold: NonZeroU32,
    /// `failureThreshold`: so many failures in a row make a failure.
    pub failure_threshold: NonZeroU32,
    /// `terminationGracePeriodSeconds`: what the container is given between `SIGTERM` and `SIGKILL` when this probe ends
    /// it, instead of the pod's.
    pub grace: Option<SignedDuration>,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Runs a program in the container; the exit code 0 is a success.
    Exec {
        /// The program and its arguments. `$(VAR)` has been expanded with the variables of `env` that have a `value`, as
        /// the kubelet does (`ExpandContainerCommandOnlyStatic`).
        argv: Vec<String>,
    },
    /// Asks for a page; a status of 200 to 399 is a success.
    Http(HttpGet),
    /// Opens a connection, and closes it.
    Tcp {
        /// A name or an address; the pod's own if it is left out.
        host: Option<String>,
        /// The port.
        port: u16,
    },
    /// Calls `grpc.health.v1.Health/Check` at the pod's address; `SERVING` is a success.
    Grpc {
        /// The port.
        port: u16,
        /// `service` of the request.
        service: String,
    },
}

/// A core/v1 `HTTPGetAction` that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGet {
    /// How.
    pub scheme: Scheme,
    /// A name or an address; the pod's own if it is left out.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
    /// The path, and a query if there is one, as written.
    pub path: String,
    /// Names and values, as written; a name may come more than once.
    pub headers: Vec<(String, String)>,
}

/// How a page is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS; the server's certificate is not verified.
    Https,
}

impl Probes {
    /// The probe of this kind.
    #[must_use]
    pub fn get(&self, kind: Kind) -> Option<&ProbeSpec> {
        match kind {
            Kind::Startup => self.startup.as_ref(),
            Kind::Liveness => self.liveness.as_ref(),
            Kind::Readiness => self.readiness.as_ref(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.startup.is_none() && self.liveness.is_none() && self.readiness.is_none()
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];
}

/// As in the kubelet's events and metrics.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        })
    }
}

impl Scheme {
    /// As it stands in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
