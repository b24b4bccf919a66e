//! From the text of the node's file to [`Settings`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vk_cmd_crds::NodeName;
use vk_site::Pattern;
use vk_task::EnvName;
use vk_yaml::{Map, Node, Problems, Reader};

use crate::images::ImageRule;

use super::label::{label_problem, value_problem};
use super::resources::resource_name_problem;
use super::{
    EndSettings, KubernetesService, MemberSettings, Names, NodeTaint, PipeOwner, PressureSettings, Resources, Settings,
    TaintEffect,
};

/// The version of the file that this program reads.
const VERSION: u64 = 1;
/// The keys that may stand at the top and in an item of `nodes`.
const MEMBER_KEYS: [&str; 13] = [
    "kubeconfig",
    "address",
    "listenAddress",
    "port",
    "maxPods",
    "labels",
    "registerWithTaints",
    "capacity",
    "systemReserved",
    "site",
    "fleet",
    "nodetype",
    "walltimeSeconds",
];
/// The keys that may stand at the top only.
const TOP_KEYS: [&str; 16] = [
    "log",
    "nodeName",
    "nodes",
    "tunnel",
    "relay",
    "clientCAFile",
    "bootstrapKubeconfig",
    "certDirectory",
    "serverTLSBootstrap",
    "pipe",
    "pressure",
    "nodeStatusUpdateFrequency",
    "nodeStatusReportFrequency",
    "nodeLeaseDurationSeconds",
    "images",
    "kubernetesService",
];
/// The keys that may stand at the top of the file.
#[must_use]
pub fn keys() -> Vec<&'static str> {
    [&TOP_KEYS[..], &super::ending::KEYS, &MEMBER_KEYS].concat()
}

/// A shorter lease would be lost by a slow answer of the API server.
const LEAST_LEASE_SECONDS: u32 = 10;
/// How many nodes one process may have: as many as there are ports to choose from.
const MOST_NODES: u32 = 10_000;

/// Reads the file. Relative paths in it count from `directory`, where it is.
///
/// # Errors
/// All that is wrong with it, each with its line.
pub fn read(text: &str, directory: &Path) -> Result<Settings, Problems> {
    vk_yaml::read(text, VERSION, &keys(), |reader, map| top(reader, map, directory))
}

fn top(reader: &mut Reader, map: &Map<'_>, directory: &Path) -> Settings {
    let mut settings = Settings {
        names: names(reader, map, directory),
        member: member(reader, map, directory),
        ..Settings::default()
    };
    settings.tunnel = map.get("tunnel").map(|node| super::tunnel::read(reader, &node, directory)).unwrap_or_default();
    settings.relay = map.get("relay").map(|node| super::relay::read(reader, &node, directory)).unwrap_or_default();
    settings.client_ca_file = map.get("clientCAFile").and_then(|node| path(reader, &node, directory));
    let certificates = &mut settings.certificates;
    certificates.bootstrap_kubeconfig = map.get("bootstrapKubeconfig").and_then(|node| path(reader, &node, directory));
    certificates.directory = map.get("certDirectory").and_then(|node| path(reader, &node, directory));
    certificates.serving = map.get("serverTLSBootstrap").and_then(|node| reader.boolean(&node));
    if let Some(map) =
        map.get("pipe").and_then(|node| reader.map(&node, &["run", "directory", "records", "cgroup", "siteFile"]))
    {
        let words = [("node", PipeOwner::Node), ("external", PipeOwner::External)];
        settings.pipe_owner = map.get("run").and_then(|node| reader.word(&node, &words));
        settings.hostpipe = map.get("directory").and_then(|node| path(reader, &node, directory));
        settings.records = map.get("records").and_then(|node| path(reader, &node, directory));
        settings.site_file = map.get("siteFile").and_then(|node| path(reader, &node, directory));
        settings.cgroup = map.get("cgroup").and_then(|node| parsed(reader, &node, |text| text.parse()));
    }
    settings.pressure = map.get("pressure").map(|node| PressureSettings::read(reader, &node)).unwrap_or_default();
    settings.log = map.get("log").and_then(|node| parsed(reader, &node, log_filter));
    settings.ending = EndSettings::read(reader, map);
    for (key, into) in [
        ("nodeStatusUpdateFrequency", &mut settings.status_update_every),
        ("nodeStatusReportFrequency", &mut settings.status_report_every),
    ] {
        if let Some(node) = map.get(key) {
            *into = reader.duration(&node);
            if *into == Some(Duration::ZERO) {
                reader.at(&node, "it must be longer than nothing: write 10s, say".to_owned());
            }
        }
    }
    if let Some(node) = map.get("nodeLeaseDurationSeconds") {
        settings.lease_duration_seconds = reader.integer_as(&node);
        if settings.lease_duration_seconds.is_some_and(|seconds| seconds < LEAST_LEASE_SECONDS) {
            reader.at(&node, format!("a lease must hold for at least {LEAST_LEASE_SECONDS} seconds"));
        }
    }
    settings.images =
        map.get("images").map(|node| reader.list(&node).iter().filter_map(|node| image(reader, node)).collect());
    settings.kubernetes_service = map.get("kubernetesService").and_then(|node| {
        let map = reader.map(&node, &["host", "port"])?;
        let host = map.get("host").and_then(|node| reader.text(&node));
        if host.as_deref().is_none_or(str::is_empty) {
            reader.at(
                &node,
                "it has no host: write where pods reach the API server, {host: api.example.org, port: 6443} say"
                    .to_owned(),
            );
        }
        let port = map.get("port").map_or(Some(443), |node| reader.integer_as(&node));
        Some(KubernetesService { host: host?, port: port? })
    });
    settings
}

