//! What the page shows: the rows of `list`, `nodes` and `fleets` and the story of `explain`, in the same words.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;
use vk_cmd_crds::amounts::Amounts;
use vk_cmd_crds::{CmdFleet, CmdJob, labels};

use crate::explain::Story;
use crate::table::Tone;
use crate::{age, list, nodes, plain, table};

/// The most jobs that are shown at a time.
pub const MOST: usize = 500;

/// A table of the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Row>,
    /// Which column has the word that the row's tone is of.
    tone: Option<usize>,
}

/// A row of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// What the row is of: it stays the same while the cells change.
    key: String,
    cells: Vec<String>,
    tone: Tone,
}

impl Table {
    fn of(headings: Vec<&'static str>, rows: impl Iterator<Item = (String, Vec<String>)>) -> Self {
        let told = headings.iter().position(|heading| *heading == "STATE");
        let tone = |cells: &[String]| told.and_then(|at| cells.get(at)).map(|word| table::tone("STATE", word));
        let rows = rows.map(|(key, cells)| Row { key, tone: tone(&cells).unwrap_or_default(), cells }).collect();
        Self { headings, rows, tone: told }
    }
}

/// Which jobs are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Which {
    /// Every one.
    #[default]
    All,
    /// Those that have not ended.
    Active,
    /// Those that have.
    Ended,
}

/// The jobs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Jobs {
    /// How many there are of each state, in a sentence.
    summary: String,
    /// How many are shown, and how many are meant.
    shown: usize,
    matched: usize,
    table: Table,
}

/// The newest jobs of those that are meant. `text` is looked for in what a row says, whatever its case.
#[must_use]
pub fn jobs<J: Borrow<CmdJob>>(all: &[J], which: Which, text: &str, with_namespace: bool, now: Timestamp) -> Jobs {
    let text = text.trim().to_lowercase();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut meant: Vec<&CmdJob> = Vec::new();
    for job in all {
        let job = job.borrow();
        let count = counts.entry(plain::state(job)).or_default();
        *count = count.saturating_add(1);
        let is_wanted = match which {
            Which::All => true,
            Which::Active => list::is_active(job),
            Which::Ended => !list::is_active(job),
        };
        if is_wanted && says(job, &text, now) {
            meant.push(job);
        }
    }
    meant.sort_by(|a, b| {
        let key = |job: &CmdJob| job.metadata.creation_timestamp.as_ref().map(|time| time.0);
        key(b).cmp(&key(a)).then_with(|| plain::name(a).cmp(plain::name(b)))
    });
    let matched = meant.len();
    meant.truncate(MOST);
    let mut headings = list::HEADINGS.to_vec();
    if with_namespace {
        headings.insert(1, "NAMESPACE");
    }
    let row = |job: &&CmdJob| {
        let namespace = job.metadata.namespace.clone().unwrap_or_default();
        let mut cells = list::row(job, now);
        let key = format!("{namespace}/{}", plain::name(job));
        if with_namespace {
            cells.insert(1.min(cells.len()), namespace);
        }
        (key, cells)
    };
    let summary = match all.len() {
        0 => "There are no CmdJobs.".to_owned(),
        all => {
            let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
            format!("{all} in all: {}", counts.join(", "))
        }
    };
    Jobs { summary, shown: meant.len(), matched, table: Table::of(headings, meant.iter().map(row)) }
}

/// Whether a job's row has this text in it.
fn says(job: &CmdJob, text: &str, now: Timestamp) -> bool {
    let has = |cell: &str| cell.to_lowercase().contains(text);
    text.is_empty()
        || has(job.metadata.namespace.as_deref().unwrap_or_default())
        || list::row(job, now).iter().any(|cell| has(cell))
}

/// A table, and what is said where it has no rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    none: &'static str,
    table: Table,
}

/// The nodes, by name. Without pods, if those may not be seen, what is used is not known.
#[must_use]
pub fn nodes<N: Borrow<Node>, P: Borrow<Pod>>(all: &[N], pods: Option<&[P]>, now: Timestamp) -> Listing {
    let used = pods.map(nodes::used);
    let nothing = Amounts::default();
    let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
    let mut all: Vec<&Node> = all.iter().map(Borrow::borrow).collect();
    all.sort_by_key(|node| name(node));
    let row = |node: &&Node| {
        let used = used.as_ref().map(|used| used.get(&name(node)).unwrap_or(&nothing));
        (name(node), nodes::row(node, used, now))
    };
    let table = Table::of(nodes::HEADINGS.to_vec(), all.iter().map(row));
    Listing { none: "There are no vk-nodes: `vk-node join --run` at a site starts one.", table }
}

/// The fleets, by name.
#[must_use]
pub fn fleets<F: Borrow<CmdFleet>>(all: &[F]) -> Listing {
    let name = |fleet: &CmdFleet| fleet.metadata.name.clone().unwrap_or_default();
    let mut all: Vec<&CmdFleet> = all.iter().map(Borrow::borrow).collect();
    all.sort_by_key(|fleet| name(fleet));
    let table =
        Table::of(nodes::FLEET_HEADINGS.to_vec(), all.iter().map(|fleet| (name(fleet), nodes::fleet_row(fleet))));
    Listing { none: "There are no CmdFleets.", table }
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    story: Story,
    tone: Tone,
    /// Its timeline's rows: see [`crate::explain::HEADINGS`].
    timeline: Vec<Vec<String>>,
    /// Where its time went.
    parts: Vec<Part>,
    pods: Vec<Output>,
}

/// A length of time of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    what: &'static str,
    seconds: i64,
    length: String,
}

/// A pod whose output can be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    #[serde(skip)]
    order: (i32, i32),
    name: String,
    title: String,
    /// Whether its process has been started: before, there is nothing to read.
    has_begun: bool,
}

