//! The CustomResourceDefinition that the API server gets: what the derive makes of the types, with what it cannot say.

mod core;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::CmdJob;

/// Where the plain manifest is, below the root of the repository.
pub const MANIFEST: &str = "crds/cmdjobs.vk-cmd.io.yaml";
/// Where the chart's template of it is.
pub const CHART_TEMPLATE: &str = "charts/vk-cmd/templates/crds/cmdjobs.vk-cmd.io.yaml";
/// The command that writes both.
pub const COMMAND: &str = "cargo run -p vk-cmd-crds --bin crdgen";

/// Why the definition could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A type's schema is not what this module expects of it.
    #[error("the schema of CmdJob has no {0}: crds/src/crd does not fit the types any more, mend it")]
    Missing(String),
    /// The definition does not turn into JSON or back.
    #[error("the definition of CmdJob is not a CustomResourceDefinition in JSON")]
    Json(#[from] serde_json::Error),
    /// The definition does not turn into YAML.
    #[error("the definition of CmdJob cannot be written as YAML")]
    Yaml(#[from] serde_yaml_ng::Error),
}

/// The definition of CmdJob.
pub fn cmdjob() -> Result<CustomResourceDefinition, CrdError> {
    let mut crd = serde_json::to_value(CmdJob::crd())?;
    tidy(&mut crd);
    let spec = crd
        .pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .ok_or_else(|| CrdError::Missing("spec".into()))?;
    core::complete(spec)?;
    Ok(serde_json::from_value(crd)?)
}

/// Takes out every `nullable: true`: with it, `script: null` is kept and is there for CEL's `has()`; without it the API
/// server drops the null, as it does for its own types. And joins the lines of descriptions, which are broken where the
/// source code is: `kubectl explain` breaks them where the terminal does.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("nullable") == Some(&Value::Bool(true)) {
                map.remove("nullable");
            }
            if let Some(Value::String(text)) = map.get_mut("description") {
                let paragraphs: Vec<String> = text.split("\n\n").map(|p| p.replace('\n', " ")).collect();
                *text = paragraphs.join("\n\n");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The plain manifest, for `kubectl apply -f`.
pub fn manifest() -> Result<String, CrdError> {
    Ok(format!("# Written by `{COMMAND}` from crds/src: change it there.\n{}", serde_yaml_ng::to_string(&cmdjob()?)?))
}

/// The chart's template: the manifest, with a switch for installing it and one for keeping it when the release goes.
pub fn chart_template() -> Result<String, CrdError> {
    let yaml = serde_yaml_ng::to_string(&cmdjob()?)?.replace("{{", "{{ \"{{\" }}");
    let (head, tail) = yaml.split_once("metadata:\n").ok_or_else(|| CrdError::Missing("metadata".into()))?;
    Ok(format!(
        "{{{{- /* Written by `{COMMAND}` from crds/src: change it there. */}}}}\n\
         {{{{- if .Values.crds.install }}}}\n\
         {head}metadata:\n\
         {{{{- if .Values.crds.keep }}}}\n  \
           annotations:\n    \
             # CmdJobs outlive the release: without this, helm uninstall deletes every one of them.\n    \
             helm.sh/resource-policy: keep\n\
         {{{{- end }}}}\n  \
           labels:\n    \
             {{{{- include \"vk-cmd.labels\" . | nindent 4 }}}}\n\
         {tail}\
         {{{{- end }}}}\n"
    ))
}
