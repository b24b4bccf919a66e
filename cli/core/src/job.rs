//! A CmdJob out of what is wanted of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use vk_cmd_crds::{CmdJob, labels};
use vk_operator_core::indexes::IndexSet;

use crate::script::{self, Form, What};
use crate::values::memory_text;
use crate::wish::{Memory, Place, Wish};

/// The most characters of a CmdJob's name: it is a label of its pods.
const NAME_MAX: usize = 63;
/// How many characters are added to the beginning of a name, as Kubernetes' `generateName` does.
pub const SUFFIX_LENGTH: usize = 5;
/// The letters and digits of those: Kubernetes' own, which spell no words.
pub const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// The annotation by which Kubernetes' tools show what something is.
const DESCRIPTION: &str = "kubernetes.io/description";
/// The variable by which a task of a Slurm array knows its index.
const ARRAY_TASK: &str = "SLURM_ARRAY_TASK_ID";
/// The graphics processors that are meant where none are named.
const GPU: &str = "nvidia.com/gpu";

/// The name of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Whether another suffix would do as well.
    pub is_made_up: bool,
}

/// The name: that which is wanted, or one that begins as is wanted or as what is run is called.
#[must_use]
pub fn name(wish: &Wish, what: &What, suffix: &str) -> Name {
    if let Some(name) = &wish.name {
        return Name { text: name.clone(), is_made_up: false };
    }
    let called = match what {
        What::Script { name, .. } => name.rsplit('/').next().unwrap_or_default(),
        What::Command(words) => {
            words.first().map(String::as_str).unwrap_or_default().rsplit('/').next().unwrap_or_default()
        }
    };
    let called = called.split_once('.').map_or(called, |(stem, _)| stem);
    let base = plain_name(wish.base.as_deref().unwrap_or(called));
    let base = if base.is_empty() { "job".to_owned() } else { base };
    Name { text: format!("{base}-{suffix}"), is_made_up: true }
}

/// A text as the beginning of a DNS name, with room for a suffix.
fn plain_name(text: &str) -> String {
    let most = NAME_MAX.saturating_sub(SUFFIX_LENGTH).saturating_sub(1);
    let mut plain = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            plain.push(c);
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
        if plain.len() >= most {
            break;
        }
    }
    plain.trim_end_matches('-').to_owned()
}

