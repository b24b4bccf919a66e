//! The node's image map: images that stand for programs of the host. A pod that names one of them runs on the host, with
//! the map's command where it has none of its own.
//!
//! ```text
//!   images:
//!   - match: docker.io/library/python:3.*
//!     command: [/opt/python/bin/python3]        # the entry point: a container's `command` takes its place
//!     args: [-q]                                # its arguments: a container's `args` or `command` take theirs
//!     env: {PYTHONUNBUFFERED: "1"}              # a container's own variables come before these
//!     workingDir: ~/work
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vk_site::Pattern;
use vk_task::EnvName;

/// What an image stands for on this node: an entry of `images` in the node's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageRule {
    /// Which images: a [`Pattern`] for the whole reference (`docker.io/library/python:3.13`), or for the reference as
    /// pods write it (`python:3.13`).
    #[serde(rename = "match", serialize_with = "pattern_text", deserialize_with = "pattern")]
    pub pattern: Pattern,
    /// The program, with its first arguments: what `ENTRYPOINT` is in an image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Its further arguments: what `CMD` is in an image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Variables that it has unless a container says otherwise: what `ENV` is in an image. As there, `$(VAR)` in a
    /// container does not see them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<EnvName, String>,
    /// Where it starts, unless a container says otherwise: see [`vk_task::TaskSpec::working_dir`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
}

/// All of them. Copies share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageMap(Arc<[ImageRule]>);

impl ImageMap {
    /// Of these rules. The first that describes an image counts.
    #[must_use]
    pub fn new(rules: Vec<ImageRule>) -> Self {
        Self(rules.into())
    }

    /// The images that stand for something and are named whole, not by a pattern for many.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.0.iter().map(|rule| rule.pattern.as_str());
        names.filter(|name| !name.contains(['*', '?', '[', '{', '\\']))
    }

    /// What `image` stands for here, if anything.
    #[must_use]
    pub fn find(&self, image: &str) -> Option<&ImageRule> {
        let whole = whole(image);
        self.0.iter().find(|rule| rule.pattern.matches(&whole) || rule.pattern.matches(image))
    }
}

/// The whole of a reference, as container runtimes read it: `docker.io` where no registry is named, `library` where no
/// owner is, `latest` where there is neither tag nor digest. What names a file is left as it is.
fn whole(image: &str) -> String {
    let name = image.strip_prefix("docker://").unwrap_or(image);
    if name.starts_with(['/', '.', '~']) || name.contains("://") {
        return image.to_owned();
    }
    let (registry, rest) = match name.split_once('/') {
        // As docker tells them apart: a registry has a dot or a port, or is this host.
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest.to_owned()),
        Some(_) => (DOCKER, name.to_owned()),
        None => (DOCKER, format!("library/{name}")),
    };
    let registry = if registry == "index.docker.io" { DOCKER } else { registry };
    let last = rest.rsplit('/').next().unwrap_or_default();
    let tag = if last.contains([':', '@']) { "" } else { ":latest" };
    format!("{registry}/{rest}{tag}")
}

/// The registry of references that name none.
const DOCKER: &str = "docker.io";

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
    Pattern::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn pattern_text<S: Serializer>(pattern: &Pattern, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(pattern.as_str())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_reference_is_read_as_runtimes_read_it() {
        for (written, expected) in [
            ("python", "docker.io/library/python:latest"),
            ("python:3.13", "docker.io/library/python:3.13"),
            ("godlovedc/lolcow", "docker.io/godlovedc/lolcow:latest"),
            ("docker://godlovedc/lolcow", "docker.io/godlovedc/lolcow:latest"),
            ("index.docker.io/library/a:1", "docker.io/library/a:1"),
            ("localhost/a", "localhost/a:latest"),
            ("registry:5000/a", "registry:5000/a:latest"),
            ("ghcr.io/a/b@sha256:00", "ghcr.io/a/b@sha256:00"),
            ("a:1@sha256:00", "docker.io/library/a:1@sha256:00"),
            ("/images/me.sif", "/images/me.sif"),
            ("./me.sif", "./me.sif"),
            ("oras://ghcr.io/a", "oras://ghcr.io/a"),
        ] {
            assert_eq!(whole(written), expected, "{written}");
        }
    }

    #[test]
    fn the_first_rule_that_describes_an_image_counts() {
        let rules: Vec<ImageRule> = from_value(json!([
            {"match": "docker.io/library/python:3.*", "command": ["python3"]},
            {"match": "/images/*.sif", "command": ["run-sif"], "args": ["-q"], "env": {"A": "1"}, "workingDir": "~/w"},
            {"match": "busybox:*", "command": ["busybox"]},
            {"match": "ghcr.io/**", "command": ["other"]},
        ]))
        .unwrap();
        let map = ImageMap::new(rules.clone());
        let found = |image| map.find(image).map(|rule| rule.command[0].as_str());
        assert_eq!(found("python:3.13"), Some("python3"));
        assert_eq!(found("docker://python:3.13"), Some("python3"));
        assert_eq!(found("python"), None);
        assert_eq!(found("/images/x.sif"), Some("run-sif"));
        assert_eq!(found("busybox:1"), Some("busybox"));
        assert_eq!(found("ghcr.io/a/b/c"), Some("other"));
        let text = k8s_openapi::serde_json::to_value(&rules).unwrap();
        assert_eq!(from_value::<Vec<ImageRule>>(text).unwrap(), rules);
        for wrong in [json!({"match": "["}), json!({"match": "a", "entrypoint": []}), json!({"command": ["a"]})] {
            assert!(from_value::<ImageRule>(wrong).is_err());
        }
    }
}