fn image(reader: &mut Reader, node: &Node<'_>) -> Option<ImageRule> {
    let map = reader.map(node, &["match", "command", "args", "env", "workingDir"])?;
    if map.get("match").is_none() {
        reader.at(node, "it does not say which images it is for: it needs `match`".to_owned());
    }
    let mut env = BTreeMap::new();
    for (name, node) in map.get("env").map(|node| reader.open_map(&node)).unwrap_or_default() {
        match (EnvName::new(name), reader.text(&node)) {
            (Ok(name), Some(value)) => drop(env.insert(name, value)),
            (Err(error), _) => reader.at(&node, error.to_string()),
            (Ok(_), None) => {}
        }
    }
    Some(ImageRule {
        pattern: map.get("match").and_then(|node| parsed(reader, &node, Pattern::new))?,
        command: map.get("command").map(|node| reader.texts(&node)).unwrap_or_default(),
        args: map.get("args").map(|node| reader.texts(&node)).unwrap_or_default(),
        env,
        working_dir: map.get("workingDir").and_then(|node| reader.text(&node)).map(PathBuf::from),
    })
}

fn names(reader: &mut Reader, map: &Map<'_>, directory: &Path) -> Option<Names> {
    let one = map.get("nodeName").and_then(|node| name(reader, &node));
    let Some(node) = map.get("nodes") else { return one.map(Names::One) };
    if map.get("nodeName").is_some() {
        reader.at(&node, "nodeName names the only node: write one of the two".to_owned());
    }
    if node.is_map() {
        let map = reader.map(&node, &["prefix", "count"])?;
        let prefix = map.get("prefix").and_then(|node| reader.text(&node));
        let count = map.get("count").and_then(|node| reader.integer_as::<u32>(&node));
        if map.get("prefix").is_none() || map.get("count").is_none() {
            reader.at(&node, "it needs both prefix and count, or is a list of nodes with their names".to_owned());
        }
        if count.is_some_and(|count| count == 0 || count > MOST_NODES) {
            reader.at(&node, format!("count must be 1 to {MOST_NODES}"));
        }
        return Some(Names::Numbered { prefix: prefix?, count: count? });
    }
    let mut all = Vec::new();
    for node in reader.list(&node) {
        let Some(map) = reader.map(&node, &[&["name"], &MEMBER_KEYS[..]].concat()) else { continue };
        let settings = member(reader, &map, directory);
        match map.get("name").map(|node| name(reader, &node)) {
            Some(Some(name)) => all.push((name, settings)),
            Some(None) => {}
            None => reader.at(&node, "it has no name: write {name: vk-a, …}".to_owned()),
        }
    }
    Some(Names::Listed(all))
}