/// A job by its story and its pods.
#[must_use]
pub fn job(story: Story, pods: &[Pod]) -> Job {
    let part = |what, seconds: Option<i64>| {
        seconds.map(|seconds| Part { what, seconds, length: age::human(SignedDuration::from_secs(seconds)) })
    };
    let parts = [
        part("waited", story.waited_seconds),
        part("ran", story.ran_seconds),
        part("reported after", story.reported_after_seconds),
    ];
    let mut outputs: Vec<Output> = pods.iter().map(output).collect();
    outputs.sort();
    Job {
        tone: table::tone("STATE", &story.state),
        timeline: story.rows(),
        parts: parts.into_iter().flatten().collect(),
        pods: outputs,
        story,
    }
}

fn output(pod: &Pod) -> Output {
    let label = |key: &str| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)?.parse::<i32>().ok()).unwrap_or_default()
    };
    let (index, attempt) = (label(labels::INDEX), label(labels::ATTEMPT));
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("no node");
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let has_begun = containers
        .filter(|container| container.name == labels::MAIN_CONTAINER)
        .filter_map(|container| container.state.as_ref())
        .any(|state| state.running.is_some() || state.terminated.is_some());
    Output {
        order: (index, attempt),
        name: pod.metadata.name.clone().unwrap_or_default(),
        title: format!("index {index}, attempt {attempt}, on {node}"),
        has_begun,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::explain;
    use crate::plain::tests::job as some_job;

    fn now() -> Timestamp {
        "2026-01-02T03:06:05Z".parse().unwrap()
    }

    fn some_jobs() -> Vec<CmdJob> {
        let mut jobs = vec![
            some_job("waits", &json!({}), &json!({"state": "Waiting", "message": "none of 4 nodes takes it now"})),
            some_job("runs", &json!({}), &json!({"state": "Running", "message": "it runs on vk-a"})),
            some_job("done", &json!({}), &json!({"state": "Complete"})),
        ];
        jobs[2].metadata.creation_timestamp.as_mut().unwrap().0 = now();
        jobs
    }

    fn names(jobs: &Jobs) -> Vec<&str> {
        jobs.table.rows.iter().map(|row| row.key.as_str()).collect()
    }

    #[test]
    fn the_newest_jobs_come_first_and_can_be_chosen_by_what_they_say() {
        let all = some_jobs();
        let shown = jobs(&all, Which::All, "", true, now());
        assert_eq!(names(&shown), ["lab/done", "lab/runs", "lab/waits"]);
        assert_eq!(shown.summary, "3 in all: 1 Complete, 1 Running, 1 Waiting");
        assert_eq!(shown.table.headings[..3], ["NAME", "NAMESPACE", "STATE"]);
        assert_eq!(shown.table.tone, Some(2));
        let tones: Vec<Tone> = shown.table.rows.iter().map(|row| row.tone).collect();
        assert_eq!(tones, [Tone::Good, Tone::Good, Tone::Waits]);
        assert_eq!(names(&jobs(&all, Which::Active, "", false, now())), ["lab/runs", "lab/waits"]);
        assert_eq!(names(&jobs(&all, Which::Ended, "", false, now())), ["lab/done"]);
        assert_eq!(names(&jobs(&all, Which::All, " Nodes TAKES ", false, now())), ["lab/waits"]);
        assert!(names(&jobs(&all, Which::Ended, "takes", false, now())).is_empty());
        assert_eq!(jobs::<CmdJob>(&[], Which::All, "", false, now()).summary, "There are no CmdJobs.");
    }

    #[test]
    fn there_are_never_more_than_can_be_looked_at() {
        let all: Vec<CmdJob> = (0..MOST + 3).map(|n| some_job(&format!("j{n}"), &json!({}), &json!(null))).collect();
        let shown = jobs(&all, Which::All, "", false, now());
        assert_eq!((shown.shown, shown.matched, shown.table.rows.len()), (MOST, MOST + 3, MOST));
    }

    #[test]
    fn a_job_tells_where_its_time_went_and_what_can_be_read() {
        let pod = |index: &str, attempt: &str, state: serde_json::Value| -> Pod {
            let container = json!({"name": "main", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state});
            let pod = json!({
                "metadata": {"name": format!("p-{index}-{attempt}"), "labels": {"vk-cmd.io/index": index, "vk-cmd.io/attempt": attempt}},
                "spec": {"nodeName": "vk-a", "containers": []}, "status": {"containerStatuses": [container]},
            });
            serde_json::from_value(pod).unwrap()
        };
        let ended = json!({"terminated": {"exitCode": 5, "startedAt": "2026-01-02T03:04:15Z", "finishedAt": "2026-01-02T03:05:15Z"}});
        let pods = [pod("10", "0", json!({"waiting": {}})), pod("2", "1", ended)];
        let whole = some_job("a", &json!({}), &json!({"state": "Running"}));
        let told = json!(job(explain::story(&whole, &pods, &[]), &pods));
        assert_eq!(
            told["pods"],
            json!([
                {"name": "p-2-1", "title": "index 2, attempt 1, on vk-a", "hasBegun": true},
                {"name": "p-10-0", "title": "index 10, attempt 0, on vk-a", "hasBegun": false},
            ])
        );
        assert_eq!(told["parts"], json!([{"what": "waited", "seconds": 10, "length": "10s"}]));
        assert_eq!(told["tone"], "good");
    }

    #[test]
    fn tables_of_nothing_say_what_to_do() {
        let none = nodes::<Node, Pod>(&[], None, now());
        assert!(none.none.contains("vk-node join"), "{none:?}");
        assert_eq!(fleets::<CmdFleet>(&[]).table.rows.len(), 0);
    }
}
