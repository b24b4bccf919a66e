//! Values that make no sense: each is refused by helm, before anything is sent to a cluster, with a message that names the key and
//! says what is right. And the schema that does most of it says the same as the values' own file.

use std::collections::BTreeSet;
use std::process::Command;

use futures::{StreamExt as _, stream};
use serde_json::Value;
use vk_cmd_e2e::chart::directory;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::tools::{self, Tool};

use crate::fixture::SOON;

/// Values as YAML, the key that is to be named, and what is to be said of what is right.
type Row = (&'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    // Keys that there are not: told with those that there are.
    ("replica: 2", "/replica'", "replicas"),
    ("replicaCount: 2", "/replicaCount'", "replicas"),
    ("image: {name: a}", "/name'", "repository"),
    ("leaderElection: {enabled: true}", "/enabled'", "leaseDuration"),
    ("crds: {enabled: true}", "/enabled'", "install"),
    ("rbac: {enabled: true}", "/enabled'", "create"),
    ("bootstrap: {token: a}", "/token'", "enabled"),
    ("relay: {enable: true}", "/enable'", "enabled"),
    ("relay: {service: {loadBalancerIP: 1.2.3.4}}", "/loadBalancerIP'", "annotations"),
    ("relay: {tls: {secret: a}}", "/secret'", "secretName"),
    ("admissionPolicy: {cmdjobs: true}", "/cmdjobs'", "cmdJobs"),
    ("metrics: {enabled: true}", "/enabled'", "serviceMonitor"),
    ("metrics: {serviceMonitor: {additionalLabels: {}}}", "/additionalLabels'", "labels"),
    ("networkPolicy: {ingress: []}", "/ingress'", "metricsFrom"),
    ("resources: {limit: {}}", "/limit'", "limits"),
    ("tolerations: [{keys: a}]", "/keys'", "key"),
    ("imagePullSecrets: [{secret: a}]", "/secret'", "name"),
    ("helmTest: {target: {name: vk-a}}", "/name'", "node, fleet, nodeSelector"),
    // Things of another kind.
    ("replicas: many", "/replicas", "got string, want integer"),
    ("replicas: '2'", "/replicas", "got string, want integer"),
    ("replicas: 1.5", "/replicas", "want integer"),
    ("replicas: null\nimage: vk-cmd/vk-operator:1", "/image", "got string, want object"),
    ("imagePullSecrets: [regcred]", "/imagePullSecrets/0", "got string, want object"),
    ("bootstrap: true", "/bootstrap", "got boolean, want object"),
    ("bootstrap: {enabled: 'yes'}", "/bootstrap/enabled", "got string, want boolean"),
    ("relay: {names: relay.example.org}", "/relay/names", "got string, want array"),
    ("healthPort: '8080'", "/healthPort", "got string, want integer"),
    ("podLabels: {a: 1}", "/podLabels/a", "got number, want string"),
    ("nodeSelector: [a]", "/nodeSelector", "got array, want object"),
    ("tolerations: {key: a}", "/tolerations", "got object, want array"),
    ("extraObjects: {kind: ConfigMap}", "/extraObjects", "got object, want array"),
    ("extraEnv: {A: b}", "/extraEnv", "got object, want array"),
    // Words and numbers that there are not.
    ("replicas: -1", "/replicas", "want 0"),
    ("image: {pullPolicy: Sometimes}", "/image/pullPolicy", "'Always', 'IfNotPresent', 'Never'"),
    ("image: {repository: 'vk-cmd/vk-operator:1.0'}", "/image/repository", "does not match pattern"),
    ("image: {digest: 0123}", "/image/digest", "want string"),
    ("image: {digest: 'sha256:0123'}", "/image/digest", "sha256:[0-9a-f]{64}"),
    ("healthPort: 80", "/healthPort", "want 1,024"),
    ("healthPort: 70000", "/healthPort", "want 65,535"),
    ("logLevel: verbose", "/logLevel", "off|error|warn|info|debug|trace"),
    ("relay: {logLevel: ''}", "/relay/logLevel", "off|error|warn|info|debug|trace"),
    ("relay: {service: {type: ExternalName}}", "/relay/service/type", "'ClusterIP', 'NodePort', 'LoadBalancer'"),
    ("relay: {service: {port: 0}}", "/relay/service/port", "want 1"),
    ("relay: {nodePorts: '20000'}", "/relay/nodePorts", "[0-9]{4,5}-[0-9]{4,5}"),
    ("relay: {maxStreamsPerNode: 5000}", "/relay/maxStreamsPerNode", "want 1,024"),
    ("relay: {names: [\"it's\"]}", "/relay/names/0", "does not match pattern"),
    ("relay: {names: [a, a]}", "/relay/names", "items at 0 and 1 are equal"),
    ("leaderElection: {leaseDuration: 15}", "/leaderElection/leaseDuration", "got number, want string"),
    ("leaderElection: {leaseDuration: 15 s}", "/leaderElection/leaseDuration", "([0-9]+(h|m|s|ms))+"),
    ("admissionPolicy: {failurePolicy: Sometimes}", "/admissionPolicy/failurePolicy", "'Fail', 'Ignore'"),
    ("admissionPolicy: {actions: []}", "/admissionPolicy/actions", "minItems: got 0, want 1"),
    ("admissionPolicy: {actions: [Refuse]}", "/admissionPolicy/actions/0", "'Deny', 'Warn', 'Audit'"),
    ("admissionPolicy: {nodeUsers: [{kind: Group}]}", "/admissionPolicy/nodeUsers/0", "missing property 'name'"),
    ("admissionPolicy: {nodeUsers: [{kind: Team, name: a}]}", "nodeUsers/0/kind", "'User', 'Group', 'ServiceAccount'"),
    ("admissionPolicy: {exemptNamespaces: [\"it's\"]}", "exemptNamespaces/0", "does not match pattern"),
    ("tolerations: [{operator: Any}]", "/tolerations/0/operator", "'Exists', 'Equal'"),
    ("tolerations: [{effect: NoRun}]", "/tolerations/0/effect", "'NoSchedule', 'PreferNoSchedule', 'NoExecute'"),
    ("resources: {limits: {memory: 256 MB}}", "/resources/limits/memory", "Ki|Mi|Gi"),
    ("topologySpreadConstraints: [{maxSkew: 1}]", "/topologySpreadConstraints/0", "'topologyKey', 'whenUnsatisfiable'"),
    ("podDisruptionBudget: {maxUnavailable: 0}", "/podDisruptionBudget/maxUnavailable", "want 1"),
    ("serviceAccount: {name: My_Account}", "/serviceAccount/name", "does not match pattern"),
    ("nameOverride: Vk", "/nameOverride", "does not match pattern"),
    ("extraArgs: [v]", "/extraArgs/0", "'^--'"),
    ("helmTest: {target: {node: perlmutter}}", "/helmTest/target/node", "^vk-"),
    ("helmTest: {target: {node: vk-a, fleet: b}}", "/helmTest/target", "maxProperties: got 2, want 1"),
    ("networkPolicy: {metricsFrom: [{ipBlock: {cidr: 10.0.0.1}}]}", "ipBlock/cidr", "does not match pattern"),
    ("podLabels: {'a b': c}", "/podLabels/a b'", "one is written as team or example.org/team"),
    // What is right by itself, and does not go with the rest.
    (
        "leaderElection: {leaseDuration: 10s}",
        "leaderElection.renewDeadline is 10s",
        "at least 1s less than leaseDuration",
    ),
    (
        "leaderElection: {leaseDuration: 15500ms}",
        "leaderElection.leaseDuration is 15500ms",
        "whole seconds from 2s to 1h",
    ),
    ("leaderElection: {leaseDuration: 2h}", "leaderElection.leaseDuration is 2h", "whole seconds from 2s to 1h"),
    ("leaderElection: {retryPeriod: 8s}", "leaderElection.retryPeriod is 8s", "half of renewDeadline at most"),
    ("admissionPolicy: {actions: [Deny, Warn]}", "admissionPolicy.actions", "leave one of them out"),
    (
        "admissionPolicy: {nodeUsers: [{kind: ServiceAccount, name: a}]}",
        "admissionPolicy.nodeUsers",
        "needs its namespace",
    ),
    ("admissionPolicy: {nodeUsers: [{kind: Group, name: a, namespace: b}]}", "nodeUsers", "leave namespace out"),
    ("serviceAccount: {create: false}", "serviceAccount.name is empty", "name one, or set rbac.create to false"),
    ("relay: {enabled: true, nodePorts: 30000-20000}", "relay.nodePorts is 30000-20000", "not above the last"),
    ("relay: {enabled: true, nodePorts: 20000-20099}", "relay.maxNodes is 2000", "100 ports only"),
    ("relay: {enabled: true, nodePorts: 8000-18000}", "relay.nodePorts is 8000-18000", "the relay's own"),
    (
        "relay: {enabled: true, service: {nodePort: 30443}}",
        "relay.service.nodePort is 30443",
        "NodePort or LoadBalancer",
    ),
    ("relay: {enabled: true, portHold: 5ms}", "relay.portHold is 5ms", "1s at least"),
    ("{relay: {enabled: true}, healthPort: 8443}", "healthPort is 8443", "take another one"),
    (
        "metrics: {serviceMonitor: {enabled: true}, service: {enabled: false}}",
        "metrics.service.enabled",
        "finds the pods",
    ),
    (
        "metrics: {serviceMonitor: {interval: 10s, scrapeTimeout: 1m}}",
        "scrapeTimeout is 1m",
        "not be more than interval",
    ),
    ("podSecurityContext: {runAsUser: 0}", "podSecurityContext.runAsUser is 0", "need no root"),
];