fn member(reader: &mut Reader, map: &Map<'_>, directory: &Path) -> MemberSettings {
    let address = |reader: &mut Reader, key: &str| {
        let wrong = |text: &str| format!("{text:?} is no IP address: write 10.0.0.7 or 2001:db8::7, say");
        map.get(key).and_then(|node| parsed(reader, &node, |text| text.parse::<IpAddr>().map_err(|_| wrong(text))))
    };
    let value = |reader: &mut Reader, key: &str| {
        let node = map.get(key)?;
        let text = reader.text(&node)?;
        if let Some(problem) = value_problem(&text) {
            reader.at(&node, problem);
        }
        Some(text)
    };
    MemberSettings {
        kubeconfig: map.get("kubeconfig").and_then(|node| path(reader, &node, directory)),
        address: address(reader, "address"),
        listen_address: address(reader, "listenAddress"),
        port: map.get("port").and_then(|node| reader.integer_as(&node)),
        max_pods: map.get("maxPods").and_then(|node| reader.integer_as(&node)),
        labels: map.get("labels").map(|node| labels(reader, &node)).unwrap_or_default(),
        taints: map
            .get("registerWithTaints")
            .map(|node| reader.list(&node).iter().filter_map(|node| taint(reader, node)).collect()),
        capacity: map.get("capacity").map(|node| amounts(reader, &node)).unwrap_or_default(),
        reserved: map.get("systemReserved").map(|node| amounts(reader, &node)).unwrap_or_default(),
        site: value(reader, "site"),
        fleet: value(reader, "fleet"),
        node_type: value(reader, "nodetype"),
        walltime: map.get("walltimeSeconds").and_then(|node| reader.integer(&node)).map(Duration::from_secs),
        assumed_walltime: None,
    }
}

fn name(reader: &mut Reader, node: &Node<'_>) -> Option<NodeName> {
    parsed(reader, node, |text| NodeName::parse(text).map_err(|error| error.to_string()))
}

pub(super) fn parsed<T>(
    reader: &mut Reader,
    node: &Node<'_>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = reader.text(node)?;
    parse(&text).map_err(|problem| reader.at(node, problem)).ok()
}

/// What is logged. Only its form is looked at here: `info`, or `vk_node=debug,warn`.
fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let is_right = |part: &str| match part.trim().split_once('=') {
        Some((module, level)) => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
            !module.is_empty() && module.chars().all(is_plain) && is_level(level)
        }
        None => is_level(part.trim()),
    };
    if text.split(',').all(is_right) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} says nothing of what is logged: write one of {}, or vk_node=debug,info say",
        LEVELS.join(", ")
    ))
}

pub(super) fn path(reader: &mut Reader, node: &Node<'_>, directory: &Path) -> Option<PathBuf> {
    let text = reader.text(node)?;
    if text.is_empty() {
        reader.at(node, "it is empty, and a path is wanted".to_owned());
    }
    Some(directory.join(text))
}

fn labels(reader: &mut Reader, node: &Node<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for (key, node) in reader.open_map(node) {
        let Some(value) = reader.text(&node) else { continue };
        match label_problem(&key, &value) {
            None => drop(labels.insert(key, value)),
            Some(problem) => reader.at(&node, problem),
        }
    }
    labels
}

fn taint(reader: &mut Reader, node: &Node<'_>) -> Option<NodeTaint> {
    let map = reader.map(node, &["key", "value", "effect"])?;
    let text = |reader: &mut Reader, key: &str| map.get(key).and_then(|node| reader.text(&node));
    let (key, value) = (text(reader, "key"), text(reader, "value"));
    let effect = map.get("effect").and_then(|node| reader.word(&node, &TaintEffect::WORDS));
    if map.get("key").is_none() || map.get("effect").is_none() {
        reader.at(
            node,
            "a taint needs key and effect: write {key: example.org/batch, effect: NoSchedule}, say".to_owned(),
        );
    }
    let taint = NodeTaint { key: key?, value: value.unwrap_or_default(), effect: effect? };
    if let Some(problem) = super::label::key_problem(&taint.key).or_else(|| value_problem(&taint.value)) {
        reader.at(node, problem);
    }
    Some(taint)
}

fn amounts(reader: &mut Reader, node: &Node<'_>) -> Resources {
    let mut amounts = BTreeMap::new();
    for (name, node) in reader.open_map(node) {
        let Some(text) = reader.text(&node) else { continue };
        match (resource_name_problem(&name), Resources::amount(&name, &text)) {
            (Some(problem), _) => reader.at(&node, problem),
            (None, Err(error)) => reader.at(&node, format!("{text:?}: {error}")),
            (None, Ok(amount)) => drop(amounts.insert(name, amount)),
        }
    }
    Resources(amounts)
}
