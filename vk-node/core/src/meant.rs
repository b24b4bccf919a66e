//! Whether a pod is meant for this node by what it says of nodes' labels: `nodeSelector` and required node affinity. The
//! scheduler has looked at that already, where one has placed the pod; the kubelet looks again, and so does this node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// The `reason` of a pod that is meant for other nodes: the kubelet's word.
pub(crate) const NODE_AFFINITY: &str = "NodeAffinity";

/// A pod is meant for other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Predicate {NODE_AFFINITY} failed: node(s) didn't match Pod's node affinity/selector")]
pub struct NotMeant;

/// Whether a node is meant that has these labels and maybe others: without a look at what it has now.
#[must_use]
pub fn is_plainly_meant(spec: &PodSpec, labels: &BTreeMap<String, String>) -> bool {
    required(spec).is_none() && is_selected(spec, labels)
}

/// Whether a node is meant that has this name and these labels, all of them.
#[must_use]
pub fn is_meant(spec: &PodSpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let mut terms = required(spec).map(|required| required.node_selector_terms.iter());
    is_selected(spec, labels) && terms.as_mut().is_none_or(|terms| terms.any(|term| fits(term, name, labels)))
}

fn is_selected(spec: &PodSpec, labels: &BTreeMap<String, String>) -> bool {
    spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

fn required(spec: &PodSpec) -> Option<&NodeSelector> {
    spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()
}

/// One of the terms of which one must fit; an empty one fits nothing.
fn fits(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let is_field = |field: &str| (field == "metadata.name").then_some(name);
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|asked| holds(asked, labels.get(&asked.key).map(String::as_str)))
        && fields.iter().all(|asked| holds(asked, is_field(&asked.key)))
}

/// Whether a value is as is asked for. From apimachinery's `Requirement.Matches`.
fn holds(asked: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = asked.values.as_deref().unwrap_or_default();
    let is_in = |value: &str| values.iter().any(|one| one == value);
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match asked.operator.as_str() {
        "In" => value.is_some_and(is_in),
        "NotIn" => !value.is_some_and(is_in),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(is, than)| is > than),
        "Lt" => numbers().is_some_and(|(is, than)| is < than),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> PodSpec {
        serde_yaml_ng::from_str(&format!("{{containers: [], {text}}}")).unwrap()
    }

    fn with_terms(terms: &str) -> PodSpec {
        spec(&format!(
            "affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{terms}]}}}}}}"
        ))
    }

    fn labels() -> BTreeMap<String, String> {
        [("rack", "17"), ("kind", "gpu")].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    #[test]
    fn a_selector_asks_for_each_of_its_labels() {
        for (text, expected) in [
            ("nodeSelector: {}", true),
            ("nodeSelector: {kind: gpu}", true),
            ("nodeSelector: {kind: gpu, rack: '18'}", false),
            ("nodeSelector: {other: ''}", false),
            ("affinity: {nodeAffinity: {}}", true),
        ] {
            assert_eq!(is_meant(&spec(text), "vk-a", &labels()), expected, "{text}");
            assert_eq!(is_plainly_meant(&spec(text), &labels()), expected, "{text}");
        }
    }

    #[test]
    fn of_the_terms_one_must_fit_whole() {
        let expression = |text: &str| format!("{{matchExpressions: [{text}]}}");
        let name = |name: &str| format!("{{matchFields: [{{key: metadata.name, operator: In, values: [{name}]}}]}}");
        for (terms, expected) in [
            (expression("{key: kind, operator: In, values: [cpu, gpu]}"), true),
            (expression("{key: kind, operator: NotIn, values: [gpu]}"), false),
            (expression("{key: other, operator: NotIn, values: [gpu]}"), true),
            (expression("{key: kind, operator: Exists}, {key: other, operator: DoesNotExist}"), true),
            (expression("{key: kind, operator: Exists}, {key: rack, operator: DoesNotExist}"), false),
            (expression("{key: rack, operator: Gt, values: ['16']}, {key: rack, operator: Lt, values: ['18']}"), true),
            (expression("{key: rack, operator: Gt, values: ['17']}"), false),
            (expression("{key: kind, operator: Gt, values: ['1']}"), false),
            (expression("{key: kind, operator: Whatever}"), false),
            (name("vk-a"), true),
            (name("vk-b"), false),
            (format!("{}, {}", name("vk-b"), expression("{key: kind, operator: Exists}")), true),
            ("{}".to_owned(), false),
            (String::new(), false),
        ] {
            let spec = with_terms(&terms);
            assert_eq!(is_meant(&spec, "vk-a", &labels()), expected, "{terms}");
            // Other labels may be the ones that matter.
            assert!(!is_plainly_meant(&spec, &labels()), "{terms}");
        }
    }
}
