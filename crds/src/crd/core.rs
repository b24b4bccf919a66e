//! What Kubernetes checks about the types of core/v1 when it takes a pod, said about them where they stand in a CmdJob: their
//! schemas say only their shapes. The sources are `ValidatePodSpec` of Kubernetes, and what a vk-node refuses (docs/pod-fields.md).
//!
//! A schema's own words (`pattern`, `enum`, `maximum`) are used where a list is in a list: what they cost is not counted, as
//! that of a CEL rule is. Lists get the most entries that they can have, by which the cost of a rule is known.

use serde_json::{Map, Value, json};

use super::CrdError;

/// The longest name of an environment variable in characters. Kubernetes has no limit of its own; the cost of a CEL rule
/// is only known with one.
const ENV_NAME_MAX: u32 = 1024;
/// The longest value of an environment variable in characters: Linux takes no string longer than 128 KiB (MAX_ARG_STRLEN).
const ENV_VALUE_MAX: u32 = 131_072;
/// The longest name of a key of a ConfigMap or Secret, and of the object itself.
const NAME_MAX: u32 = 253;
/// The longest path in characters (PATH_MAX of Linux).
const PATH_MAX: u32 = 4096;
/// The most files that one source of a volume can list.
const FILES_MAX: u32 = 500;
/// The most sources of a projected volume.
const SOURCES_MAX: u32 = 64;

/// The longest quantity in characters, for the cost of a CEL rule.
const QUANTITY_MAX: u32 = 64;
/// What Kubernetes' own definitions say of a quantity. A number has no pattern, and needs none.
const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$";

/// A path in a volume: relative, without `..`, and not beginning with these two (`validateLocalNonReservedPath`).
const FILE_PATH: &str = r"^([^/.][^/]*|\.([^/.][^/]*)?)(/([^/.][^/]*|\.([^/.][^/]*)?|\.\.[^/]+)?)*$";
/// The same, but it may begin with them, and may be empty (`validateLocalDescendingPath`).
const SUB_PATH: &str = r"^(([^/.][^/]*|\.([^/.][^/]*)?|\.\.[^/]+)(/([^/.][^/]*|\.([^/.][^/]*)?|\.\.[^/]+)?)*)?$";

/// What of a pod a variable can be.
const ENV_FIELD: &str = r"^(metadata\.(name|namespace|uid|(labels|annotations)\['.+'\])|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?))$";
/// What of a pod a file can be.
const FILE_FIELD: &str = r"^metadata\.(name|namespace|uid|labels|annotations|(labels|annotations)\['.+'\])$";
/// What of a container's resources a variable or file can be.
const RESOURCE: &str = r"^(limits|requests)\.(cpu|memory|ephemeral-storage|hugepages-.+)$";

/// Says it all, below the schema of a CmdJob's spec.
pub(super) fn complete(spec: &mut Value) -> Result<(), CrdError> {
    for (path, words) in all() {
        let place = at(spec, &path).ok_or_else(|| CrdError::Missing(format!("spec.{path}")))?;
        let Value::Object(words) = words else { continue };
        for (word, value) in words {
            match (place.get_mut(&word), value) {
                (Some(Value::Array(there)), Value::Array(mut more)) => there.append(&mut more),
                // Fields that no vk-node honours.
                (Some(Value::Object(there)), Value::Object(less)) => {
                    less.keys().for_each(|key| drop(there.remove(key)))
                }
                (_, Value::Null) => drop(place.remove(&word)),
                (_, value) => {
                    place.insert(word, value);
                }
            }
        }
    }
    Ok(())
}

/// The schema of a field: `volumes[].configMap` is `configMap` of the entries of `volumes`, `limits{}` what `limits` is a map of.
fn at<'a>(schema: &'a mut Value, path: &str) -> Option<&'a mut Map<String, Value>> {
    let mut here = schema;
    for step in path.split('.') {
        let name = step.trim_end_matches("[]").trim_end_matches("{}");
        here = here.get_mut("properties")?.get_mut(name)?;
        if step.ends_with("[]") {
            here = here.get_mut("items")?;
        } else if step.ends_with("{}") {
            here = here.get_mut("additionalProperties")?;
        }
    }
    here.as_object_mut()
}

/// A CEL rule.
fn rule(cel: &str, message: &str) -> Value {
    json!({"x-kubernetes-validations": [{"rule": cel, "message": message}]})
}

fn name() -> Value {
    json!({"minLength": 1, "maxLength": NAME_MAX})
}

fn path(pattern: &str) -> Value {
    json!({"minLength": 0, "maxLength": PATH_MAX, "pattern": pattern})
}

fn mode() -> Value {
    json!({"minimum": 0, "maximum": 0o777})
}

fn quantity() -> Value {
    json!({
        "type": null, "x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}],
        "pattern": QUANTITY, "maxLength": QUANTITY_MAX,
    })
}

