use k8s_openapi::serde_json::{Value, from_value, json};

use super::*;
use crate::admit::admit;
use crate::sources::Content;

fn node() -> NodeFacts {
    NodeFacts { name: "vk-a".into(), address: "10.0.0.7".into(), ..NodeFacts::default() }
}

/// The task of a container that is given these sources, and the Services of its namespace.
fn built(container: Value, sources: &Sources) -> Result<TaskSpec, ConfigError> {
    let given = Given { sources: sources.clone(), ..Given::default() };
    let mut container = container;
    container["name"] = json!("c");
    container["image"] = json!("vk-cmd.io/host");
    let pod: Pod = from_value(json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "u", "labels": {"a/b": "label"}},
        "spec": {"containers": [container], "serviceAccountName": "sa", "volumes": [{"name": "v", "emptyDir": {}}]},
    }))
    .unwrap();
    let admitted = admit(&pod, &node()).unwrap();
    build(&pod, &admitted.containers[0], 0, &given, &node())
}

/// The variables, but for those that every container has for the API server.
fn env_of(spec: &TaskSpec) -> Vec<(&str, &str)> {
    let own = spec.env.iter().filter(|(name, _)| !name.as_str().starts_with("KUBERNETES_"));
    own.map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn content(data: &[(&str, &str)]) -> Option<std::sync::Arc<Content>> {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    Some(Content { data: data.collect(), ..Content::default() }.into())
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
        (SourceRef::ConfigMap("m".into()), content(&[("k", "from map")])),
        (SourceRef::Secret("s".into()), content(&[("k", "from secret")])),
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
    assert!(matches!(wants(json!({"fieldRef": {"fieldPath": "spec.nonsense"}})), Err(ConfigError::Untold { .. })));
    assert!(matches!(wants(json!({"resourceFieldRef": {"resource": "limits.pods"}})), Err(ConfigError::Untold { .. })));
    assert!(matches!(wants(json!({})), Err(ConfigError::Unsupported { .. })));
}

#[test]
fn a_script_passes_the_size_that_an_argument_cannot() {
    let long = "x".repeat(200 * 1024);
    assert!(matches!(built(json!({"command": ["sh", "-c", long]}), &Sources::new()), Err(ConfigError::Spec(_))));
}

#[test]
fn what_comes_from_whole_sources_and_services_is_seen_by_what_comes_after() {
    let pod: Pod = from_value(json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "u"},
        "spec": {"containers": [{
            "name": "c", "image": "vk-cmd.io/host", "command": ["$(K)", "$(DB_SERVICE_HOST)", "$(A)"],
            "envFrom": [{"configMapRef": {"name": "m"}}, {"prefix": "P_", "configMapRef": {"name": "m"}}],
            "env": [
                {"name": "A", "value": "$(K):$(P_K):$(DB_SERVICE_HOST):$(KUBERNETES_SERVICE_HOST)"},
                {"name": "K", "value": "own $(K)"},
                {"name": "DB_SERVICE_PORT", "value": "mine"},
                {"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            ],
        }]},
    }))
    .unwrap();
    let allocatable = [("cpu".to_owned(), k8s_openapi::apimachinery::pkg::api::resource::Quantity("4".into()))].into();
    let api_server = crate::facts::Endpoint { host: "api".into(), port: 6443 };
    let node = NodeFacts { allocatable, api_server, ..node() };
    let ports = vec![crate::services::Port { name: None, port: 5432, protocol: "TCP".into() }];
    let mut map = Content::clone(&content(&[("K", "map")]).unwrap());
    map.binary.insert("BIN".into(), vec![0, 255]);
    let given = Given {
        sources: [(SourceRef::ConfigMap("m".into()), Some(map.into()))].into(),
        files: EnvFiles::new(),
        services: vec![Service { name: "db".into(), host: "10.0.0.1".into(), ports }],
    };
    let admitted = admit(&pod, &node).unwrap();
    let spec = build(&pod, &admitted.containers[0], 0, &given, &node).unwrap();
    let argv = ["own map", "10.0.0.1", "map:map:10.0.0.1:api"].map(String::from).into();
    assert_eq!(spec.program, Program::Exec { argv });
    let own: Vec<_> = env_of(&spec).into_iter().filter(|(name, _)| !name.contains("PORT_")).collect();
    assert_eq!(
        own,
        [
            ("A", "map:map:10.0.0.1:api"),
            ("CPUS", "4"),
            ("DB_PORT", "tcp://10.0.0.1:5432"),
            ("DB_SERVICE_HOST", "10.0.0.1"),
            ("DB_SERVICE_PORT", "mine"),
            ("K", "own map"),
            ("P_K", "map"),
        ]
    );
}

#[test]
fn a_part_of_a_volume_may_be_named_by_variables() {
    let with = |mount: Value| {
        let mut mount = mount;
        mount["name"] = json!("v");
        mount["mountPath"] = json!("at/v");
        let env =
            json!([{"name": "N", "value": "a/b"}, {"name": "UP", "value": "../x"}, {"name": "NONE", "value": ""}]);
        built(json!({"command": ["true"], "env": env, "volumeMounts": [mount]}), &Sources::new())
            .map(|mut spec| spec.mounts.remove(0).sub_path.map(String::from))
    };
    assert_eq!(with(json!({})), Ok(None));
    assert_eq!(with(json!({"subPath": "a//b/"})), Ok(Some("a/b".into())));
    assert_eq!(with(json!({"subPathExpr": "x-$(N)/$$(N)"})), Ok(Some("x-a/b/$(N)".into())));
    let no_value = ConfigError::NoValue { target: "at/v".into(), variable: "M".into() };
    assert_eq!(with(json!({"subPathExpr": "$(N)/$(M)"})), Err(no_value));
    for up in ["$(UP)", "a/$(UP)", "/$(N)"] {
        let refused = with(json!({"subPathExpr": up}));
        assert!(matches!(refused, Err(ConfigError::SubPath { .. })), "{up}: {refused:?}");
    }
    // As in the kubelet, a path of which nothing is left is the whole volume.
    assert_eq!(with(json!({"subPathExpr": "$(NONE)"})), Ok(None));
}

#[test]
fn a_file_of_a_volume_gives_variables() {
    let pod: Pod = from_value(json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "u"},
        "spec": {
            "volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["$(A)"], "env": [
                {"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "./d/env", "key": "K"}}},
                {"name": "O", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "d/env", "key": "N", "optional": true}}},
            ]}],
        },
    }))
    .unwrap();
    let admitted = admit(&pod, &node()).unwrap();
    // Nothing mounts the volume, and it is needed all the same.
    assert_eq!(admitted.volumes.len(), 1);
    let file = crate::env_files::needed(&admitted.containers[0].env);
    assert_eq!(file.len(), 1);
    let with = |text: Option<&str>| {
        let files = file.iter().map(|file| (file.clone(), text.map(str::to_owned))).collect();
        build(&pod, &admitted.containers[0], 0, &Given { files, ..Given::default() }, &node())
    };
    assert_eq!(env_of(&with(Some("K='v'")).unwrap()), [("A", "v")]);
    for (text, why) in
        [(None, "no file \"./d/env\""), (Some("N='v'"), "key \"K\" not found"), (Some("K=v"), "single quotes")]
    {
        assert!(with(text).unwrap_err().to_string().contains(why), "{text:?}");
    }
}
