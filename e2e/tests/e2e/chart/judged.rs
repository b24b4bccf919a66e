//! The chart before those who judge charts: helm-docs, helm-unittest, kubeconform with the schemas of the API server that is
//! here, and kube-score.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use vk_cmd_e2e::chart::directory;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::tools::{self, Tool};

use crate::fixture::{SOON, control_plane};

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
    let judge = async |file: &Path| {
        let mut conform = tool(Tool::Kubeconform).await;
        let location = format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", scratch.path().display());
        conform.args(["-strict", "-summary", "-schema-location", &location]).arg(file);
        String::from_utf8(exec::output(conform, SOON).await.unwrap().stdout).unwrap()
    };
    for values in ["default-values.yaml", "all-values.yaml", "strict-values.yaml"] {
        let file = made(&scratch, values).await;
        // The chart's own kinds, as it installs them.
        custom(scratch.path(), &std::fs::read_to_string(&file).unwrap());
        let said = judge(&file).await;
        assert!(said.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{values}: {said}");
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let said = judge(&examples).await;
    assert!(said.contains("Invalid: 0, Errors: 0, Skipped: 0") && !said.contains(" 0 resources"), "{said}");
    // They find what is wrong, in each kind of schema.
    for (wrong, word) in [
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatas: {}\n", "datas"),
        ("apiVersion: vk-cmd.io/v1alpha1\nkind: CmdJob\nmetadata: {name: a}\nspec: {scripts: a}\n", "scripts"),
        (
            "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: a}\nspec: {selector: {}, endpoints: [{ports: a}]}\n",
            "ports",
        ),
        (
            "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: a}\nspec: {groups: [{name: a, rules: [{alarm: a}]}]}\n",
            "alarm",
        ),
        (
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}\nspec: {groups: a}\n",
            "groups",
        ),
    ] {
        let path = scratch.path().join("wrong.yaml");
        std::fs::write(&path, wrong).unwrap();
        let said = judge(&path).await;
        assert!(said.contains("Invalid: 1") && said.contains(word), "{wrong}: {said}");
    }
}

/// Writes the schemas of what CustomResourceDefinitions define.
fn custom(directory: &Path, yaml: &str) {
    use serde::Deserialize as _;
    for document in serde_yaml_ng::Deserializer::from_str(yaml) {
        let object = Value::deserialize(document).unwrap();
        if object["kind"] != "CustomResourceDefinition" {
            continue;
        }
        let (kind, group) =
            (object["spec"]["names"]["kind"].as_str().unwrap(), object["spec"]["group"].as_str().unwrap());
        for version in object["spec"]["versions"].as_array().unwrap() {
            let mut schema = version["schema"]["openAPIV3Schema"].clone();
            // What each object has, whatever its definition says of it.
            for part in ["apiVersion", "kind", "metadata"] {
                schema["properties"][part] = json!({});
            }
            make_strict(&mut schema);
            let file = schema_file(kind, group, version["name"].as_str().unwrap());
            std::fs::write(directory.join(file), schema.to_string()).unwrap();
        }
    }
}

/// As kubeconform asks for it: `{{.ResourceKind}}{{.KindSuffix}}`.
fn schema_file(kind: &str, group: &str, version: &str) -> String {
    let group = group.split('.').next().filter(|group| !group.is_empty()).map(|group| format!("{group}-"));
    format!("{}-{}{version}.json", kind.to_lowercase(), group.unwrap_or_default()).to_lowercase()
}

