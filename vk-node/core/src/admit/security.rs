//! The security contexts of a pod and its containers. A host process is the site's user's: what a context asks for is
//! refused where that is not so, and what it takes away is taken away.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{AppArmorProfile, Capabilities, PodSecurityContext, SeccompProfile, SecurityContext};
use vk_task::{Capability, Security};

use super::fields::Check;
use super::mounts::needs_mounts;
use super::resources::Where;
use crate::facts::{NodeFacts, SiteUser};

/// What `kubectl debug` asks for, in its default profile: to trace the processes of the pod. They are the same user's, and
/// who traces those needs no capability.
const TRACE: &str = "SYS_PTRACE";
/// The word for every capability.
const ALL: &str = "ALL";

/// What of a pod's context goes for its containers, where they do not say something else themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ForContainers {
    run_as_user: Option<i64>,
    run_as_group: Option<i64>,
    run_as_non_root: Option<bool>,
}

/// Reads the context of a whole pod.
pub(super) fn pod(check: &mut Check<'_>, context: Option<&PodSecurityContext>, node: &NodeFacts) -> ForContainers {
    let Some(context) = context else { return ForContainers::default() };
    let PodSecurityContext {
        // How the ownership of volumes is changed, which is not needed where all is one user's.
        fs_group_change_policy: _,
        // How groups are merged that are refused where they are not the user's own.
        supplemental_groups_policy: _,
        // How SELinux labels are put on volumes; labels are refused.
        se_linux_change_policy: _,
        run_as_group,
        run_as_non_root,
        run_as_user,
        app_armor_profile,
        fs_group,
        se_linux_options,
        seccomp_profile,
        supplemental_groups,
        sysctls,
        windows_options,
    } = context;
    group(check, "securityContext.fsGroup", *fs_group, node.user);
    for group in supplemental_groups.iter().flatten() {
        self::group(check, "securityContext.supplementalGroups", Some(*group), node.user);
    }
    check.default("securityContext.sysctls", sysctls.as_ref());
    check.default("securityContext.seLinuxOptions", se_linux_options.as_ref());
    check.default("securityContext.windowsOptions", windows_options.as_ref());
    profiles(check, seccomp_profile.as_ref(), app_armor_profile.as_ref());
    ForContainers { run_as_user: *run_as_user, run_as_group: *run_as_group, run_as_non_root: *run_as_non_root }
}

/// Reads the context of one container.
pub(super) fn container(
    check: &mut Check<'_>,
    context: Option<&SecurityContext>,
    pod: ForContainers,
    place: Where,
    node: &NodeFacts,
) -> Security {
    let none = SecurityContext::default();
    let SecurityContext {
        allow_privilege_escalation,
        app_armor_profile,
        capabilities,
        privileged,
        proc_mount,
        read_only_root_filesystem,
        run_as_group,
        run_as_non_root,
        run_as_user,
        se_linux_options,
        seccomp_profile,
        windows_options,
    } = context.unwrap_or(&none);
    user(check, run_as_user.or(pod.run_as_user), run_as_non_root.or(pod.run_as_non_root), node.user);
    group(check, "securityContext.runAsGroup", run_as_group.or(pod.run_as_group), node.user);
    if *privileged == Some(true) {
        check.add(
            "securityContext.privileged",
            "a process here has what the site's user has, and no more: leave it out",
        );
    }
    if proc_mount.as_deref().is_some_and(|kind| kind != "Default") {
        check.add("securityContext.procMount", "a host process sees the host's /proc: leave it out");
    }
    let read_only_root = *read_only_root_filesystem == Some(true);
    if read_only_root && place == Where::Host {
        needs_mounts(check, "securityContext.readOnlyRootFilesystem", "shown the host's files read-only", node);
    }
    check.default("securityContext.seLinuxOptions", se_linux_options.as_ref());
    check.default("securityContext.windowsOptions", windows_options.as_ref());
    profiles(check, seccomp_profile.as_ref(), app_armor_profile.as_ref());
    Security {
        no_new_privileges: *allow_privilege_escalation == Some(false),
        drop_capabilities: capabilities.as_ref().map(|all| dropped(check, all)).unwrap_or_default(),
        read_only_root,
    }
}

fn user(check: &mut Check<'_>, wanted: Option<i64>, non_root: Option<bool>, user: SiteUser) {
    match (wanted, user) {
        (Some(wanted), SiteUser::Known { uid, .. }) if wanted != i64::from(uid) => check.add(
            "securityContext.runAsUser",
            format!("processes here are the site's user's, who has the uid {uid}, not {wanted}: leave it out"),
        ),
        (Some(_), SiteUser::Unknown) => {
            check.add("securityContext.runAsUser", "who the site's user is is not known here: leave it out");
        }
        _ => {}
    }
    if non_root == Some(true) && matches!(user, SiteUser::Known { uid: 0, .. } | SiteUser::Unknown) {
        check.add(
            "securityContext.runAsNonRoot",
            "processes here are the site's user's, and that is root: leave it out, or choose another node; the pod of a CmdJob \
             has it where its namespace enforces the Pod Security Standard restricted, so choose another namespace",
        );
    }
}

