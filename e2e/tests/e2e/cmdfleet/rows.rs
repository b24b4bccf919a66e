//! What the API server takes as a CmdFleet, what it refuses, and how it says so.

use serde_json::{Value, json};
use vk_cmd_e2e::exec;

use crate::asking::{Asking, Said};
use crate::fixture::{SOON, chart, control_plane};

/// What is to be said of a fleet with this name and this spec.
#[derive(Clone, Copy)]
enum Verdict {
    /// It is taken.
    Good,
    /// It is refused, with these words.
    Bad(&'static str),
}
use Verdict::{Bad, Good};

const ROWS: &[(&str, &str, Verdict)] = &[
    // Names.
    ("f", "", Good),
    ("a-1", "", Good),
    ("a234567890123456789012345678901234567890", "", Good),
    ("a2345678901234567890123456789012345678901", "", Bad("at most 40 characters")),
    ("a.b", "", Bad("no dots")),
    // Which nodes.
    ("f", "selector: {matchLabels: {vk-cmd.io/site: nersc}}", Good),
    ("f", "selector: {matchLabels: {site: nersc, 'example.org/rack': ''}}", Good),
    ("f", "selector: {matchLabels: {}}", Bad("would be all vk-cmd nodes")),
    ("f", "selector: {}", Bad("matchLabels")),
    ("f", "selector: {matchLabels: {'a b': c}}", Bad("a key that no label can have")),
    ("f", "selector: {matchLabels: {a: 'b c'}}", Bad("should match")),
    ("f", "selector: {matchLabels: {a: -b}}", Bad("should match")),
    ("f", "selector: {matchExpressions: []}", Bad("matchExpressions")),
    ("f", "nodeNames: [vk-f-*, vk-g, 'vk-h-?', vk-i.example.org]", Good),
    ("f", "nodeNames: []", Bad("leave it out for vk-NAME")),
    ("f", "nodeNames: [node-*]", Bad("a pattern of nodeNames begins with vk-")),
    ("f", "nodeNames: ['*']", Bad("a pattern of nodeNames begins with vk-")),
    ("f", "nodeNames: [vk-A]", Bad("a pattern of nodeNames begins with vk-")),
    ("f", "nodeNames: ['vk-[a-z]']", Bad("a pattern of nodeNames begins with vk-")),
    ("f", "nodeNames: [vk-a, vk-a]", Bad("Duplicate value")),
    // How many.
    ("f", "replicas: 0", Good),
    ("f", "replicas: 4, minNodes: 1, maxNodes: 4", Good),
    ("f", "replicas: -1", Bad("replicas is from 0 to 10000")),
    ("f", "replicas: 10001", Bad("replicas is from 0 to 10000")),
    ("f", "replicas: four", Bad("must be of type integer")),
    ("f", "replicas: 5, maxNodes: 4", Bad("raise maxNodes too")),
    ("f", "replicas: 1, minNodes: 2", Bad("lower minNodes too")),
    ("f", "minNodes: 3, maxNodes: 2", Bad("minNodes is more than maxNodes")),
    ("f", "minNodes: -1", Bad("minNodes is from 0 to 10000")),
    ("f", "maxNodes: -1", Bad("maxNodes is from 0 to 10000")),
    ("f", "maxNodes: 0", Good),
    // Walltime.
    ("f", "walltimeMarginSeconds: 0", Good),
    ("f", "walltimeMarginSeconds: 86400", Good),
    ("f", "walltimeMarginSeconds: -1", Bad("from 0 to 86400")),
    ("f", "walltimeMarginSeconds: 86401", Bad("from 0 to 86400")),
    // Namespaces.
    ("f", "namespaces: {allow: [physics-*, chemistry]}", Good),
    ("f", "namespaces: {deny: [kube-*]}", Good),
    ("f", "namespaces: {allow: ['{a,b}'], deny: ['a[0-9]']}", Good),
    ("f", "namespaces: {}", Bad("namespaces says nothing")),
    ("f", "namespaces: {allow: []}", Bad("would let nobody in")),
    ("f", "namespaces: {allow: ['']}", Bad("should be at least 1 chars long")),
    ("f", "namespaces: {permit: [a]}", Bad("permit")),
    // Scheduling.
    ("f", "scheduling: Active", Good),
    ("f", "scheduling: Cordoned", Good),
    ("f", "scheduling: Draining", Good),
    ("f", "scheduling: Drained", Bad("Unsupported value: \"Drained\"")),
    ("f", "scheduling: active", Bad("Unsupported value: \"active\"")),
    ("f", "nodes: 4", Bad("unknown field \"spec.nodes\"")),
];

async fn ask(name: &str, spec: &str) -> Said {
    let spec: Value = serde_yaml_ng::from_str(&format!("{{{spec}}}")).unwrap();
    let fleet =
        json!({"apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdFleet", "metadata": {"name": name}, "spec": spec});
    let url = "/apis/vk-cmd.io/v1alpha1/cmdfleets?fieldValidation=Strict&dryRun=All";
    let client = control_plane().await.client().await.unwrap();
    Asking { method: "POST", url, content: "application/json", user: None }.send(&client, &fleet).await
}

#[tokio::test]
async fn the_api_server_takes_good_fleets_and_says_what_is_wrong_with_the_others() {
    chart().await;
    let mut wrong = Vec::new();
    for (name, spec, verdict) in ROWS {
        match (verdict, ask(name, spec).await) {
            (Good, Ok(_)) => {}
            (Bad(words), Err(said)) if said.contains(words) => {}
            (_, said) => wrong.push(format!("{name} {{{spec}}}: {said:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let filled = ask("f", "").await.unwrap();
    assert_eq!(filled["spec"], json!({"minNodes": 0, "walltimeMarginSeconds": 120, "scheduling": "Active"}));
}

#[tokio::test]
async fn kubectl_knows_fleets() {
    chart().await;
    let says = async |arguments: &[&str]| {
        let mut kubectl = control_plane().await.kubectl();
        kubectl.args(arguments);
        exec::text(kubectl, SOON).await.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let file =
        "apiVersion: vk-cmd.io/v1alpha1\nkind: CmdFleet\nmetadata: {name: cmdfleet-kinds}\nspec: {replicas: 1}\n";
    let mut apply = control_plane().await.kubectl();
    apply.args(["apply", "-f", "-"]);
    exec::text_with_input(apply, file.as_bytes(), SOON).await.unwrap();
    for name in ["cmdfleet", "cf", "vkfleet"] {
        let table = says(&["get", name, "cmdfleet-kinds"]).await;
        assert!(table.starts_with("NAME WANTED NODES READY BUSY WAITING SCHEDULING AGE cmdfleet-kinds"), "{table}");
    }
    let wide = says(&["get", "cf", "cmdfleet-kinds", "-o", "wide"]).await;
    assert!(wide.contains("IDLE ENDING MESSAGE"), "{wide}");
}
