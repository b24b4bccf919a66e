//! What Kubernetes checks about the types of core/v1 when it takes a pod, said about them where they stand in a CmdJob: their
//! schemas say only their shapes. The sources are `ValidatePodSpec` of Kubernetes, and what a vk-node refuses (docs/reference/pod-fields.md).
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

/// The same, below the schema of a CmdFleet's spec.
pub(super) fn complete_fleet(spec: &mut Value) -> Result<(), CrdError> {
    Spec(spec).quantity("launcher.nodeResources{}")
}

/// Says it all, below the schema of a CmdJob's spec.
pub(super) fn complete(spec: &mut Value) -> Result<(), CrdError> {
    let mut spec = Spec(spec);
    for amounts in ["resources.limits{}", "resources.requests{}"] {
        spec.quantity(amounts)?;
    }
    variables(&mut spec)?;
    files(&mut spec)?;
    places(&mut spec)?;
    mounts(&mut spec)
}

/// The schema of a CmdJob's spec. Its fields are named by paths: `volumes[].configMap` is `configMap` of the entries of
/// `volumes`, `limits{}` what `limits` is a map of.
struct Spec<'a>(&'a mut Value);

impl Spec<'_> {
    fn at(&mut self, path: &str) -> Result<&mut Map<String, Value>, CrdError> {
        let mut here = Some(&mut *self.0);
        for step in path.split('.') {
            let name = step.trim_end_matches("[]").trim_end_matches("{}");
            here = here.and_then(|schema| schema.get_mut("properties")?.get_mut(name));
            if step.ends_with("[]") {
                here = here.and_then(|schema| schema.get_mut("items"));
            } else if step.ends_with("{}") {
                here = here.and_then(|schema| schema.get_mut("additionalProperties"));
            }
        }
        here.and_then(Value::as_object_mut).ok_or_else(|| CrdError::Missing(format!("spec.{path}")))
    }

    /// Sets a word of the field's schema.
    fn set(&mut self, path: &str, word: &str, value: impl Into<Value>) -> Result<(), CrdError> {
        self.at(path)?.insert(word.to_owned(), value.into());
        Ok(())
    }

    /// Adds a CEL rule.
    fn rule(&mut self, path: &str, cel: &str, message: &str) -> Result<(), CrdError> {
        let rules = self.at(path)?.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Some(rules) = rules.as_array_mut() {
            rules.push(json!({"rule": cel, "message": message}));
        }
        Ok(())
    }

    /// Takes a field out that no vk-node honours.
    fn without(&mut self, path: &str, field: &str) -> Result<(), CrdError> {
        if let Some(fields) = self.at(path)?.get_mut("properties").and_then(Value::as_object_mut) {
            fields.remove(field);
        }
        Ok(())
    }

    /// A name of an object, or a key of one.
    fn name(&mut self, path: &str) -> Result<(), CrdError> {
        self.set(path, "minLength", 1)?;
        self.set(path, "maxLength", NAME_MAX)
    }

    /// A path, of this pattern.
    fn path(&mut self, path: &str, pattern: &str) -> Result<(), CrdError> {
        self.set(path, "maxLength", PATH_MAX)?;
        self.set(path, "pattern", pattern)
    }

    /// The mode of a file.
    fn mode(&mut self, path: &str) -> Result<(), CrdError> {
        self.set(path, "minimum", 0)?;
        self.set(path, "maximum", 0o777)
    }

    /// A number, or a text with a unit.
    fn quantity(&mut self, path: &str) -> Result<(), CrdError> {
        self.at(path)?.remove("type");
        self.set(path, "x-kubernetes-int-or-string", true)?;
        self.set(path, "anyOf", json!([{"type": "integer"}, {"type": "string"}]))?;
        self.set(path, "pattern", QUANTITY)?;
        self.set(path, "maxLength", QUANTITY_MAX)
    }

    /// A resource of the one container that there is.
    fn resource(&mut self, path: &str) -> Result<(), CrdError> {
        self.set(&format!("{path}.containerName"), "enum", json!(["", crate::labels::MAIN_CONTAINER]))?;
        self.set(&format!("{path}.resource"), "pattern", RESOURCE)?;
        self.quantity(&format!("{path}.divisor"))
    }
}

fn variables(spec: &mut Spec<'_>) -> Result<(), CrdError> {
    spec.set("env[].name", "maxLength", ENV_NAME_MAX)?;
    spec.set("env[].value", "maxLength", ENV_VALUE_MAX)?;
    for source in ["configMapKeyRef", "secretKeyRef"] {
        spec.name(&format!("env[].valueFrom.{source}.name"))?;
        spec.name(&format!("env[].valueFrom.{source}.key"))?;
    }
    spec.set("env[].valueFrom.fieldRef.fieldPath", "pattern", ENV_FIELD)?;
    spec.resource("env[].valueFrom.resourceFieldRef")?;
    spec.set("envFrom[].prefix", "maxLength", ENV_NAME_MAX)?;
    spec.set("envFrom[].prefix", "pattern", "^[ -<>-~]*$")?;
    spec.name("envFrom[].configMapRef.name")?;
    spec.name("envFrom[].secretRef.name")
}

