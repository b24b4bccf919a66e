use k8s_openapi::serde_json::{Value, from_value, json};

use super::*;
use crate::admit::admit;

fn node() -> NodeFacts {
    NodeFacts { name: "vk-a".into(), address: "10.0.0.7".into(), ..NodeFacts::default() }
}

fn built(container: Value, sources: &Sources) -> Result<TaskSpec, ConfigError> {
    let mut container = container;
    container["name"] = json!("c");
    container["image"] = json!("vk-cmd.io/host");
    let pod: Pod = from_value(json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "u", "labels": {"a/b": "label"}},
        "spec": {"containers": [container], "serviceAccountName": "sa"},
    }))
    .unwrap();
    let admitted = admit(&pod, &node()).unwrap();
    build(&pod, &admitted.containers[0], 0, sources, &node())
}

fn env_of(spec: &TaskSpec) -> Vec<(&str, &str)> {
    spec.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

#[test]
fn variables_see_those_before_them_and_the_command_sees_all() {
    let spec = built(
        json!({
            "command": ["echo", "$(B)", "$(NONE)", "$$(B)"],
            "env": [{"name": "A", "value": "1\n'\""}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C", "value": "3"}],
        }),
        &Sources::new(),
    )
    .unwrap();
    assert_eq!(env_of(&spec), [("A", "1\n'\""), ("B", "1\n'\"$(C)"), ("C", "3")]);
    let argv = ["echo", "1\n'\"$(C)", "$(NONE)", "$(B)"].map(String::from).into();
    assert_eq!(spec.program, Program::Exec { argv });
}

#[test]
fn variables_come_from_maps_secrets_and_fields() {
    let sources: Sources = [
        (SourceRef::ConfigMap("m".into()), Some([("k".to_owned(), b"from map".to_vec())].into())),
        (SourceRef::Secret("s".into()), Some([("k".to_owned(), b"from secret".to_vec())].into())),
        (SourceRef::Secret("gone".into()), None),
    ]
    .into();
    let spec = built(
        json!({
            "command": ["true"],
            "envFrom": [
                {"prefix": "M_", "configMapRef": {"name": "m"}},
                {"secretRef": {"name": "gone", "optional": true}},
            ],
            "env": [
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "O", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": true}}},
                {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
                {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
                {"name": "I", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
        }),
        &sources,
    )
    .unwrap();
    assert_eq!(
        env_of(&spec),
        [("I", "10.0.0.7"), ("L", "label"), ("M_k", "from map"), ("N", "vk-a"), ("S", "from secret")]
    );
}

#[test]
fn what_is_missing_is_named() {
    let wants =
        |from: Value| built(json!({"command": ["true"], "env": [{"name": "A", "valueFrom": from}]}), &Sources::new());
    let map = wants(json!({"configMapKeyRef": {"name": "m", "key": "k"}}));
    assert_eq!(map, Err(ConfigError::SourceMissing(SourceRef::ConfigMap("m".into()))));
    assert!(matches!(wants(json!({"fieldRef": {"fieldPath": "spec.nonsense"}})), Err(ConfigError::Unsupported { .. })));
    assert!(matches!(
        wants(json!({"resourceFieldRef": {"resource": "limits.cpu"}})),
        Err(ConfigError::Unsupported { .. })
    ));
}

#[test]
fn a_script_passes_the_size_that_an_argument_cannot() {
    let long = "x".repeat(200 * 1024);
    assert!(matches!(built(json!({"command": ["sh", "-c", long]}), &Sources::new()), Err(ConfigError::Spec(_))));
}