fn group(check: &mut Check<'_>, field: &str, wanted: Option<i64>, user: SiteUser) {
    match (wanted, user) {
        (Some(wanted), SiteUser::Known { gid, .. }) if wanted != i64::from(gid) => check.add(
            field,
            format!("processes here are of the site's user's groups, the first of which is {gid}, not {wanted}: leave it out"),
        ),
        (Some(_), SiteUser::Unknown) => check.add(field, "who the site's user is is not known here: leave it out"),
        _ => {}
    }
}

/// The runtime's default profile is that of the site's runtime for an image, and none for a command on the host, which
/// no runtime runs. Another one would have to be loaded by root.
fn profiles(check: &mut Check<'_>, seccomp: Option<&SeccompProfile>, app_armor: Option<&AppArmorProfile>) {
    let localhost = |kind: &str| kind == "Localhost";
    if seccomp.is_some_and(|profile| localhost(&profile.type_)) {
        check.add("securityContext.seccompProfile", "only RuntimeDefault and Unconfined are known here");
    }
    if app_armor.is_some_and(|profile| localhost(&profile.type_)) {
        check.add("securityContext.appArmorProfile", "only RuntimeDefault and Unconfined are known here");
    }
}

fn dropped(check: &mut Check<'_>, capabilities: &Capabilities) -> BTreeSet<Capability> {
    let Capabilities { add, drop } = capabilities;
    if add.iter().flatten().any(|word| word != TRACE) {
        check.add(
            "securityContext.capabilities.add",
            "a process here has what the site's user has, and no more: leave it out",
        );
    }
    let mut all = BTreeSet::new();
    for word in drop.iter().flatten() {
        if word.eq_ignore_ascii_case(ALL) {
            all.extend(Capability::all());
            continue;
        }
        match word.parse() {
            Ok(capability) => {
                all.insert(capability);
            }
            Err(error) => check.add("securityContext.capabilities.drop", format!("{error}")),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::serde_json::{Value, from_value, json};

    use super::*;
    use crate::admit::admit;

    fn security(uid: u32, pod: Value, container: Value) -> Result<Security, Vec<String>> {
        let object: Pod = from_value(json!({
            "metadata": {"name": "a"},
            "spec": {
                "securityContext": pod,
                "containers": [{
                    "name": "c", "image": "vk-cmd.io/host", "command": ["true"], "securityContext": container,
                }],
            },
        }))
        .unwrap();
        let node = NodeFacts { user: SiteUser::Known { uid, gid: uid }, ..NodeFacts::default() };
        match admit(&object, &node) {
            Ok(mut admitted) => Ok(admitted.containers.remove(0).security),
            Err(refusal) => Err(refusal.0.into_iter().map(|p| p.field).collect()),
        }
    }

    #[test]
    fn what_the_restricted_standard_demands_is_had() {
        let pod = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        let container = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        let found = security(1000, pod, container).unwrap();
        assert!(found.no_new_privileges);
        assert_eq!(found.drop_capabilities.len(), Capability::all().count());
    }

    #[test]
    fn what_kubectl_debug_asks_for_is_had_by_everybody() {
        let container = json!({"capabilities": {"add": ["SYS_PTRACE"]}});
        assert_eq!(security(1000, json!({}), container), Ok(Security::default()));
        let more = json!({"capabilities": {"add": ["SYS_PTRACE", "SYS_ADMIN"]}});
        assert_eq!(security(0, json!({}), more).unwrap_err().len(), 1);
    }

    #[test]
    fn the_user_is_the_sites() {
        let same = json!({"runAsUser": 7, "runAsGroup": 7, "fsGroup": 7, "supplementalGroups": [7]});
        assert_eq!(security(7, same, json!({})), Ok(Security::default()));
        let at = |field: &str| format!("spec.containers[0].securityContext.{field}");
        // A container's own word stands before the pod's.
        assert_eq!(security(7, json!({"runAsUser": 8}), json!({"runAsUser": 7})), Ok(Security::default()));
        let other = json!({"runAsUser": 8, "runAsGroup": 8, "runAsNonRoot": true});
        let expected = [at("runAsUser"), at("runAsNonRoot"), at("runAsGroup")].to_vec();
        assert_eq!(security(0, other, json!({})), Err(expected));
    }

    #[test]
    fn what_nobody_can_give_is_refused() {
        let container = json!({
            "privileged": true, "procMount": "Unmasked", "readOnlyRootFilesystem": true,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["NONSENSE"]},
            "seccompProfile": {"type": "Localhost"}, "appArmorProfile": {"type": "Localhost"},
            "seLinuxOptions": {"level": "s0"},
        });
        let fields = security(7, json!({"sysctls": [{"name": "a", "value": "b"}]}), container).unwrap_err();
        assert_eq!(fields.len(), 9, "{fields:?}");
    }
}