/// Nothing is allowed that is not named, where something is; and what is a number or a text may be either.
fn make_strict(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let is_open = object.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
    if object.get("properties").is_some() && object.get("additionalProperties").is_none() && !is_open {
        object.insert("additionalProperties".to_owned(), json!(false));
    }
    if object.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
        object.remove("anyOf");
        object.insert("type".to_owned(), json!(["string", "integer"]));
    }
    for (key, value) in object {
        match (&**key, value) {
            ("properties", Value::Object(all)) => all.values_mut().for_each(make_strict),
            ("items" | "additionalProperties", inner) => make_strict(inner),
            _ => {}
        }
    }
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
            let part = |key: &str| kind[key].as_str().unwrap_or_default();
            kinds.push((schema_file(part("kind"), part("group"), part("version")), name.clone()));
        }
    }
    std::fs::write(directory.join("_definitions.json"), json!({"definitions": definitions}).to_string()).unwrap();
    for (file, name) in kinds {
        let schema = json!({"$ref": format!("_definitions.json#/definitions/{name}")});
        std::fs::write(directory.join(file), schema.to_string()).unwrap();
    }
    // Those that its tests have made it serve, the chart's too, are known better by their definitions.
    let others = tools::prometheus_kinds().await.unwrap();
    for kind in ["servicemonitors", "prometheusrules"] {
        let file = others.join(format!("monitoring.coreos.com_{kind}.yaml"));
        custom(directory, &std::fs::read_to_string(file).unwrap());
    }
}

/// What the values as they come do not do although kube-score asks for it, and why: (whose, what, why). `strict-values.yaml` does all of it.
const EXCEPTIONS: [(&str, &str, &str); 7] = [
    (
        "Deployment",
        "ImagePullPolicy is not set to Always",
        "the image's tag is a version, and stands for one image only: a node that has it need not ask the registry, which may be away",
    ),
    ("Pod", "ImagePullPolicy is not set to Always", "the same image"),
    (
        "Deployment",
        "The pod does not have a matching NetworkPolicy",
        "networkPolicy.enabled is off: its rule for what goes out needs the address of the API server, which a chart cannot know",
    ),
    (
        "Deployment",
        "CPU limit is not set",
        "a limit halts the operator in the middle of its lease's renewal, and the relay in the middle of a stream; requests are what shares processors",
    ),
    ("Pod", "CPU limit is not set", "it is there for seconds"),
    (
        "Deployment",
        "Deployment few replicas",
        "one operator is enough: what runs goes on without it; replicas: 2 is for those who want no pause when its node goes",
    ),
    ("Pod", "The pod does not have a matching NetworkPolicy", "the test's pod asks the API server and is gone"),
];
/// The same of what `all-values.yaml` asks for.
const ASKED_FOR: [(&str, &str, &str); 1] =
    [("Service", "The service is of type NodePort", "relay.service.type says so")];

#[tokio::test]
async fn objects_are_as_good_practice_has_them() {
    let scratch = Scratch::new("vk-score-").unwrap();
    let mut seen = BTreeSet::new();
    for (values, allowed) in [
        ("default-values.yaml", &EXCEPTIONS[..]),
        ("all-values.yaml", &[&EXCEPTIONS[..], &ASKED_FOR].concat()),
        // The test's pod is there for seconds, and is nobody's to spread or to probe: it is left out of this one.
        ("strict-values.yaml", &[]),
    ] {
        let mut score = tool(Tool::KubeScore).await;
        score.args(["score", "--output-format=ci", "--kubernetes-version=v1.30"]).arg(made(&scratch, values).await);
        let said = exec::output(score, SOON).await.unwrap();
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(text.contains("[OK]"), "{text}{}", String::from_utf8_lossy(&said.stderr));
        // `[CRITICAL] release-vk-cmd-operator/vk-cmd-system apps/v1/Deployment: (operator) CPU limit is not set`
        let bad = text.lines().filter(|line| line.starts_with("[CRITICAL]") || line.starts_with("[WARNING]"));
        for line in bad {
            let is_it =
                |(of, what, _): &&(&str, &str, &str)| line.contains(&format!("/{of}: ")) && line.ends_with(what);
            let Some((of, what, _)) = allowed.iter().find(is_it) else { panic!("{values}: {line}") };
            seen.insert((*of, *what));
        }
    }
    // An exception that nobody needs any more is none.
    for (of, what, why) in EXCEPTIONS.iter().chain(&ASKED_FOR) {
        assert!(seen.contains(&(*of, *what)), "{of}: {what}: not needed any more ({why})");
    }
}
