//! The part `runtime` of a site's file.

use super::variables;
use crate::runtime::{CustomExec, CustomRuntime, Each, Kind, NamedRuntime, Runtime, Template};
use vk_yaml::{Map, Node, Reader};

/// The kinds that have a command line of their own.
#[derive(Clone, Copy)]
enum Word {
    Auto,
    None,
    Custom,
    Named(Kind),
}

const WORDS: [(&str, Word); 9] = [
    ("auto", Word::Auto),
    ("none", Word::None),
    ("docker", Word::Named(Kind::Docker)),
    ("podman", Word::Named(Kind::Podman)),
    ("apptainer", Word::Named(Kind::Apptainer)),
    ("singularity", Word::Named(Kind::Singularity)),
    ("shifter", Word::Named(Kind::Shifter)),
    ("charliecloud", Word::Named(Kind::Charliecloud)),
    ("custom", Word::Custom),
];

pub(super) fn runtime(reader: &mut Reader, node: &Node<'_>) -> Option<Runtime> {
    let kind = match node.child("kind") {
        Some(node) => reader.word(&node, &WORDS)?,
        None if node.is_map() && !node.is_empty_map() => {
            reader.at(node, format!("it has no kind: write one of {}", WORDS.map(|(word, _)| word).join(", ")));
            return None;
        }
        None => Word::Auto,
    };
    match kind {
        Word::Auto => reader.map(node, &["kind", "env"]).map(|map| Runtime::Auto { env: env(reader, &map) }),
        Word::None => reader.map(node, &["kind"]).map(|_| Runtime::None),
        Word::Named(kind) => {
            let map = reader.map(node, &["kind", "program", "globalArgs", "runArgs", "env"])?;
            Some(Runtime::Named(NamedRuntime {
                kind,
                program: map
                    .get("program")
                    .and_then(|n| program(reader, &n))
                    .unwrap_or_else(|| kind.program().to_owned()),
                global_args: map.get("globalArgs").map(|n| reader.texts(&n)).unwrap_or_default(),
                run_args: map.get("runArgs").map(|n| reader.texts(&n)).unwrap_or_default(),
                env: env(reader, &map),
            }))
        }
        Word::Custom => {
            let map = reader.map(node, &["kind", "name", "run", "each", "remove", "exec", "passesSignals", "env"])?;
            Some(Runtime::Custom(Box::new(custom(reader, &map))))
        }
    }
}

fn env(reader: &mut Reader, map: &Map<'_>) -> std::collections::BTreeMap<vk_task::EnvName, String> {
    map.get("env").map(|node| variables(reader, &node)).unwrap_or_default()
}

/// A path, or a name that is looked up in `PATH`; a relative path would depend on who starts the pipe.
fn program(reader: &mut Reader, node: &Node<'_>) -> Option<String> {
    let text = reader.text(node)?;
    if text.is_empty() || (text.contains('/') && !text.starts_with('/')) {
        reader.at(node, format!("{text:?} is no program: write its name, or an absolute path"));
        return None;
    }
    Some(text)
}

fn custom(reader: &mut Reader, map: &Map<'_>) -> CustomRuntime {
    let each = map.get("each").and_then(|node| reader.map(&node, &Each::KEYS)).map(|map| each(reader, &map));
    let each = each.unwrap_or_default();
    let run = match map.get("run") {
        Some(node) => {
            if let Some(first) = node.items().first() {
                program(reader, first);
            }
            template(reader, &node, |texts| Template::run(texts, &each))
        }
        None => {
            reader.problem(map.line, "runtime: a custom runtime needs `run`, its command line".to_owned());
            None
        }
    };
    let remove = map.get("remove").map(|node| reader.list(&node)).unwrap_or_default();
    CustomRuntime {
        name: map.get("name").and_then(|node| reader.text(&node)).unwrap_or_else(|| "custom".to_owned()),
        run: run.unwrap_or_default(),
        remove: remove.iter().filter_map(|node| template(reader, node, Template::named)).collect(),
        exec: map.get("exec").map(|node| exec(reader, &node)),
        passes_signals: map.get("passesSignals").and_then(|node| reader.boolean(&node)).unwrap_or(false),
        each,
        env: env(reader, map),
    }
}

fn each(reader: &mut Reader, map: &Map<'_>) -> Each {
    Each::new(|key, placeholders| {
        map.get(key).and_then(|node| template(reader, &node, |texts| Template::part(texts, placeholders)))
    })
}

fn exec(reader: &mut Reader, node: &Node<'_>) -> CustomExec {
    let map = reader.map(node, &["prefix", "stdin", "terminal", "target"]);
    let mut part = |key: &str| {
        let node = map.as_ref().and_then(|map| map.get(key))?;
        template(reader, &node, Template::named)
    };
    let exec = CustomExec {
        prefix: part("prefix").unwrap_or_default(),
        stdin: part("stdin").unwrap_or_default(),
        terminal: part("terminal").unwrap_or_default(),
        target: part("target").unwrap_or_default(),
    };
    if map.is_some_and(|map| map.get("prefix").is_none()) {
        reader.at(node, "it needs `prefix`, the command that runs another program in the container".to_owned());
    }
    exec
}

fn template(
    reader: &mut Reader,
    node: &Node<'_>,
    make: impl FnOnce(&[String]) -> Result<Template, Vec<String>>,
) -> Option<Template> {
    match make(&reader.texts(node)) {
        Ok(template) => Some(template),
        Err(messages) => {
            for message in messages {
                reader.at(node, message);
            }
            None
        }
    }
}
