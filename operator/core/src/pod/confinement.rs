//! What the processes of a pod are held to, by the Pod Security Standard of its namespace.

use k8s_openapi::api::core::v1::{Capabilities, Pod, PodSecurityContext, SeccompProfile, SecurityContext};

/// What the processes of a pod are held to.
///
/// ```text
///   Usual ──the API server: below the Pod Security Standard of its namespace──► Restricted
/// ```
///
/// Most commands need nothing that `Restricted` takes, but some do, and so it is not everybody's: `no_new_privs` leaves set-uid
/// programs (sudo, fusermount, a set-uid Apptainer) without effect, and a site of root refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// What the site's user may: nothing is said.
    Usual,
    /// What the Pod Security Standard `restricted` asks for of every pod. A vk-node can honour all of it.
    Restricted,
}

/// How an Event tells of a pod that is held to the standard; nothing of another.
pub fn confined(pod: &Pod) -> Option<&'static str> {
    let is_confined = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref())
        .is_some_and(|context| context.run_as_non_root == Some(true) && context.seccomp_profile.is_some());
    is_confined.then_some(
        "held to the Pod Security Standard restricted, which its namespace enforces: set-uid programs have no effect in it",
    )
}

impl Confinement {
    pub(super) fn of_pod(self) -> Option<PodSecurityContext> {
        (self == Self::Restricted).then(|| PodSecurityContext {
            run_as_non_root: Some(true),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        })
    }

    pub(super) fn of_container(self) -> Option<SecurityContext> {
        (self == Self::Restricted).then(|| SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            ..SecurityContext::default()
        })
    }
}