/// The files of volumes that are made of something in the cluster.
fn files(spec: &mut Spec<'_>) -> Result<(), CrdError> {
    for (source, named) in [
        ("volumes[].configMap", "name"),
        ("volumes[].secret", "secretName"),
        ("volumes[].projected.sources[].configMap", "name"),
        ("volumes[].projected.sources[].secret", "name"),
    ] {
        spec.name(&format!("{source}.{named}"))?;
        spec.set(source, "required", json!([named]))?;
        spec.set(&format!("{source}.items"), "maxItems", FILES_MAX)?;
        spec.name(&format!("{source}.items[].key"))?;
        spec.path(&format!("{source}.items[].path"), FILE_PATH)?;
        spec.mode(&format!("{source}.items[].mode"))?;
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        spec.mode(&format!("volumes[].{source}.defaultMode"))?;
    }
    for source in ["volumes[].downwardAPI", "volumes[].projected.sources[].downwardAPI"] {
        let files = format!("{source}.items");
        spec.set(&files, "maxItems", FILES_MAX)?;
        spec.rule(
            &format!("{files}[]"),
            "has(self.fieldRef) != has(self.resourceFieldRef)",
            "a file of downwardAPI is exactly one of fieldRef and resourceFieldRef",
        )?;
        spec.path(&format!("{files}[].path"), FILE_PATH)?;
        spec.mode(&format!("{files}[].mode"))?;
        spec.set(&format!("{files}[].fieldRef.fieldPath"), "pattern", FILE_FIELD)?;
        spec.resource(&format!("{files}[].resourceFieldRef"))?;
    }
    let sources = "volumes[].projected.sources";
    let source = &format!("{sources}[]");
    spec.set(sources, "maxItems", SOURCES_MAX)?;
    spec.without(source, "clusterTrustBundle")?;
    spec.without(source, "podCertificate")?;
    spec.rule(
        source,
        "[has(self.configMap), has(self.secret), has(self.downwardAPI), has(self.serviceAccountToken)].exists_one(source, source)",
        "a source of a projected volume is exactly one of configMap, secret, downwardAPI and serviceAccountToken: a vk-cmd \
         node has no others",
    )?;
    spec.path(&format!("{source}.serviceAccountToken.path"), FILE_PATH)?;
    let seconds = &format!("{source}.serviceAccountToken.expirationSeconds");
    spec.set(seconds, "minimum", 600)?;
    spec.set(seconds, "maximum", u64::from(u32::MAX) + 1)
}

/// Volumes that are places on the host.
fn places(spec: &mut Spec<'_>) -> Result<(), CrdError> {
    spec.set("volumes[].hostPath.path", "maxLength", PATH_MAX)?;
    spec.rule(
        "volumes[].hostPath.path",
        "self.startsWith('/') && !self.matches('(^|/)[.][.](/|$)')",
        "the path on the host is absolute and without .., e.g. /scratch/me/run1: it is not read by a shell, so ~ and $HOME do \
         not work here",
    )?;
    let kinds = ["", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"];
    spec.set("volumes[].hostPath.type", "enum", json!(kinds))?;
    spec.set("volumes[].emptyDir.medium", "enum", json!(["", "Memory"]))?;
    spec.quantity("volumes[].emptyDir.sizeLimit")
}

fn mounts(spec: &mut Spec<'_>) -> Result<(), CrdError> {
    spec.set("volumeMounts[].name", "maxLength", 63)?;
    spec.set("volumeMounts[].mountPath", "maxLength", PATH_MAX)?;
    spec.rule(
        "volumeMounts[].mountPath",
        "self.matches('[^/.]') && !self.contains(':') && !self.matches('(^|/)[.][.](/|$)')",
        "mountPath is a path without .. and colons, e.g. /data, and not the root itself",
    )?;
    spec.set("volumeMounts[].mountPropagation", "enum", json!(["None"]))?;
    spec.set("volumeMounts[].recursiveReadOnly", "enum", json!(["Disabled", "IfPossible"]))?;
    spec.path("volumeMounts[].subPath", SUB_PATH)?;
    spec.path("volumeMounts[].subPathExpr", SUB_PATH)?;
    spec.rule(
        "volumeMounts[]",
        "!has(self.subPath) || self.subPath == '' || !has(self.subPathExpr) || self.subPathExpr == ''",
        "a volumeMount has either subPath or subPathExpr",
    )?;
    spec.rule(
        "volumeMounts[]",
        "!has(self.recursiveReadOnly) || self.recursiveReadOnly == 'Disabled' || (has(self.readOnly) && self.readOnly)",
        "recursiveReadOnly needs readOnly: true",
    )
}
