//! What a label may be, and which a node may give itself.

/// The longest name of a label without its domain, and the longest value.
const PART_MAX: usize = 63;
/// The longest domain.
const DOMAIN_MAX: usize = 253;
/// The labels in Kubernetes' own domains that a node may have by itself, and the domains in which it may have any: see
/// "NodeRestriction" in Kubernetes' documentation.
const ALLOWED: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const ALLOWED_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// Why a node cannot have this label.
#[must_use]
pub fn label_problem(key: &str, value: &str) -> Option<String> {
    key_problem(key).or_else(|| value_problem(value)).or_else(|| {
        let domain = key.split_once('/').map(|(domain, _)| domain)?;
        let within = |of: &str| domain == of || domain.strip_suffix(of).is_some_and(|rest| rest.ends_with('.'));
        let is_kubernetes = within("kubernetes.io") || within("k8s.io");
        let is_allowed = ALLOWED.contains(&key) || ALLOWED_DOMAINS.iter().any(|domain| within(domain));
        (is_kubernetes && !is_allowed).then(|| {
            format!("no node may label itself {key}: use another domain, or have an administrator label the node")
        })
    })
}

/// Why this cannot be the key of a label or the name of a resource.
pub(super) fn key_problem(key: &str) -> Option<String> {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    let is_domain = |text: &str| {
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_part =
            |part: &str| part.starts_with(lower) && part.ends_with(lower) && part.chars().all(|c| lower(c) || c == '-');
        text.len() <= DOMAIN_MAX && text.split('.').all(is_part)
    };
    if name.is_empty() || !is_name(name) || domain.is_some_and(|domain| !is_domain(domain)) {
        return Some(format!(
            "{key:?} is no key: write a name of at most {PART_MAX} letters, digits, '-', '_' and '.', with a domain and '/' \
             before it or without"
        ));
    }
    None
}

/// Why this cannot be the value of a label.
#[must_use]
pub fn value_problem(value: &str) -> Option<String> {
    (!value.is_empty() && !is_name(value)).then(|| {
        format!(
            "{value:?} is no value of a label: write at most {PART_MAX} letters, digits, '-', '_' and '.', with a letter or \
             digit at each end"
        )
    })
}

fn is_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| edge(c) || matches!(c, '-' | '_' | '.');
    text.len() <= PART_MAX && text.starts_with(edge) && text.ends_with(edge) && text.chars().all(inner)
}
