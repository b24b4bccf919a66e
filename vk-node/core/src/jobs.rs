//! What runs at a site, for its administrator: `vk-node jobs` and `vk-node logs`. It follows from what the pipe knows, or from the
//! records where no pipe answers.

use jiff::Timestamp;
use serde::Serialize;
use vk_task::{AskingNode, End, Origin, Place, Program, TaskId, TaskSpec, TaskState, TaskView};

use crate::report::age;

/// The most of a command that is shown, in characters.
const COMMAND_WIDTH: usize = 60;

/// A task, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The task's name.
    pub id: TaskId,
    /// The namespace of its pod; none for a line of the FIFO that no pod wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The pod's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Which run of that container it is.
    pub restart: u32,
    /// Whether it is a line of the FIFO.
    pub fifo: bool,
    /// The node that the pod is bound to, as far as it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `Accepted`, `Running`, `Ended`, `Unknown`.
    pub state: &'static str,
    /// Its main process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// Its exit code, as Kubernetes is told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Whether its end has been told of.
    pub reported: bool,
    /// What it runs; none where the records do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Job {
    /// From what is known of it, and what it runs.
    #[must_use]
    pub fn of(view: &TaskView, command: Option<String>) -> Self {
        let run = view.origin.run();
        let (state, pid, since, exit_code) = match &view.state {
            TaskState::Accepted { at } => ("Accepted", None, *at, None),
            TaskState::Running { pid, started_at } => ("Running", Some(*pid), *started_at, None),
            TaskState::Ended { finished_at, end, .. } => ("Ended", None, *finished_at, Some(End::exit_code(end))),
            TaskState::Unknown { noticed_at, .. } => ("Unknown", None, *noticed_at, None),
        };
        Self {
            id: view.id.clone(),
            namespace: run.map(|run| run.namespace.clone()),
            pod: run.map(|run| run.pod.clone()),
            container: run.map(|run| run.container.clone()),
            restart: run.map_or(0, |run| run.restart),
            fifo: matches!(view.origin, Origin::Fifo { .. }),
            node: run.and_then(|run| run.node.as_ref()).map(|AskingNode { name, .. }| name.clone()),
            state,
            pid,
            since,
            exit_code,
            reported: view.reported,
            command,
        }
    }

    /// Whether nothing more becomes of it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.state, "Ended" | "Unknown")
    }

    fn names(&self) -> [String; 3] {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        [or_none(&self.namespace), or_none(&self.pod), or_none(&self.container)]
    }
}

/// What a task runs, in one line: its words, or the first line of its script that does anything. Variables are not part of it.
#[must_use]
pub fn command(spec: &TaskSpec) -> String {
    let words = match &spec.program {
        Program::Exec { argv } => argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
        Program::Script { text, .. } => {
            let lines = text.lines().map(str::trim);
            lines.into_iter().find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default().to_owned()
        }
    };
    match &spec.place {
        Place::Host => words,
        Place::Image(image) => format!("{}: {words}", image.reference),
    }
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_^".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A text that fits in a line of a terminal, whatever is in it.
fn cut(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.take(COMMAND_WIDTH + 1).collect();
    if short.chars().count() > COMMAND_WIDTH {
        short.pop();
        short.pop();
        short.push('…');
    }
    short
}

/// A table of jobs, the oldest first.
#[must_use]
pub fn table(jobs: &[Job], now: Timestamp) -> String {
    let header =
        ["NAMESPACE", "POD", "CONTAINER", "STATE", "PID", "EXIT", "SINCE", "COMMAND"].map(str::to_owned).to_vec();
    let mut sorted: Vec<&Job> = jobs.iter().collect();
    sorted.sort_by_key(|job| job.since);
    let rows = sorted.into_iter().map(|job| {
        let [namespace, pod, container] = job.names();
        let number = |number: Option<i32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let command = job.command.as_deref().map_or_else(|| "-".to_owned(), cut);
        let pod = if job.fifo && job.pod.is_none() { job.id.as_str().to_owned() } else { pod };
        vec![
            namespace,
            pod,
            container,
            job.state.to_owned(),
            number(job.pid),
            number(job.exit_code),
            age(now, job.since),
            command,
        ]
    });
    columns(std::iter::once(header).chain(rows).collect())
}

/// Rows whose columns stand beneath each other.
#[must_use]
pub fn columns(rows: Vec<Vec<String>>) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (i, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(i) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("   ").trim_end());
        text.push('\n');
    }
    text
}

/// Why a name names no job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoJob {
    /// There is none.
    #[error(
        "no job here is named {0:?}: write a pod, namespace/pod, or the name of a task; `vk-node jobs --all` shows them"
    )]
    None(String),
    /// There are several.
    #[error("{name:?} names several: write one of {}", .of.join(", "))]
    Several {
        /// The name.
        name: String,
        /// What would be one.
        of: Vec<String>,
    },
}

