//! A runtime whose command line the site has written down.

use std::collections::BTreeMap;

use vk_task::{EnvName, ExecVia, Gpus, Image, Mount, RuntimeLaunch, Stdin, Terminate};

use super::Job;
use super::env::changes;
use super::template::Template;

/// A runtime whose command line the site has written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomRuntime {
    /// Its name, for people.
    pub name: String,
    pub(crate) run: Template,
    pub(crate) each: Each,
    pub(crate) remove: Vec<Template>,
    pub(crate) exec: Option<CustomExec>,
    /// Whether the client passes on the signals that it gets.
    pub(crate) passes_signals: bool,
    /// Variables for each container, where its task does not set them.
    pub(crate) env: BTreeMap<EnvName, String>,
}

/// The words for one of each thing; what is `None` the runtime does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Each {
    working_dir: Option<Template>,
    env: Option<Template>,
    mount: Option<Template>,
    read_only_mount: Option<Template>,
    nvidia: Option<Template>,
    amd: Option<Template>,
    stdin: Option<Template>,
    terminal: Option<Template>,
}

/// How another program is run in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CustomExec {
    pub(crate) prefix: Template,
    pub(crate) stdin: Template,
    pub(crate) terminal: Template,
    pub(crate) target: Template,
}

/// The placeholders of `run` that stand for any number of words.
const LISTS: [&str; 7] = ["workdir", "env", "mounts", "gpus", "stdin", "terminal", "command"];