#[tokio::test]
async fn values_that_make_no_sense_are_refused_in_words() {
    assert!(ROWS.len() >= 60, "{}", ROWS.len());
    let scratch = Scratch::new("vk-values-").unwrap();
    let (helm, scratch) = (tools::path(Tool::Helm).await.unwrap(), &scratch);
    let refused = |(number, (values, key, right)): (usize, &'static Row)| {
        let mut helm = Command::new(&helm);
        async move {
            let file = scratch.path().join(format!("{number}.yaml"));
            std::fs::write(&file, values).unwrap();
            helm.args(["template", "release"]).arg(directory()).arg("--values").arg(file);
            let output = exec::output(helm, SOON).await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let is_right = !output.status.success() && said.contains(key) && said.contains(right);
            (!is_right).then(|| format!("{values}: {key:?} and {right:?} are not both in:\n{said}"))
        }
    };
    let rows = stream::iter(ROWS.iter().enumerate()).map(refused).buffered(4);
    let wrong: Vec<String> = rows.filter_map(async |wrong| wrong).collect().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_schema_knows_the_keys_of_the_values_and_no_others() {
    let read = |name: &str| std::fs::read_to_string(directory().join(name)).unwrap();
    let values: Value = serde_yaml_ng::from_str(&read("values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let mut differences = Vec::new();
    compare("", &values, &schema, &schema, &mut differences);
    // For charts of which this one is a part.
    differences.retain(|difference| difference != "global is not in values.yaml");
    assert!(differences.is_empty(), "{differences:?}");
}

/// Where the keys of the values differ from those that the schema has, and where it does not say which there are.
fn compare(path: &str, values: &Value, schema: &Value, root: &Value, differences: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let Some(properties) = schema["properties"].as_object() else { return };
    let names: BTreeSet<_> = properties.keys().map(String::as_str).collect();
    let told = schema["additionalProperties"]["enum"][0].as_str().unwrap_or_default();
    let told = told.strip_prefix("(no such key; there are: ").and_then(|told| told.strip_suffix(')'));
    if names != told.unwrap_or_default().split(", ").collect::<BTreeSet<_>>() {
        differences.push(format!("the schema of {path} does not say which keys there are"));
    }
    let Some(values) = values.as_object() else { return };
    // What is empty by default, or has what Kubernetes has in it, shows nothing.
    let is_open = path.ends_with("resources") || path.ends_with("affinity") || path.ends_with("target");
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    for name in &names {
        match values.get(*name) {
            Some(value) => compare(&format!("{prefix}{name}"), value, &properties[*name], root, differences),
            None if is_open => {}
            None => differences.push(format!("{prefix}{name} is not in values.yaml")),
        }
    }
    differences.extend(
        values
            .keys()
            .filter(|key| !names.contains(key.as_str()))
            .map(|key| format!("{prefix}{key} is not in the schema")),
    );
}
