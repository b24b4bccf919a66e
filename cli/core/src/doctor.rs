//! What `doctor` looks at, and what it says of it. Each check has an id that stays, a reason, and a fix where one is needed.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use serde::Serialize;
use strum::{Display, VariantArray};
use vk_cmd_crds::{CmdJob, labels};
use vk_operator_core::place::{NodeSeen, NodeState};

/// The headings of [`Check::row`].
pub const HEADINGS: [&str; 3] = ["CHECK", "RESULT", "REASON"];
/// The oldest Kubernetes that the project is tried with, as a minor version of 1.
const OLDEST_MINOR: u32 = 33;
/// How long a CmdJob may be there before an operator has looked at it.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Display, VariantArray)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Outcome {
    /// Well.
    Ok,
    /// Something works less well than it could.
    Warning,
    /// Something that is needed is not there.
    Failed,
    /// It could not be found out.
    Unknown,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its id.
    pub id: &'static str,
    /// How it went.
    pub result: Outcome,
    /// What was found.
    pub reason: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn new(id: &'static str, result: Outcome, reason: impl Into<String>, fix: Option<&str>) -> Self {
        Self { id, result, reason: reason.into(), fix: fix.map(str::to_owned) }
    }

    /// As a row below [`HEADINGS`].
    #[must_use]
    pub fn row(&self) -> Vec<String> {
        let fix = self.fix.as_ref().map(|fix| format!(" → {fix}")).unwrap_or_default();
        vec![self.id.to_owned(), self.result.to_string(), format!("{}{fix}", self.reason)]
    }
}

/// Whether nothing that is needed is missing.
#[must_use]
pub fn is_well(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.result != Outcome::Failed)
}

/// `kubeconfig`: whether there are credentials.
#[must_use]
pub fn kubeconfig(found: Result<&str, &str>) -> Check {
    match found {
        Ok(url) => Check::new("kubeconfig", Outcome::Ok, format!("it leads to {url}"), None),
        Err(why) => {
            Check::new("kubeconfig", Outcome::Failed, why, Some("name one: --kubeconfig FILE, or export KUBECONFIG"))
        }
    }
}

/// `server`: whether the API server answers, and of what version it is.
#[must_use]
pub fn server(answer: Result<(&str, &str), &str>, took: SignedDuration) -> Check {
    let (major, minor) = match answer {
        Ok(version) => version,
        Err(why) => {
            let fix = "is the network (a VPN, a proxy) up, and are the credentials still good? `kubectl version` asks the same";
            return Check::new("server", Outcome::Failed, format!("the API server does not answer: {why}"), Some(fix));
        }
    };
    let number: u32 = minor.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or_default();
    let reason = format!("Kubernetes {major}.{minor} answers in {} ms", took.as_millis());
    if major == "1" && number < OLDEST_MINOR {
        let fix =
            format!("vk-cmd is tried with 1.{OLDEST_MINOR} and later: what is newer than that server may be missing");
        return Check::new("server", Outcome::Warning, reason, Some(&fix));
    }
    Check::new("server", Outcome::Ok, reason, None)
}

/// `crd-cmdjobs` and `crd-cmdfleets`: whether the API server knows the kinds. `served` are the resources of the API group.
#[must_use]
pub fn kinds(served: Result<&[String], &str>) -> [Check; 2] {
    [("crd-cmdjobs", "cmdjobs"), ("crd-cmdfleets", "cmdfleets")].map(|(id, plural)| {
        let fix = "have an administrator install the chart: helm install vk-cmd charts/vk-cmd -n vk-cmd-system --create-namespace";
        match served {
            Ok(all) if all.iter().any(|name| name == plural) => {
                Check::new(id, Outcome::Ok, format!("{plural}.{}/{} is served", labels::GROUP, labels::VERSION), None)
            }
            Ok(_) => Check::new(id, Outcome::Failed, format!("there is no resource {plural} in {}", labels::GROUP), Some(fix)),
            Err(why) => Check::new(id, Outcome::Failed, format!("{} is not served: {why}", labels::GROUP), Some(fix)),
        }
    })
}

/// `operator`: whether somebody looks at CmdJobs, by what has become of those that are there. An operator outside the cluster has no
/// pod that could be looked for.
#[must_use]
pub fn operator(jobs: Result<&[CmdJob], &str>, now: Timestamp) -> Check {
    let jobs = match jobs {
        Ok(jobs) => jobs,
        Err(why) => {
            return Check::new("operator", Outcome::Unknown, format!("CmdJobs cannot be listed: {why}"), Some(TRY));
        }
    };
    let ours: Vec<&CmdJob> = jobs.iter().filter(|job| job.spec.managed_by.is_none()).collect();
    let seen = |job: &CmdJob| job.status.as_ref().and_then(|status| status.observed_generation);
    let is_seen = |job: &CmdJob| seen(job).is_some() && seen(job) >= job.metadata.generation;
    let age = |job: &CmdJob| job.metadata.creation_timestamp.as_ref().map(|time| now.duration_since(time.0));
    let unseen = ours.iter().find(|job| seen(job).is_none() && age(job).is_some_and(|age| age > PATIENCE));
    match (unseen, ours.iter().any(|job| is_seen(job))) {
        (Some(job), _) => {
            let name = crate::plain::name(job);
            let fix = "is it running? `kubectl get pods -A -l app.kubernetes.io/name=vk-cmd`, and its log";
            Check::new(
                "operator",
                Outcome::Failed,
                format!("nobody has looked at {name}, which is there for longer than {} s", PATIENCE.as_secs()),
                Some(fix),
            )
        }
        (None, true) => Check::new("operator", Outcome::Ok, "it has looked at CmdJobs that are here", None),
        (None, false) => {
            Check::new("operator", Outcome::Unknown, "there is no CmdJob by which it could be seen at work", Some(TRY))
        }
    }
}

