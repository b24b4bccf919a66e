//! The chart before those who judge charts: helm-docs, helm-unittest, kubeconform with the schemas of the API server that is
//! here, and kube-score.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use vk_cmd_e2e::chart::directory;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::tools::{self, Tool};

use crate::fixture::{SOON, control_plane};

/// Kinds that are not the cluster's own: the Prometheus Operator's, and ours.
const OTHERS: &str = "ServiceMonitor,PrometheusRule,CustomResourceDefinition";

async fn tool(tool: Tool) -> Command {
    Command::new(tools::path(tool).await.unwrap())
}

/// What the chart makes with the values of a file in its directory `ci`, as a file.
async fn made(scratch: &Scratch, values: &str) -> PathBuf {
    let mut helm = tool(Tool::Helm).await;
    helm.args(["template", "release"]).arg(directory()).args(["--namespace", "vk-cmd-system", "--values"]);
    helm.arg(directory().join("ci").join(values));
    let path = scratch.path().join(values);
    std::fs::write(&path, exec::text(helm, SOON).await.unwrap()).unwrap();
    path
}

#[tokio::test]
async fn readme_says_what_the_values_say() {
    let mut docs = tool(Tool::HelmDocs).await;
    docs.arg("--chart-search-root").arg(directory()).args(["--dry-run", "--log-level=warning"]);
    let right = exec::text(docs, SOON).await.unwrap();
    let readme = std::fs::read_to_string(directory().join("README.md")).unwrap();
    assert!(
        right.trim() == readme.trim(),
        "charts/vk-cmd/README.md is not up to date. Make it anew: cargo run -p vk-cmd-e2e --bin tool -- helm-docs \
         --chart-search-root charts\n{right}"
    );
    // Its own strict mode finds fault with every key.
    let (_, values) = readme.split_once("| Key | Type | Default | Description |").unwrap();
    let untold: Vec<_> = values.lines().filter(|line| line.starts_with("| ") && line.ends_with("|  |")).collect();
    assert!(untold.is_empty() && values.lines().count() > 80, "{untold:?}");
}

#[tokio::test]
async fn templates_do_what_their_own_tests_ask() {
    let mut unittest = tool(Tool::HelmUnittest).await;
    unittest.args(["--strict", "--color=false"]).arg(directory());
    let said = exec::text(unittest, SOON).await.unwrap();
    assert!(said.contains("0 failed") || !said.contains("failed"), "{said}");
}

#[tokio::test]
async fn objects_fit_the_schemas_of_the_api_server() {
    let scratch = Scratch::new("vk-schemas-").unwrap();
    schemas(scratch.path()).await;
    for values in ["default-values.yaml", "all-values.yaml"] {
        let mut conform = tool(Tool::Kubeconform).await;
        let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", scratch.path().display());
        conform.args(["-strict", "-summary", "-schema-location", &location, "-skip", OTHERS]);
        conform.arg(made(&scratch, values).await);
        let said = exec::text(conform, SOON).await.unwrap();
        assert!(said.contains("Invalid: 0, Errors: 0"), "{said}");
    }
    // They find what is wrong.
    let wrong = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatas: {}\n";
    let path = scratch.path().join("wrong.yaml");
    std::fs::write(&path, wrong).unwrap();
    let mut conform = tool(Tool::Kubeconform).await;
    let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", scratch.path().display());
    conform.args(["-strict", "-schema-location", &location]).arg(path);
    let said = exec::output(conform, SOON).await.unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("datas"), "{said:?}");
}

/// Writes a schema for each kind that the API server serves, as kubeconform reads them: its own, and strict.
async fn schemas(directory: &Path) {
    let mut kubectl = control_plane().await.kubectl();
    kubectl.args(["get", "--raw", "/openapi/v2"]);
    let mut all: Value = serde_json::from_str(&exec::text(kubectl, SOON).await.unwrap()).unwrap();
    let definitions = all["definitions"].as_object_mut().unwrap();
    for definition in definitions.values_mut() {
        if definition.get("properties").is_some() && definition.get("additionalProperties").is_none() {
            definition["additionalProperties"] = json!(false);
        }
        // Written as numbers or as texts.
        if matches!(definition["format"].as_str(), Some("int-or-string")) {
            *definition = json!({"type": ["string", "integer"]});
        }
    }
    if let Some(quantity) = definitions.get_mut("io.k8s.apimachinery.pkg.api.resource.Quantity") {
        *quantity = json!({"type": ["string", "number"]});
    }
    let mut kinds = Vec::new();
    for (name, definition) in definitions.iter() {
        for kind in definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten() {
            let part = |key: &str| kind[key].as_str().unwrap_or_default().to_lowercase();
            let group = part("group").split('.').next().unwrap_or_default().to_owned();
            let group = if group.is_empty() { String::new() } else { format!("{group}-") };
            kinds.push((format!("{}-{group}{}.json", part("kind"), part("version")), name.clone()));
        }
    }
    std::fs::write(directory.join("_definitions.json"), json!({"definitions": definitions}).to_string()).unwrap();
    for (file, name) in kinds {
        let schema = json!({"$ref": format!("_definitions.json#/definitions/{name}")});
        std::fs::write(directory.join(file), schema.to_string()).unwrap();
    }
}

#[tokio::test]
async fn objects_are_as_good_practice_has_them() {
    let scratch = Scratch::new("vk-score-").unwrap();
    let mut score = tool(Tool::KubeScore).await;
    score.args(["score", "--output-format=ci", "--kubernetes-version=v1.30"]);
    // The test's pod is there for seconds, and is nobody's to spread or to probe.
    score.arg(made(&scratch, "strict-values.yaml").await);
    let said = exec::output(score, SOON).await.unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let bad: Vec<_> =
        text.lines().filter(|line| line.starts_with("[CRITICAL]") || line.starts_with("[WARNING]")).collect();
    assert!(bad.is_empty() && said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
}