impl Each {
    /// The keys, as the site's file has them.
    pub(crate) const KEYS: [&'static str; 8] =
        ["workdir", "env", "mount", "readOnlyMount", "nvidia", "amd", "stdin", "terminal"];

    /// Asks for each template, by its key and with its own placeholders.
    pub(crate) fn new(mut template: impl FnMut(&str, &[&str]) -> Option<Template>) -> Self {
        Self {
            working_dir: template("workdir", &["workdir"]),
            env: template("env", &["variable", "value"]),
            mount: template("mount", &["source", "target"]),
            read_only_mount: template("readOnlyMount", &["source", "target"]),
            nvidia: template("nvidia", &["count"]),
            amd: template("amd", &["count"]),
            stdin: template("stdin", &[]),
            terminal: template("terminal", &[]),
        }
    }

    /// Whether there are words for what a placeholder of `run` stands for.
    fn has(&self, list: &str) -> bool {
        match list {
            "workdir" => self.working_dir.is_some(),
            "env" => self.env.is_some(),
            "mounts" => self.mount.is_some() || self.read_only_mount.is_some(),
            "gpus" => self.nvidia.is_some() || self.amd.is_some(),
            "stdin" => self.stdin.is_some(),
            "terminal" => self.terminal.is_some(),
            _ => true,
        }
    }
}

impl Template {
    /// The command line that runs a container, for which `each` has the words of the parts.
    pub(crate) fn run(texts: &[String], each: &Each) -> Result<Self, Vec<String>> {
        let template = Self::parse(texts, &["image", "id", "name"], &LISTS)?;
        let mut wrong = Vec::new();
        if template.count("command") != 1 {
            wrong.push("{command...} must stand in it once: it is what is run".to_owned());
        }
        if template.count("image") == 0 {
            wrong.push("{image} must stand in it".to_owned());
        }
        for list in LISTS.iter().filter(|list| **list != "command") {
            match (template.count(list), each.has(list)) {
                (1, true) | (0, false) => {}
                (0, true) => wrong.push(format!("`each` says what {{{list}...}} is, and it does not stand in `run`")),
                (_, false) => wrong.push(format!("{{{list}...}} stands in it, and `each` does not say what that is")),
                (_, true) => wrong.push(format!("{{{list}...}} must not stand in it twice")),
            }
        }
        if wrong.is_empty() { Ok(template) } else { Err(wrong) }
    }
}

impl CustomRuntime {
    pub(super) fn launch(&self, image: &Image, job: &mut Job<'_>) -> RuntimeLaunch {
        let Self { name, run, each, remove, exec, passes_signals, env: _ } = self;
        let (id, container) = (job.id.to_string(), job.container_name());
        let reference = image.reference.clone();
        job.refuse_security(name, false);
        let base = |placeholder: &str| match placeholder {
            "image" => reference.clone(),
            "id" => id.clone(),
            "name" => container.clone(),
            _ => String::new(),
        };
        let none = |_: &str| Vec::new();
        let part = |template: &Template, values: &[(&str, &str)]| {
            let value = |name: &str| match values.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => (*value).to_owned(),
                None => base(name),
            };
            template.fill(value, none)
        };
        let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        if let Some(dir) = job.working_dir() {
            match &each.working_dir {
                Some(template) => drop(lists.insert("workdir", part(template, &[("workdir", &dir)]))),
                None => job.refuse(format!("{name} cannot set a working directory: leave it out")),
            }
        }
        let can_mount = match &each.read_only_mount {
            Some(_) => Ok(()),
            None => Err("this site's runtime mounts nothing read-only"),
        };
        let (command, script) = job.command(can_mount);
        lists.insert("command", command);
        let mut mounts = Vec::new();
        for mount in image.mounts.iter().chain(&script) {
            let template = if mount.read_only { &each.read_only_mount } else { &each.mount };
            let Mount { source, target, read_only } = mount;
            match (template, job.mount_paths(mount, &[])) {
                (Some(template), Some((source, target))) => {
                    mounts.extend(part(template, &[("source", &source), ("target", &target)]));
                }
                (None, _) => {
                    let how = if *read_only { "read-only" } else { "to be written to" };
                    job.refuse(format!("{name} cannot mount {} at {} {how}", source.display(), target.display()));
                }
                (Some(_), None) => {}
            }
        }
        lists.insert("mounts", mounts);
        let (gpus, count) = match image.gpus {
            Gpus::None => (None, 0),
            Gpus::Nvidia(n) => (Some(&each.nvidia), n),
            Gpus::Amd(n) => (Some(&each.amd), n),
        };
        match gpus {
            Some(Some(template)) => drop(lists.insert("gpus", part(template, &[("count", &count.to_string())]))),
            Some(None) => job.refuse(format!("{name} has no flag for such GPUs: leave them out")),
            None => {}
        }
        if job.spec.stdio.stdin != Stdin::Null
            && let Some(template) = &each.stdin
        {
            lists.insert("stdin", part(template, &[]));
        }
        if job.spec.stdio.terminal
            && let Some(template) = &each.terminal
        {
            lists.insert("terminal", part(template, &[]));
        }
        let env = self.variables(job, &mut lists, &part);
        let words = |template: &Template| template.fill(base, none);
        RuntimeLaunch {
            runtime: name.clone(),
            argv: run.fill(base, |list| lists.get(list).cloned().unwrap_or_default()),
            env,
            remove: remove.iter().map(words).collect(),
            exec: match exec {
                Some(exec) => ExecVia::Command {
                    prefix: words(&exec.prefix),
                    stdin: words(&exec.stdin),
                    terminal: words(&exec.terminal),
                    target: words(&exec.target),
                },
                None => ExecVia::Namespaces,
            },
            terminate: if *passes_signals { Terminate::Client } else { Terminate::Tree },
            confine_client: false,
        }
    }

    /// Fills the words for variables, and gives those that go through the client's environment.
    fn variables(
        &self,
        job: &mut Job<'_>,
        lists: &mut BTreeMap<&str, Vec<String>>,
        part: &impl Fn(&Template, &[(&str, &str)]) -> Vec<String>,
    ) -> BTreeMap<EnvName, String> {
        let in_words = self.each.env.as_ref().is_some_and(|template| template.count("value") > 0);
        if let Some(template) = &self.each.env {
            let words = job.env().iter();
            let words = words.flat_map(|(n, v)| part(template, &[("variable", n.as_str()), ("value", v)])).collect();
            lists.insert("env", words);
        }
        if in_words {
            return BTreeMap::new();
        }
        let sides = job.variables(|name| changes(name, &[]));
        for name in sides.others.keys() {
            job.refuse(format!(
                "{} takes variables from its own environment, which {name} would change: leave it out",
                self.name
            ));
        }
        sides.inherited
    }
}