const TRY: &str = "`kubectl cmdjob doctor --try` makes one that is held, and deletes it again";

/// `operator` with `--try`: how long it took to look at a job that was made for it.
#[must_use]
pub fn tried(took: Result<SignedDuration, &str>) -> Check {
    match took {
        Ok(took) => {
            Check::new("operator", Outcome::Ok, format!("it took up a job within {} ms", took.as_millis()), None)
        }
        Err(why) => {
            let fix = "is it running? `kubectl get pods -A -l app.kubernetes.io/name=vk-cmd`, and its log";
            Check::new("operator", Outcome::Failed, why, Some(fix))
        }
    }
}

/// `nodes`: whether there are vk-nodes that take jobs.
#[must_use]
pub fn nodes(nodes: Result<&[Node], &str>) -> Check {
    let nodes = match nodes {
        Ok(nodes) => nodes,
        Err(why) => {
            let fix = "only lists need it, not jobs: have an administrator bind a ClusterRole with get and list of nodes to you";
            return Check::new("nodes", Outcome::Unknown, format!("nodes cannot be listed: {why}"), Some(fix));
        }
    };
    let is_ready = |node: &&Node| NodeSeen::of(node).state == NodeState::Ready;
    let ready = nodes.iter().filter(is_ready).count();
    let reason = format!("{ready} of {} vk-nodes take jobs", nodes.len());
    let fix = "start one at a site: `vk-node join --run`, with a line that `vk-operator join-token --fleet NAME` makes";
    match ready {
        0 => Check::new("nodes", Outcome::Warning, reason, Some(fix)),
        _ => Check::new("nodes", Outcome::Ok, reason, None),
    }
}

/// Something that one may do or not: a question to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The id of its check.
    pub id: &'static str,
    /// The verb.
    pub verb: &'static str,
    /// The API group.
    pub group: &'static str,
    /// The resource.
    pub resource: &'static str,
    /// The subresource, or nothing.
    pub subresource: &'static str,
    /// Whether it is about the namespace, or about the cluster.
    pub namespaced: bool,
    /// Whether jobs cannot be run without it.
    pub is_needed: bool,
    /// What it is for.
    pub purpose: &'static str,
    /// The ClusterRole that has it, in a namespace.
    pub role: &'static str,
}

const fn right(
    id: &'static str,
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    purpose: &'static str,
) -> Right {
    Right { id, verb, group, resource, subresource: "", namespaced: true, is_needed: true, purpose, role: "edit" }
}

/// The rights that the commands use.
pub const RIGHTS: [Right; 14] = [
    right("rbac-run", "create", labels::GROUP, "cmdjobs", "run"),
    Right {
        is_needed: false,
        role: "vk-cmd-node-user",
        ..right(
            "rbac-use",
            "use",
            labels::GROUP,
            "nodes",
            "run, where the chart is installed with admissionPolicy.cmdJobs",
        )
    },
    right("rbac-get", "get", labels::GROUP, "cmdjobs", "list, explain"),
    right("rbac-list", "list", labels::GROUP, "cmdjobs", "list, wait"),
    right("rbac-watch", "watch", labels::GROUP, "cmdjobs", "wait, logs, run --wait"),
    right("rbac-cancel", "delete", labels::GROUP, "cmdjobs", "cancel"),
    right("rbac-hold", "patch", labels::GROUP, "cmdjobs", "hold, release, requeue"),
    right("rbac-pods", "list", "", "pods", "logs, explain, top"),
    right("rbac-pods-watch", "watch", "", "pods", "logs"),
    Right { subresource: "log", ..right("rbac-logs", "get", "", "pods", "logs, run -f") },
    Right { is_needed: false, ..right("rbac-events", "list", "events.k8s.io", "events", "explain") },
    Right { is_needed: false, namespaced: false, ..right("rbac-nodes", "list", "", "nodes", "nodes") },
    Right { is_needed: false, namespaced: false, ..right("rbac-fleets", "list", labels::GROUP, "cmdfleets", "fleets") },
    Right { is_needed: false, ..right("rbac-metrics", "list", "metrics.k8s.io", "pods", "top") },
];