/// The job that somebody means by a task's name, a pod or namespace/pod, and a container where a pod has several: its last run, or
/// the one before that.
///
/// # Errors
/// When it names none, or several.
pub fn find<'a>(jobs: &'a [Job], name: &str, container: Option<&str>, previous: bool) -> Result<&'a Job, NoJob> {
    if let Some(job) = jobs.iter().find(|job| job.id.as_str() == name) {
        return Ok(job);
    }
    let (namespace, pod) = name.split_once('/').map_or((None, name), |(namespace, pod)| (Some(namespace), pod));
    let is_meant = |job: &&Job| {
        job.pod.as_deref() == Some(pod)
            && namespace.is_none_or(|namespace| job.namespace.as_deref() == Some(namespace))
            && container.is_none_or(|container| job.container.as_deref() == Some(container))
            // What a pod's script has written to the FIFO is the pod's, and has a name of its own.
            && !job.fifo
    };
    let mut meant: Vec<&Job> = jobs.iter().filter(is_meant).collect();
    meant.sort_by_key(|job| (std::cmp::Reverse(job.restart), std::cmp::Reverse(job.since)));
    let newest = if previous { 1 } else { 0 };
    let Some(first) = meant.first().copied() else { return Err(NoJob::None(name.to_owned())) };
    let differs = |job: &&Job| job.namespace != first.namespace || job.container != first.container;
    if meant.iter().any(differs) {
        let mut of: Vec<String> =
            meant.iter().map(|job| job.names()).map(|[ns, pod, c]| format!("{ns}/{pod} --container {c}")).collect();
        of.sort();
        of.dedup();
        return Err(NoJob::Several { name: name.to_owned(), of });
    }
    meant.get(newest).copied().ok_or_else(|| NoJob::None(format!("{name} (an earlier run)")))
}

#[cfg(test)]
mod tests {
    use vk_task::{ContainerRun, Leftovers, ScriptRunner};

    use super::*;

    fn view(namespace: &str, pod: &str, container: &str, restart: u32, state: TaskState) -> TaskView {
        let run = ContainerRun {
            namespace: namespace.into(),
            pod: pod.into(),
            uid: format!("{namespace}-{pod}"),
            service_account: "default".into(),
            container: container.into(),
            restart,
            node: None,
        };
        TaskView {
            id: TaskId::for_container(&run.uid, container, restart).unwrap(),
            origin: Origin::Pod(run),
            state,
            stop: None,
            lingering: Vec::new(),
            reported: false,
            termination_message: None,
        }
    }

    fn running() -> TaskState {
        TaskState::Running { pid: 7, started_at: Timestamp::UNIX_EPOCH }
    }

    fn jobs() -> Vec<Job> {
        let ended = TaskState::Ended {
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            end: End::Exited { code: 3 },
            exceeded: None,
        };
        let all = [
            view("a", "one", "main", 0, ended),
            view("a", "one", "main", 1, running()),
            view("b", "two", "main", 0, running()),
            view("b", "two", "side", 0, running()),
            view("b", "one", "main", 0, running()),
        ];
        all.iter().map(|view| Job::of(view, Some("sleep 1".into()))).collect()
    }

    #[test]
    fn a_name_means_one_job_or_says_which_it_could_mean() {
        let jobs = jobs();
        let id = |name: &str, container, previous| {
            find(&jobs, name, container, previous).map(|job| job.id.as_str().to_owned())
        };
        assert_eq!(id("a/one", None, false).unwrap(), "a-one_main_1");
        assert_eq!(id("a/one", None, true).unwrap(), "a-one_main_0");
        assert_eq!(id("two", Some("side"), false).unwrap(), "b-two_side_0");
        assert_eq!(id("b-two_main_0", None, false).unwrap(), "b-two_main_0");
        assert!(id("two", None, false).unwrap_err().to_string().contains("b/two --container side"));
        assert!(
            id("one", None, false).unwrap_err().to_string().contains("a/one --container main"),
            "of two namespaces"
        );
        assert!(id("three", None, false).unwrap_err().to_string().contains("vk-node jobs --all"));
        assert!(id("two", Some("main"), true).is_err());
    }

    #[test]
    fn a_table_has_what_runs_here() {
        let now = Timestamp::from_second(100).unwrap();
        let text = table(&jobs(), now);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NAMESPACE", "POD", "CONTAINER", "STATE", "PID", "EXIT", "SINCE", "COMMAND"]);
        assert_eq!(lines[1], ["a", "one", "main", "Ended", "-", "3", "100s", "sleep", "1"]);
        assert_eq!(lines[2], ["a", "one", "main", "Running", "7", "-", "100s", "sleep", "1"]);
        let json = serde_json::to_value(&jobs()[0]).unwrap();
        assert_eq!((&json["exitCode"], &json["pod"]), (&3.into(), &"one".into()));
    }

    #[test]
    fn a_command_is_one_line_without_secrets_of_the_environment() {
        let origin = || Origin::Fifo { writer: None };
        let exec = |argv: &[&str]| {
            TaskSpec::new(origin(), Program::Exec { argv: argv.iter().map(|&a| a.into()).collect() }, Leftovers::Kill)
        };
        let mut spec = exec(&["echo", "it's", "a b", ""]);
        spec.env.insert(vk_task::EnvName::new("TOKEN").unwrap(), "hidden".into());
        assert_eq!(command(&spec), r"echo 'it'\''s' 'a b' ''");
        let script = "#!/bin/sh\n#SBATCH -n 1\n\n  srun ./a.out\nmore\n";
        spec.program = Program::Script { text: script.into(), runner: ScriptRunner::Shebang };
        assert_eq!(command(&spec), "srun ./a.out");
        let long = cut(&format!("{}\u{1b}[31m", "é".repeat(80)));
        assert!(long.chars().count() == COMMAND_WIDTH && long.ends_with('…'), "{long}");
        assert!(!cut("a\u{1b}b\nc").contains(['\u{1b}', '\n']));
    }
}
