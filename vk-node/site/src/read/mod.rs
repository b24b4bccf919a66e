//! From the text of a site's file to a [`Site`]. All that is wrong is told at once, each with its line.

mod limits;
mod runtime;

use std::path::PathBuf;

use vk_task::EnvName;
use vk_yaml::{Map, Node, Problems, Reader};

use crate::policy::{Access, Door, HostPath, Policy, PortForward};
use crate::{Audit, Pattern, Patterns, Records, Rule, Site};

/// The version of the file that this program reads.
const VERSION: u64 = 1;
/// Kubernetes' way to write a ServiceAccount as a user.
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// See [`Site::parse`].
pub(crate) fn site(text: &str) -> Result<Site, Problems> {
    vk_yaml::read(text, VERSION, &["policy", "limits", "runtime", "records", "audit"], top)
}

fn top(reader: &mut Reader, map: &Map<'_>) -> Site {
    Site {
        policy: map.get("policy").map(|node| policy(reader, &node)).unwrap_or_default(),
        limits: map.get("limits").map(|node| limits::rules(reader, &node)).unwrap_or_default(),
        runtime: map.get("runtime").and_then(|node| runtime::runtime(reader, &node)).unwrap_or_default(),
        records: map.get("records").map(|node| records(reader, &node)).unwrap_or_default(),
        audit: map.get("audit").map(|node| audit(reader, &node)).unwrap_or_default(),
    }
}

fn policy(reader: &mut Reader, node: &Node<'_>) -> Policy {
    let mut policy = Policy::default();
    let keys = [
        "namespaces",
        "users",
        "programs",
        "scripts",
        "images",
        "hostPaths",
        "fifo",
        "exec",
        "attach",
        "portForward",
        "mountNamespaces",
        "dropEnv",
    ];
    let Some(map) = reader.map(node, &keys) else { return policy };
    for (key, into) in [
        ("namespaces", &mut policy.namespaces),
        ("users", &mut policy.users),
        ("programs", &mut policy.programs),
        ("images", &mut policy.images),
    ] {
        if let Some(node) = map.get(key) {
            *into = rule(reader, &node);
        }
    }
    users_are_written_short(reader, &map);
    for (key, into) in [
        ("scripts", &mut policy.scripts),
        ("fifo", &mut policy.fifo),
        ("mountNamespaces", &mut policy.mount_namespaces),
    ] {
        *into = map.get(key).and_then(|node| reader.boolean(&node)).unwrap_or(*into);
    }
    for (key, into) in [("exec", &mut policy.exec), ("attach", &mut policy.attach)] {
        if let Some(node) = map.get(key) {
            *into = door(reader, &node);
        }
    }
    policy.port_forward = map.get("portForward").and_then(|node| port_forward(reader, &node)).unwrap_or_default();
    policy.drop_env = map.get("dropEnv").map(|node| patterns(reader, &node)).unwrap_or_default();
    policy.host_paths =
        map.get("hostPaths").map(|node| reader.list(&node).iter().filter_map(|node| host_path(reader, node)).collect());
    policy
}

/// One way to write a user is enough; the long one would match nobody.
fn users_are_written_short(reader: &mut Reader, policy: &Map<'_>) {
    let Some(users) = policy.get("users") else { return };
    for key in ["allow", "deny"] {
        for node in users.child(key).map(|list| list.items()).unwrap_or_default() {
            if let Some(user) = node.as_str().filter(|text| !matches!(*text, "*" | "**") && !is_short_user(text)) {
                let short = user.strip_prefix(SERVICE_ACCOUNT_PREFIX).unwrap_or("physics:default");
                reader
                    .at(&node, format!("{user:?} names no ServiceAccount: write it as namespace:name, {short:?} say"));
            }
        }
    }
}

fn is_short_user(text: &str) -> bool {
    text.split(':').count() == 2
}

/// `false`, `true`, or for which namespaces.
fn door(reader: &mut Reader, node: &Node<'_>) -> Door {
    if !node.is_map() {
        return Door { open: reader.boolean(node).unwrap_or(true), namespaces: Rule::default() };
    }
    let map = reader.map(node, &["namespaces"]);
    let namespaces = map.and_then(|map| map.get("namespaces")).map(|node| rule(reader, &node)).unwrap_or_default();
    Door { open: true, namespaces }
}

