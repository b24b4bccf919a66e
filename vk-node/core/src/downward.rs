//! The downward API: what a pod can be told of itself, in variables and in files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::facts::NodeFacts;
use vk_cmd_crds::quantity::{InvalidQuantity, thousandths, units};

/// Why something of a pod cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// The path is none that can be told.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// The resource is none that can be told.
    #[error("unsupported container resource: {0}")]
    Resource(String),
    /// There is no such container.
    #[error("container {0} not found")]
    Container(String),
    /// An amount is none.
    #[error("{0}")]
    Quantity(String),
}

/// The value of a field. The paths are those that the API takes in `fieldRef`, of variables and of files.
///
/// # Errors
/// When it is none of them.
pub fn field(path: &str, pod: &Pod, node: &NodeFacts) -> Result<String, Untold> {
    let meta = &pod.metadata;
    let entry = |rest: &str, of: &Option<BTreeMap<String, String>>| {
        if rest.is_empty() {
            return Some(formatted(of.as_ref()));
        }
        let key = rest.strip_prefix("['")?.strip_suffix("']")?;
        Some(of.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
    };
    let found = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "spec.nodeName" => Some(node.name.clone()),
        "spec.serviceAccountName" => {
            Some(pod.spec.as_ref().and_then(|s| s.service_account_name.clone()).unwrap_or_default())
        }
        // A pod is in its host's network, and a node has one address.
        "status.hostIP" | "status.podIP" | "status.hostIPs" | "status.podIPs" => Some(node.address.clone()),
        _ => path.strip_prefix("metadata.labels").map_or_else(
            || path.strip_prefix("metadata.annotations").and_then(|rest| entry(rest, &meta.annotations)),
            |rest| entry(rest, &meta.labels),
        ),
    };
    found.ok_or_else(|| Untold::Field(path.to_owned()))
}