/// Whether one may.
#[must_use]
pub fn may(right: &Right, namespace: &str, answer: Result<bool, &str>) -> Check {
    let dot = if right.group.is_empty() { "" } else { "." };
    let slash = if right.subresource.is_empty() { "" } else { "/" };
    let what = format!("{} {}{dot}{}{slash}{}", right.verb, right.resource, right.group, right.subresource);
    let place = if right.namespaced { format!("in {namespace}") } else { "in the cluster".to_owned() };
    let purpose = right.purpose;
    match answer {
        Ok(true) => Check::new(right.id, Outcome::Ok, format!("you may {what} {place}"), None),
        Ok(false) => {
            let result = if right.is_needed { Outcome::Failed } else { Outcome::Warning };
            let fix = match right.namespaced {
                true => format!(
                    "have an administrator bind a role to you: kubectl -n {namespace} create rolebinding cmdjobs-{0} --clusterrole {0} \
                     --user YOU",
                    right.role
                ),
                false => "have an administrator bind a ClusterRole with it to you; jobs run without".to_owned(),
            };
            Check::new(right.id, result, format!("you may not {what} {place}, which is for: {purpose}"), Some(&fix))
        }
        Err(why) => Check::new(
            right.id,
            Outcome::Unknown,
            format!("whether you may {what} {place} cannot be asked: {why}"),
            None,
        ),
    }
}

/// `completion`: whether kubectl finds what completes words.
#[must_use]
pub fn completion(is_on_path: bool) -> Check {
    match is_on_path {
        true => Check::new("completion", Outcome::Ok, format!("{} is on the PATH", crate::completion::PROGRAM), None),
        false => Check::new(
            "completion",
            Outcome::Warning,
            format!("{} is not on the PATH: the Tab key completes nothing", crate::completion::PROGRAM),
            Some("`kubectl cmdjob completion` says how"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::plain::tests::job;

    /// Every check that has failed or warns says what to do.
    fn result(check: &Check) -> Outcome {
        let is_bad = matches!(check.result, Outcome::Failed | Outcome::Warning);
        assert!(!is_bad || check.fix.is_some(), "{check:?}");
        check.result
    }

    #[test]
    fn ids_are_there_once() {
        let ids: BTreeSet<&str> = RIGHTS.iter().map(|right| right.id).collect();
        assert_eq!(ids.len(), RIGHTS.len());
    }

    #[test]
    fn what_is_missing_is_told() {
        assert_eq!(result(&kubeconfig(Ok("https://x"))), Outcome::Ok);
        assert_eq!(result(&kubeconfig(Err("there is none"))), Outcome::Failed);
        let took = SignedDuration::from_millis(5);
        assert_eq!(result(&server(Ok(("1", "36")), took)), Outcome::Ok);
        assert_eq!(result(&server(Ok(("1", "28+")), took)), Outcome::Warning);
        assert_eq!(result(&server(Err("timed out"), took)), Outcome::Failed);
        let served = ["cmdjobs".to_owned(), "cmdjobs/status".to_owned()];
        assert_eq!(kinds(Ok(&served)).map(|check| result(&check)), [Outcome::Ok, Outcome::Failed]);
        assert_eq!(kinds(Err("404")).map(|check| result(&check)), [Outcome::Failed, Outcome::Failed]);
        assert_eq!(result(&completion(false)), Outcome::Warning);
        assert_eq!(result(&nodes(Ok(&[]))), Outcome::Warning);
        assert_eq!(result(&nodes(Err("forbidden"))), Outcome::Unknown);
        for right in &RIGHTS {
            assert_eq!(result(&may(right, "lab", Ok(true))), Outcome::Ok);
            let refused = if right.is_needed { Outcome::Failed } else { Outcome::Warning };
            assert_eq!(result(&may(right, "lab", Ok(false))), refused);
            assert_eq!(result(&may(right, "lab", Err("no answer"))), Outcome::Unknown);
        }
        let log = RIGHTS.iter().find(|right| right.id == "rbac-logs").unwrap();
        assert_eq!(may(log, "lab", Ok(true)).reason, "you may get pods/log in lab");
    }

    #[test]
    fn an_operator_is_known_by_its_work() {
        let of = |generation: i64, seen: Option<i64>| {
            let mut job = job("a", &json!({}), &json!({"observedGeneration": seen}));
            job.metadata.generation = Some(generation);
            job
        };
        let (soon, late) = ("2026-01-02T03:04:15Z".parse().unwrap(), "2026-01-02T03:05:05Z".parse().unwrap());
        let outcome = |jobs: &[CmdJob], now| result(&operator(Ok(jobs), now));
        assert_eq!(outcome(&[], late), Outcome::Unknown);
        assert_eq!(outcome(&[of(1, None)], soon), Outcome::Unknown);
        assert_eq!(outcome(&[of(1, None)], late), Outcome::Failed);
        assert_eq!(outcome(&[of(1, None), of(1, Some(1))], late), Outcome::Failed);
        assert_eq!(outcome(&[of(2, Some(1))], late), Outcome::Unknown);
        assert_eq!(outcome(&[of(1, Some(1)), of(1, Some(1))], late), Outcome::Ok);
        assert_eq!(result(&operator(Err("forbidden"), late)), Outcome::Unknown);
        assert_eq!(result(&tried(Err("nobody came"))), Outcome::Failed);
    }
}
