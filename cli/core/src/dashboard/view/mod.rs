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

/// How many rows the page shows at a time: more are neither read by anybody nor drawn quickly.
pub const MOST: usize = 200;

/// A table of the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    headings: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
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

impl Row {
    /// What the row is of.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// One without a tone.
    #[cfg(test)]
    pub(super) fn plain(key: &str, cells: Vec<String>) -> Self {
        Self { key: key.to_owned(), cells, tone: Tone::default() }
    }
}

/// Which rows of a table are shown: [`MOST`] of them, from `first` on (counted from 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    first: usize,
    shown: usize,
    matched: usize,
    /// From one part to the next.
    step: usize,
}

impl Window {
    /// The part of `all` that begins at `skip`; where there is none, the last one.
    fn of<T>(skip: usize, all: &[T]) -> (Self, &[T]) {
        let last = all.len().saturating_sub(1) / MOST * MOST;
        let first = skip.min(last);
        let part = all.get(first..).unwrap_or_default();
        let part = part.get(..MOST).unwrap_or(part);
        (Self { first, shown: part.len(), matched: all.len(), step: MOST }, part)
    }
}

impl Table {
    /// Its rows, for what is sent of them to be told: see [`patch`](super::patch).
    pub fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

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
    #[serde(flatten)]
    window: Window,
    /// The rows of the window.
    pub table: Table,
}

/// What is asked for.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct Asked {
    /// Looked for in what a row says, whatever its case.
    pub text: String,
    /// Which jobs.
    pub which: Which,
    /// How many rows are passed over.
    pub skip: usize,
}

/// The jobs that are meant, the newest first.
#[must_use]
pub fn jobs<J: Borrow<CmdJob>>(all: &[J], asked: &Asked, with_namespace: bool, now: Timestamp) -> Jobs {
    let Asked { text, which, skip } = asked;
    let text = text.trim().to_lowercase();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut meant: Vec<&CmdJob> = Vec::new();
    for job in all {
        let job = job.borrow();
        let count = counts.entry(plain::state(job)).or_default();
        *count = count.saturating_add(1);
        let is_wanted = match *which {
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
    let (window, meant) = Window::of(*skip, &meant);
    let mut headings = list::HEADINGS.to_vec();
    if with_namespace {
        headings.insert(1, "NAMESPACE");
    }
    let row = |job: &&CmdJob| {
        let namespace = job.metadata.namespace.clone().unwrap_or_default();
        let mut cells = list::row_by(job, now, age::calm);
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
    Jobs { summary, window, table: Table::of(headings, meant.iter().map(row)) }
}

/// Whether a job's row has this text in it.
fn says(job: &CmdJob, text: &str, now: Timestamp) -> bool {
    let has = |cell: &str| cell.to_lowercase().contains(text);
    text.is_empty()
        || has(job.metadata.namespace.as_deref().unwrap_or_default())
        || list::row_by(job, now, age::calm).iter().any(|cell| has(cell))
}

/// A table, and what is said where it has no rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    none: &'static str,
    #[serde(flatten)]
    window: Window,
    /// The rows of the window.
    pub table: Table,
}

/// The nodes, by name. Without pods, if those may not be seen, what is used is not known.
#[must_use]
pub fn nodes<N: Borrow<Node>, P: Borrow<Pod>>(all: &[N], pods: Option<&[P]>, skip: usize, now: Timestamp) -> Listing {
    let used = pods.map(nodes::used);
    let nothing = Amounts::default();
    let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
    let mut all: Vec<&Node> = all.iter().map(Borrow::borrow).collect();
    all.sort_by_key(|node| name(node));
    let row = |node: &&Node| {
        let used = used.as_ref().map(|used| used.get(&name(node)).unwrap_or(&nothing));
        (name(node), nodes::row(node, used, now))
    };
    let (window, all) = Window::of(skip, &all);
    let table = Table::of(nodes::HEADINGS.to_vec(), all.iter().map(row));
    Listing { none: "There are no vk-nodes: `vk-node join --run` at a site starts one.", window, table }
}

/// The fleets, by name.
#[must_use]
pub fn fleets<F: Borrow<CmdFleet>>(all: &[F], skip: usize) -> Listing {
    let name = |fleet: &CmdFleet| fleet.metadata.name.clone().unwrap_or_default();
    let mut all: Vec<&CmdFleet> = all.iter().map(Borrow::borrow).collect();
    all.sort_by_key(|fleet| name(fleet));
    let (window, all) = Window::of(skip, &all);
    let table =
        Table::of(nodes::FLEET_HEADINGS.to_vec(), all.iter().map(|fleet| (name(fleet), nodes::fleet_row(fleet))));
    Listing { none: "There are no CmdFleets.", window, table }
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
mod tests;