fn all() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut say = |path: &str, words: Value| all.push((path.to_owned(), words));

    say("resources.limits{}", quantity());
    say("resources.requests{}", quantity());

    say("env[].name", json!({"maxLength": ENV_NAME_MAX}));
    say("env[].value", json!({"maxLength": ENV_VALUE_MAX}));
    for source in ["configMapKeyRef", "secretKeyRef"] {
        say(&format!("env[].valueFrom.{source}.name"), name());
        say(&format!("env[].valueFrom.{source}.key"), name());
    }
    say("env[].valueFrom.fieldRef.fieldPath", json!({"pattern": ENV_FIELD}));
    resource(&mut say, "env[].valueFrom.resourceFieldRef");
    say("envFrom[].prefix", json!({"maxLength": ENV_NAME_MAX, "pattern": "^[ -<>-~]*$"}));
    say("envFrom[].configMapRef.name", name());
    say("envFrom[].secretRef.name", name());

    for (source, named) in [
        ("volumes[].configMap", "name"),
        ("volumes[].secret", "secretName"),
        ("volumes[].projected.sources[].configMap", "name"),
        ("volumes[].projected.sources[].secret", "name"),
    ] {
        say(&format!("{source}.{named}"), name());
        say(&format!("{source}.items"), json!({"maxItems": FILES_MAX}));
        say(&format!("{source}.items[].key"), name());
        say(&format!("{source}.items[].path"), path(FILE_PATH));
        say(&format!("{source}.items[].mode"), mode());
    }
    say("volumes[].secret", json!({"required": ["secretName"]}));
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        say(&format!("volumes[].{source}.defaultMode"), mode());
    }
    for source in ["volumes[].downwardAPI", "volumes[].projected.sources[].downwardAPI"] {
        let files = format!("{source}.items");
        say(&files, json!({"maxItems": FILES_MAX}));
        let one = rule(
            "has(self.fieldRef) != has(self.resourceFieldRef)",
            "a file of downwardAPI is exactly one of fieldRef and resourceFieldRef",
        );
        say(&format!("{files}[]"), one);
        say(&format!("{files}[].path"), path(FILE_PATH));
        say(&format!("{files}[].mode"), mode());
        say(&format!("{files}[].fieldRef.fieldPath"), json!({"pattern": FILE_FIELD}));
        resource(&mut say, &format!("{files}[].resourceFieldRef"));
    }
    let sources = "volumes[].projected.sources";
    say(sources, json!({"maxItems": SOURCES_MAX}));
    say(&format!("{sources}[]"), json!({"properties": {"clusterTrustBundle": null, "podCertificate": null}}));
    let one = rule(
        "[has(self.configMap), has(self.secret), has(self.downwardAPI), has(self.serviceAccountToken)].exists_one(source, source)",
        "a source of a projected volume is exactly one of configMap, secret, downwardAPI and serviceAccountToken: a vk-cmd \
         node has no others",
    );
    say(&format!("{sources}[]"), one);
    say(&format!("{sources}[].serviceAccountToken.path"), path(FILE_PATH));
    let seconds = json!({"minimum": 600, "maximum": u64::from(u32::MAX) + 1});
    say(&format!("{sources}[].serviceAccountToken.expirationSeconds"), seconds);

    let absolute = rule(
        "self.startsWith('/') && !self.matches('(^|/)[.][.](/|$)')",
        "the path on the host is absolute and without .., e.g. /scratch/me/run1: it is not read by a shell, so ~ and $HOME do \
         not work here",
    );
    say("volumes[].hostPath.path", json!({"maxLength": PATH_MAX}));
    say("volumes[].hostPath.path", absolute);
    let kinds = ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    say("volumes[].hostPath.type", json!({"enum": kinds}));
    say("volumes[].emptyDir.medium", json!({"enum": ["", "Memory"]}));
    say("volumes[].emptyDir.sizeLimit", quantity());

    say("volumeMounts[].name", json!({"maxLength": 63}));
    say("volumeMounts[].mountPath", json!({"maxLength": PATH_MAX}));
    let target = rule(
        "self.matches('[^/.]') && !self.contains(':') && !self.matches('(^|/)[.][.](/|$)')",
        "mountPath is a path without .. and colons, e.g. /data, and not the root itself",
    );
    say("volumeMounts[].mountPath", target);
    say("volumeMounts[].mountPropagation", json!({"enum": ["None"]}));
    say("volumeMounts[].recursiveReadOnly", json!({"enum": ["Disabled", "IfPossible"]}));
    say("volumeMounts[].subPath", path(SUB_PATH));
    say("volumeMounts[].subPathExpr", path(SUB_PATH));
    let one = rule(
        "!has(self.subPath) || self.subPath == '' || !has(self.subPathExpr) || self.subPathExpr == ''",
        "a volumeMount has either subPath or subPathExpr",
    );
    say("volumeMounts[]", one);
    let read_only = rule(
        "!has(self.recursiveReadOnly) || self.recursiveReadOnly == 'Disabled' || (has(self.readOnly) && self.readOnly)",
        "recursiveReadOnly needs readOnly: true",
    );
    say("volumeMounts[]", read_only);
    all
}

/// A resource of the one container that there is.
fn resource(say: &mut impl FnMut(&str, Value), at: &str) {
    say(&format!("{at}.containerName"), json!({"enum": ["", crate::labels::MAIN_CONTAINER]}));
    say(&format!("{at}.resource"), json!({"pattern": RESOURCE}));
    say(&format!("{at}.divisor"), quantity());
}