/// The CmdJob. `here` are the variables that there are where the command is given.
///
/// # Errors
/// All that is wrong.
pub fn build(wish: &Wish, what: &What, name: &Name, here: &BTreeMap<String, String>) -> Result<CmdJob, Vec<String>> {
    let mut problems = Vec::new();
    let mut spec = Map::new();
    let mut set = |field: &str, value: Option<Value>| {
        spec.extend(value.map(|value| (field.to_owned(), value)));
    };
    let mut keep = |result: Result<Value, String>| result.map_err(|problem| problems.push(problem)).ok();
    set("target", keep(target(&wish.place)));
    if let Some(Value::Object(fields)) = keep(script::form(what, wish.shell.as_deref()).map(of_form)) {
        fields.into_iter().for_each(|(field, value)| set(&field, Some(value)));
    }
    set("env", keep(env(wish, here)).filter(|env| env.as_array().is_some_and(|all| !all.is_empty())));
    set("resources", keep(resources(wish)).filter(|limits| !limits.is_null()));
    if let Some(directory) = &wish.directory {
        set("workingDir", keep(absolute(directory)));
    }
    if wish.array.is_some() && wish.every_node == Some(true) {
        let _ = keep(Err(
            "an array has tasks, and --every-node has nodes that are counted: leave one of them out".to_owned()
        ));
    }
    if wish.array.is_some() && wish.retries.is_some() {
        set("backoffLimitPerIndex", wish.retries.map(Value::from));
    } else {
        set("backoffLimit", wish.retries.map(Value::from));
    }
    if let Some(array) = wish.array {
        set("completions", Some(array.tasks.into()));
        set("parallelism", Some(array.at_a_time.unwrap_or(array.tasks).min(array.tasks).into()));
        set("completionMode", Some("Indexed".into()));
        // As with Slurm, a task that fails fails alone.
        if wish.retries.is_none() {
            set("backoffLimitPerIndex", Some(0.into()));
        }
    }
    if wish.requeue == Some(true) {
        let disrupted = json!({"type": "DisruptionTarget", "status": "True"});
        set("podFailurePolicy", Some(json!({"rules": [{"action": "Ignore", "onPodConditions": [disrupted]}]})));
    }
    set("everyNode", wish.every_node.map(Value::from));
    set("image", wish.image.clone().map(Value::from));
    set("walltimeSeconds", wish.walltime.flatten().map(Value::from));
    set("after", wish.after.as_ref().filter(|after| !after.is_empty()).map(|after| json!(after)));
    set("priority", wish.priority.map(Value::from));
    set("suspend", wish.hold.map(Value::from));
    set("activeDeadlineSeconds", wish.deadline.map(Value::from));
    set("ttlSecondsAfterFinished", wish.ttl.map(Value::from));
    set("terminationGracePeriodSeconds", wish.grace.map(Value::from));
    if let Err(problem) = checked(&name.text) {
        problems.push(problem);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut annotations = wish.annotations.clone();
    annotations.extend(wish.warning.clone().map(|signal| (labels::WARNING_SIGNAL.to_owned(), signal)));
    annotations.extend(wish.comment.clone().map(|comment| (DESCRIPTION.to_owned(), comment)));
    let mut metadata = json!({"name": name.text});
    let some = |map: &BTreeMap<String, String>| (!map.is_empty()).then(|| json!(map));
    for (field, value) in [("labels", some(&wish.labels)), ("annotations", some(&annotations))] {
        if let (Some(value), Value::Object(metadata)) = (value, &mut metadata) {
            metadata.insert(field.to_owned(), value);
        }
    }
    let object = json!({
        "apiVersion": format!("{}/{}", labels::GROUP, labels::VERSION), "kind": labels::KIND, "metadata": metadata, "spec": spec,
    });
    serde_json::from_value(object).map_err(|error| vec![format!("this makes no CmdJob: {error}")])
}

/// As the API server checks names.
fn checked(name: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_right = name.len() <= NAME_MAX
        && name.split('.').all(|part| part.starts_with(edge) && part.ends_with(edge))
        && name.chars().all(|c| edge(c) || c == '-' || c == '.');
    if is_right {
        return Ok(());
    }
    Err(format!(
        "{name:?} cannot be the name of a CmdJob: at most {NAME_MAX} lower-case letters, digits and -, with a letter or digit at each \
         end (--job-name takes any text, and makes a name of it)"
    ))
}

fn target(place: &Place) -> Result<Value, String> {
    match (&place.node, &place.fleet) {
        (None, None) if place.labels.is_empty() => Err(
            "where shall it run? Name a node (--node vk-…), a fleet (--fleet …) or labels of nodes (--constraint KEY=VALUE): \
             `kubectl cmdjob nodes` and `kubectl cmdjob fleets` list what there is"
                .to_owned(),
        ),
        (Some(node), None) if place.labels.is_empty() => Ok(json!({"node": node})),
        (None, Some(fleet)) if place.labels.is_empty() => Ok(json!({"fleet": fleet})),
        (None, _) => Ok(json!({"nodeSelector": place.all_labels()})),
        (Some(node), _) => {
            Err(format!("the node {node} is named, and a fleet or labels as well: leave one of them out, for a node is a place by itself"))
        }
    }
}

fn of_form(form: Form) -> Value {
    match form {
        Form::Script { text, shell: None } => json!({"script": text}),
        Form::Script { text, shell: Some(shell) } => json!({"script": text, "shell": shell}),
        Form::Command { program, arguments } if arguments.is_empty() => json!({"command": [program]}),
        Form::Command { program, arguments } => json!({"command": [program], "args": arguments}),
    }
}

fn env(wish: &Wish, here: &BTreeMap<String, String>) -> Result<Value, String> {
    let mut all = Vec::new();
    let mut missing = Vec::new();
    for variable in &wish.env {
        match variable.value.as_ref().or_else(|| here.get(&variable.name)) {
            // Kubernetes replaces $(VAR) in values, too.
            Some(value) => all.push(json!({"name": variable.name, "value": value.replace('$', "$$")})),
            None => missing.push(&*variable.name),
        }
    }
    if !missing.is_empty() {
        return Err(format!("these variables are not set here: {}; write NAME=VALUE", missing.join(", ")));
    }
    let is_given = wish.env.iter().any(|variable| variable.name == ARRAY_TASK);
    if wish.array.is_some() && !is_given {
        let path = format!("metadata.annotations['{}']", labels::COMPLETION_INDEX);
        all.push(json!({"name": ARRAY_TASK, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
    }
    Ok(all.into())
}

fn resources(wish: &Wish) -> Result<Value, String> {
    let mut limits: BTreeMap<String, Value> = wish.resources.iter().map(|(name, n)| (name.clone(), json!(n))).collect();
    limits.extend(wish.cpus.as_ref().map(|cpus| ("cpu".to_owned(), json!(cpus))));
    limits.extend(wish.gpus.map(|gpus| (GPU.to_owned(), json!(gpus.to_string()))));
    let memory = match wish.memory {
        None => None,
        Some(Memory::Whole(bytes)) => Some(bytes),
        Some(Memory::PerCpu(bytes)) => {
            let cpus = wish.cpus.as_deref().unwrap_or("1").parse::<u64>();
            let cpus =
                cpus.map_err(|_| "memory for each processor needs a whole number of processors: give --mem instead")?;
            Some(bytes.saturating_mul(cpus))
        }
    };
    limits.extend(memory.map(|bytes| ("memory".to_owned(), json!(memory_text(bytes)))));
    Ok(if limits.is_empty() { Value::Null } else { json!({"limits": limits}) })
}

fn absolute(directory: &str) -> Result<Value, String> {
    if directory.starts_with('/') {
        return Ok(directory.into());
    }
    Err(format!(
        "the directory {directory:?} is not absolute, and a job does not begin where you are now but in the home directory of its node: \
         write an absolute path of the node's, or cd in the script"
    ))
}

/// Which tasks of an array somebody means: `3`, `0,2-4`.
///
/// # Errors
/// What to write.
pub fn indexes(text: &str) -> Result<IndexSet, String> {
    let set = IndexSet::parse(text).map_err(|error| error.to_string())?;
    if set.is_empty() { Err("no index is named: write 3, or 0,2-4".to_owned()) } else { Ok(set) }
}

#[cfg(test)]
mod tests;
