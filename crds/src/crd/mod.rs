//! The CustomResourceDefinitions that the API server gets: what the derive makes of the types, with what it cannot say.

mod core;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{CmdFleet, CmdJob};

/// The command that writes the files.
pub const COMMAND: &str = "cargo run -p vk-cmd-crds --bin crdgen";

/// A kind with a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`CmdJob`].
    CmdJob,
    /// [`CmdFleet`].
    CmdFleet,
}

/// Why the definition could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// A type's schema is not what this module expects of it.
    #[error("the schema has no {0}: crds/src/crd does not fit the types any more, mend it")]
    Missing(String),
    /// The definition does not turn into JSON or back.
    #[error("the definition is not a CustomResourceDefinition in JSON")]
    Json(#[from] serde_json::Error),
    /// The definition does not turn into YAML.
    #[error("the definition cannot be written as YAML")]
    Yaml(#[from] serde_yaml_ng::Error),
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::CmdJob, Self::CmdFleet];

    fn plural(self) -> &'static str {
        match self {
            Self::CmdJob => "cmdjobs",
            Self::CmdFleet => "cmdfleets",
        }
    }

    /// Where the plain manifest is, below the root of the repository.
    pub fn manifest_path(self) -> String {
        format!("crds/{}.vk-cmd.io.yaml", self.plural())
    }

    /// Where the chart's template of it is.
    pub fn chart_template_path(self) -> String {
        format!("charts/vk-cmd/templates/crds/{}.vk-cmd.io.yaml", self.plural())
    }

    /// Its definition.
    pub fn definition(self) -> Result<CustomResourceDefinition, CrdError> {
        match self {
            Self::CmdJob => cmdjob(),
            Self::CmdFleet => cmdfleet(),
        }
    }

    /// The plain manifest, for `kubectl apply -f`.
    pub fn manifest(self) -> Result<String, CrdError> {
        let yaml = serde_yaml_ng::to_string(&self.definition()?)?;
        Ok(format!("# Written by `{COMMAND}` from crds/src: change it there.\n{yaml}"))
    }

    /// The chart's template: the manifest, with a switch for installing it and one for keeping it when the release goes.
    pub fn chart_template(self) -> Result<String, CrdError> {
        let yaml = serde_yaml_ng::to_string(&self.definition()?)?.replace("{{", "{{ \"{{\" }}");
        let (head, tail) = yaml.split_once("metadata:\n").ok_or_else(|| CrdError::Missing("metadata".into()))?;
        let kept = match self {
            Self::CmdJob => "CmdJobs",
            Self::CmdFleet => "CmdFleets",
        };
        Ok(format!(
            "{{{{- /* Written by `{COMMAND}` from crds/src: change it there. */}}}}\n\
             {{{{- if .Values.crds.install }}}}\n\
             {head}metadata:\n\
             {{{{- if .Values.crds.keep }}}}\n  \
               annotations:\n    \
                 # {kept} outlive the release: without this, helm uninstall deletes every one of them.\n    \
                 helm.sh/resource-policy: keep\n\
             {{{{- end }}}}\n  \
               labels:\n    \
                 {{{{- include \"vk-cmd.labels\" . | nindent 4 }}}}\n\
             {tail}\
             {{{{- end }}}}\n"
        ))
    }
}

/// The definition of CmdJob.
pub fn cmdjob() -> Result<CustomResourceDefinition, CrdError> {
    let mut crd = serde_json::to_value(CmdJob::crd())?;
    tidy(&mut crd);
    core::complete(schema_of(&mut crd, "spec")?)?;
    Ok(serde_json::from_value(crd)?)
}

/// The definition of CmdFleet.
pub fn cmdfleet() -> Result<CustomResourceDefinition, CrdError> {
    let mut crd = serde_json::to_value(CmdFleet::crd())?;
    tidy(&mut crd);
    let value = "/properties/selector/properties/matchLabels/additionalProperties";
    let missing = || CrdError::Missing(format!("spec{value}"));
    let spec = schema_of(&mut crd, "spec")?;
    core::complete_fleet(spec)?;
    let value = spec.pointer_mut(value).and_then(Value::as_object_mut).ok_or_else(missing)?;
    // As `validation.IsValidLabelValue`. What it costs is not counted, as that of a CEL rule is.
    value.insert("maxLength".to_owned(), json!(63));
    value.insert("pattern".to_owned(), json!("^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"));
    Ok(serde_json::from_value(crd)?)
}

fn schema_of<'a>(crd: &'a mut Value, field: &str) -> Result<&'a mut Value, CrdError> {
    crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties")
        .and_then(|properties| properties.get_mut(field))
        .ok_or_else(|| CrdError::Missing(field.to_owned()))
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