/// `own`, `any`, or `false`.
fn port_forward(reader: &mut Reader, node: &Node<'_>) -> Option<PortForward> {
    if node.as_str().is_some() {
        return reader.word(node, &[("own", PortForward::Own), ("any", PortForward::Any)]);
    }
    if reader.boolean(node)? {
        reader.at(node, "true does not say which ports may be reached: write own or any".to_owned());
    }
    Some(PortForward::Never)
}

fn host_path(reader: &mut Reader, node: &Node<'_>) -> Option<HostPath> {
    let map = reader.map(node, &["path", "access"])?;
    let path = match map.get("path") {
        Some(node) => {
            let path = pattern(reader, &node)?;
            if !path.as_str().starts_with('/') {
                reader.at(&node, format!("{:?} is no absolute path", path.as_str()));
            }
            path
        }
        None => {
            reader.problem(map.line, format!("{} has no path", map.path));
            return None;
        }
    };
    let words = [("ReadOnly", Access::ReadOnly), ("ReadWrite", Access::ReadWrite)];
    let access = match map.get("access") {
        Some(node) => reader.word(&node, &words)?,
        None => Access::ReadOnly,
    };
    Some(HostPath { path, access })
}

fn rule(reader: &mut Reader, node: &Node<'_>) -> Rule {
    let Some(map) = reader.map(node, &["allow", "deny"]) else { return Rule::default() };
    Rule {
        allow: map.get("allow").map(|node| patterns(reader, &node)),
        deny: map.get("deny").map(|node| patterns(reader, &node)).unwrap_or_default(),
    }
}

fn patterns(reader: &mut Reader, node: &Node<'_>) -> Patterns {
    Patterns(reader.list(node).iter().filter_map(|node| pattern(reader, node)).collect())
}

fn pattern(reader: &mut Reader, node: &Node<'_>) -> Option<Pattern> {
    let text = reader.text(node)?;
    // Both ways to write an image mean the same one.
    match Pattern::new(text.strip_prefix("docker://").unwrap_or(&text)) {
        Ok(pattern) => Some(pattern),
        Err(message) => {
            reader.at(node, message);
            None
        }
    }
}

fn records(reader: &mut Reader, node: &Node<'_>) -> Records {
    let mut records = Records::default();
    let Some(map) = reader.map(node, &["keepSeconds", "keepTasks", "maxBytes"]) else { return records };
    records.keep_seconds = map.get("keepSeconds").and_then(|n| reader.integer(&n)).unwrap_or(records.keep_seconds);
    records.keep_tasks = map.get("keepTasks").and_then(|n| reader.integer(&n)).unwrap_or(records.keep_tasks);
    records.max_bytes = map.get("maxBytes").and_then(|n| reader.bytes(&n)).unwrap_or(records.max_bytes);
    records
}

/// A smaller file would be set aside with nearly each entry.
const LEAST_ROTATE_BYTES: u64 = 64 << 10;

fn audit(reader: &mut Reader, node: &Node<'_>) -> Audit {
    let mut audit = Audit::default();
    let Some(map) = reader.map(node, &["file", "rotateBytes", "keepFiles"]) else { return audit };
    audit.file = map.get("file").and_then(|node| absolute_path(reader, &node));
    if let Some(node) = map.get("rotateBytes")
        && let Some(bytes) = reader.bytes(&node)
    {
        audit.rotate_bytes = bytes;
        if bytes < LEAST_ROTATE_BYTES {
            reader.at(&node, format!("{bytes} bytes are too few: write at least {LEAST_ROTATE_BYTES}"));
        }
    }
    audit.keep_files = map.get("keepFiles").and_then(|node| reader.integer_as(&node));
    audit
}

fn absolute_path(reader: &mut Reader, node: &Node<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(reader.text(node)?);
    if path.is_absolute() {
        return Some(path);
    }
    reader.at(node, format!("{} is no absolute path", path.display()));
    None
}

/// The names of variables with their values.
fn variables(reader: &mut Reader, node: &Node<'_>) -> std::collections::BTreeMap<EnvName, String> {
    let mut variables = std::collections::BTreeMap::new();
    for (name, node) in reader.open_map(node) {
        match EnvName::new(name) {
            Ok(name) => {
                if let Some(value) = reader.text(&node) {
                    variables.insert(name, value);
                }
            }
            Err(e) => reader.at(&node, e.to_string()),
        }
    }
    variables
}

#[cfg(test)]
mod tests;