/// Labels or annotations as a file: a line `key="value"` for each, in the order of the keys.
fn formatted(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// As Go quotes a string: the kubelet's files of labels are read by programs that undo just that.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        // Writing to a String does not fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\x07' => write!(out, "\\a"),
            '\x08' => write!(out, "\\b"),
            '\x0c' => write!(out, "\\f"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\x0b' => write!(out, "\\v"),
            ' '..='~' => write!(out, "{c}"),
            '\0'..='\x7f' => write!(out, "\\x{:02x}", u32::from(c)),
            _ if is_printable(c) => write!(out, "{c}"),
            '\u{80}'..='\u{ffff}' => write!(out, "\\u{:04x}", u32::from(c)),
            _ => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out.push('"');
    out
}

/// Whether a character beyond ASCII shows. Go and Rust have one rule for it: not of the categories C and Z. Rust's is not
/// public; what comes after a string's first character tells it.
fn is_printable(c: char) -> bool {
    format!("a{c}").escape_debug().nth(1) == Some(c)
}

/// What the container named in `selector`, or else `own`, may use at most, or asks for, in units of the divisor, rounded
/// up. A limit that is not set is what the node has.
///
/// # Errors
/// When the resource or the container is unknown.
pub fn resource(selector: &ResourceFieldSelector, pod: &Pod, own: &str, node: &NodeFacts) -> Result<String, Untold> {
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(own);
    let container = container(pod, name).ok_or_else(|| Untold::Container(name.to_owned()))?;
    let unknown = || Untold::Resource(selector.resource.clone());
    let (list, resource) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let is_huge = resource.starts_with("hugepages-");
    if !is_huge && !matches!(resource, "cpu" | "memory" | "ephemeral-storage") {
        return Err(unknown());
    }
    let resources = container.resources.as_ref();
    let is_zero = |quantity: &&Quantity| thousandths(quantity) == Ok(0);
    let found = match list {
        "requests" => resources.and_then(|r| r.requests.as_ref()?.get(resource)),
        "limits" => {
            let limit = resources.and_then(|r| r.limits.as_ref()?.get(resource)).filter(|q| !is_zero(q));
            // Huge pages are never more than what was promised.
            limit.or_else(|| node.allocatable.get(resource).filter(|_| !is_huge))
        }
        _ => return Err(unknown()),
    };
    let one = Quantity("1".to_owned());
    let divisor = selector.divisor.as_ref().filter(|divisor| !is_zero(divisor)).unwrap_or(&one);
    let read = if resource == "cpu" { thousandths } else { units };
    let wrong = |error: InvalidQuantity| Untold::Quantity(format!("{}: {error}", selector.resource));
    let amount = found.map_or(Ok(0), read).map_err(wrong)?;
    Ok(amount.div_ceil(read(divisor).map_err(wrong)?.max(1)).to_string())
}

fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|container| container.name == name)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{from_value, json};

    use super::*;

    #[test]
    fn labels_are_quoted_as_go_quotes() {
        // What strconv.Quote gives, by its documentation and the tests of its package.
        for (text, expected) in [
            ("plain", r#""plain""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("\x07\x08\x0c\n\r\t\x0b", r#""\a\b\f\n\r\t\v""#),
            ("\0\x1b\x7f", r#""\x00\x1b\x7f""#),
            ("ü☺😀", "\"ü☺😀\""),
            ("\u{85}\u{a0}\u{ad}\u{200b}\u{feff}\u{e000}", r#""\u0085\u00a0\u00ad\u200b\ufeff\ue000""#),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{e0001}\u{10ffff}", r#""\U000e0001\U0010ffff""#),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }

    #[test]
    fn every_field_of_the_downward_api_is_told() {
        let pod: Pod = from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a/x": "1"},
                         "annotations": {"k[']": "v\n"}},
            "spec": {"containers": [], "serviceAccountName": "sa"},
        }))
        .unwrap();
        let node = NodeFacts { name: "vk-a".into(), address: "10.0.0.7".into(), ..NodeFacts::default() };
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.namespace", "ns"),
            ("metadata.uid", "u"),
            ("metadata.labels", "a/x=\"1\"\nb=\"2\""),
            ("metadata.annotations", "k[']=\"v\\n\""),
            ("metadata.labels['a/x']", "1"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['k[']']", "v\n"),
            ("spec.nodeName", "vk-a"),
            ("spec.serviceAccountName", "sa"),
            ("status.hostIP", "10.0.0.7"),
            ("status.hostIPs", "10.0.0.7"),
            ("status.podIP", "10.0.0.7"),
            ("status.podIPs", "10.0.0.7"),
        ] {
            assert_eq!(field(path, &pod, &node).as_deref(), Ok(expected), "{path}");
        }
        for path in ["", "metadata", "metadata.labelsx", "metadata.labels['a'", "spec.containers", "status.phase"] {
            assert_eq!(field(path, &pod, &node), Err(Untold::Field(path.to_owned())));
        }
    }

    #[test]
    fn amounts_are_in_units_of_the_divisor_rounded_up() {
        let pod: Pod = from_value(json!({
            "spec": {
                "containers": [
                    {"name": "c", "resources": {
                        "limits": {"cpu": "1500m", "memory": "1Gi", "hugepages-2Mi": "4Mi", "ephemeral-storage": "0"},
                        "requests": {"cpu": "100m", "memory": "64Mi"},
                    }},
                    {"name": "free"},
                ],
                "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "3"}}}],
            },
        }))
        .unwrap();
        let allocatable = [("cpu", "8"), ("memory", "100Ki"), ("ephemeral-storage", "7G"), ("hugepages-2Mi", "1Gi")];
        let allocatable = allocatable.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).into();
        let node = NodeFacts { allocatable, ..NodeFacts::default() };
        let told = |container: &str, resource: &str, divisor: &str| {
            let selector: ResourceFieldSelector =
                from_value(json!({"containerName": container, "resource": resource, "divisor": divisor})).unwrap();
            super::resource(&selector, &pod, "c", &node)
        };
        for (container, resource, divisor, expected) in [
            ("", "limits.cpu", "0", "2"),
            ("", "limits.cpu", "1m", "1500"),
            ("", "limits.memory", "0", "1073741824"),
            ("", "limits.memory", "1Mi", "1024"),
            ("", "limits.memory", "1M", "1074"),
            ("", "limits.hugepages-2Mi", "1Mi", "4"),
            ("", "limits.ephemeral-storage", "1G", "7"),
            ("", "requests.cpu", "1", "1"),
            ("", "requests.ephemeral-storage", "1", "0"),
            ("free", "limits.cpu", "1m", "8000"),
            ("free", "limits.memory", "1Ki", "100"),
            ("free", "limits.hugepages-2Mi", "1", "0"),
            ("free", "requests.cpu", "1m", "0"),
            ("i", "limits.cpu", "1", "3"),
        ] {
            assert_eq!(told(container, resource, divisor).as_deref(), Ok(expected), "{container} {resource} {divisor}");
        }
        assert_eq!(told("none", "limits.cpu", "1"), Err(Untold::Container("none".into())));
        for unknown in ["limits.pods", "cpu", "x.cpu", "requests.nvidia.com/gpu"] {
            assert_eq!(told("", unknown, "1"), Err(Untold::Resource(unknown.into())));
        }
    }
}
