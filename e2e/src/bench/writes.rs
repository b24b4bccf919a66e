//! How many writes a job costs the API server, and whose they are: counted in its audit log.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::cli::Plan;
use super::contestant::{Contestant, Room};
use super::figures::{Writer, Writes};
use super::ground::Ground;
use super::sightings::Mark;
use crate::audit::{AuditLog, Entry};

/// The namespaces that are counted, and what happens in each. No other is logged, so that the log costs the rest nothing.
const COUNTED: [Counted; 6] = [
    Counted { namespace: "count-short", who: Contestant::CmdJob, life: Life::Short },
    Counted { namespace: "count-long", who: Contestant::CmdJob, life: Life::Long },
    Counted { namespace: "count-pod", who: Contestant::OurPod, life: Life::Long },
    Counted { namespace: "count-bound", who: Contestant::OurPod, life: Life::Bound },
    Counted { namespace: "count-fake", who: Contestant::FakePod, life: Life::Bound },
    Counted { namespace: "count-native", who: Contestant::FakeJob, life: Life::Short },
];

/// What is counted together.
#[derive(Debug, Clone, Copy)]
struct Counted {
    namespace: &'static str,
    who: Contestant,
    life: Life,
}

/// What becomes of a job that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It runs `true`, or nothing is run.
    Short,
    /// The same, in a pod that is bound from the beginning.
    Bound,
    /// It is seen running before it ends.
    Long,
}

impl Life {
    fn name(self) -> &'static str {
        match self {
            Self::Short => "ends at once",
            Self::Bound => BOUND,
            Self::Long => "seen Running before it ends",
        }
    }
}

/// What a pod is called that was created bound, and ran `true`.
pub(super) const BOUND: &str = "bound, ends at once";
/// The writer that is a node of ours.
pub(super) const NODE: &str = "vk-node";

/// What comes later belongs to no job: events are written behind.
const SETTLE: Duration = Duration::from_secs(3);

/// The API server's log of writes in the counted namespaces.
pub(super) fn audit_log() -> Result<AuditLog> {
    let namespaces = COUNTED.map(|counted| counted.namespace).join(", ");
    AuditLog::new(&format!(
        "{{level: Metadata, namespaces: [{namespaces}], verbs: [create, update, patch, delete, deletecollection]}}"
    ))
}

/// Makes a few jobs of each kind, one after the other, and counts.
pub(super) async fn measure(ground: &Ground, plan: &Plan) -> Result<Vec<Writes>> {
    eprintln!("bench: counting writes, {} jobs of each kind", plan.counted);
    for counted in COUNTED {
        let room = ground.room(counted.namespace).await?;
        for number in 0..plan.counted {
            one_job(ground, &room, counted, number).await?;
        }
    }
    tokio::time::sleep(SETTLE).await;
    let entries = ground.audit_log.entries()?;
    COUNTED.into_iter().map(|counted| count(&entries, counted, plan.counted)).collect()
}

async fn one_job(ground: &Ground, room: &Room, counted: Counted, number: usize) -> Result<()> {
    let Counted { namespace, who, life } = counted;
    let name = &who.object_name(namespace, number);
    let short = ["true".to_owned()];
    match life {
        Life::Short => room.create(who, name, &short).await?,
        Life::Bound => room.create_bound(who, name, &short).await?,
        Life::Long => {
            let created = room.create(who, name, &ground.workload.command(name)).await?;
            room.seen(who, name, Mark::Running).await?;
            ground.workload.open(1)?;
            created
        }
    };
    // Nobody ends a pod that is faked.
    let last = if who == Contestant::FakePod { Mark::Running } else { Mark::Ended };
    room.seen(who, name, last).await.map(drop)
}

fn count(entries: &[Entry], counted: Counted, jobs: usize) -> Result<Writes> {
    let Counted { namespace, who, life } = counted;
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    for entry in entries {
        let Some(object) = entry.object_ref.as_ref().filter(|object| object.namespace.as_deref() == Some(namespace))
        else {
            continue;
        };
        // What every new namespace gets has nothing to do with jobs.
        if object.subresource.is_none() && matches!(object.resource.as_str(), "serviceaccounts" | "configmaps") {
            continue;
        }
        *counts.entry((writer(entry), entry.act())).or_default() += 1;
    }
    let jobs_as_number = f64::from(u32::try_from(jobs)?);
    let per_job = |count: u32| f64::from(count) / jobs_as_number;
    let all = counts.values().sum();
    let by_writer =
        counts.into_iter().map(|((writer, what), count)| Writer { writer, what, per_job: per_job(count) }).collect();
    Ok(Writes { who, what: life.name(), jobs, per_job: per_job(all), by_writer })
}

/// Who it is, in a word.
fn writer(entry: &Entry) -> String {
    let agent = entry.user_agent.as_deref().unwrap_or_default();
    let name = entry.user.username.as_str();
    if agent.starts_with("kwok") {
        "kwok".to_owned()
    } else if name.starts_with("system:node:vk-") {
        NODE.to_owned()
    } else if name == "vk-cmd-admin" {
        "the user".to_owned()
    } else {
        // system:kube-scheduler, system:serviceaccount:kube-system:job-controller, the chart's ServiceAccount
        name.rsplit(':').next().unwrap_or(name).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_by_writer_and_by_what_they_do() {
        let line = |user: &str, verb: &str, object: &str, code: u16| {
            let text = format!(
                r#"{{"verb":"{verb}","user":{{"username":"{user}"}},"userAgent":"x","requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z","objectRef":{object},"responseStatus":{{"code":{code}}}}}"#
            );
            serde_json::from_str::<Entry>(&text).unwrap()
        };
        let status = r#"{"resource":"pods","subresource":"status","namespace":"n"}"#;
        let entries = [
            line("system:node:vk-a", "patch", status, 200),
            line("system:node:vk-a", "patch", status, 200),
            line("system:kube-scheduler", "create", r#"{"resource":"events","namespace":"n"}"#, 201),
            line("system:kube-scheduler", "create", r#"{"resource":"events","namespace":"other"}"#, 201),
            line("vk-cmd-admin", "create", r#"{"resource":"pods","namespace":"n"}"#, 409),
        ];
        let counted = Counted { namespace: "n", who: Contestant::OurPod, life: Life::Bound };
        let writes = count(&entries, counted, 2).unwrap();
        let shown: Vec<String> =
            writes.by_writer.iter().map(|w| format!("{} {} {}", w.writer, w.what, w.per_job)).collect();
        assert_eq!(
            shown,
            [
                "kube-scheduler create events 0.5",
                "the user create pods (refused: 409) 0.5",
                "vk-node patch pods/status 1"
            ]
        );
        assert_eq!(writes.per_job, 2.0);
    }
}
