use k8s_openapi::serde_json::{Value, from_value, json};
use proptest::prelude::*;

use super::*;
use crate::admit::{VolumeKind, admit};
use crate::sources::Content;

/// The files of a volume of a pod, as `path mode data` lines.
fn lines(volume: Value, sources: &Sources) -> Result<Vec<String>, String> {
    let mut volume = volume;
    volume["name"] = json!("v");
    let pod: Pod = from_value(json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": "u", "labels": {"b": "2", "a": "x\"y"}, "annotations": {"n": "1\n2"}},
        "spec": {
            "volumes": [volume],
            "containers": [{"name": "c", "image": "vk-cmd.io/host", "command": ["true"],
                            "resources": {"limits": {"memory": "3Mi"}}, "volumeMounts": [{"name": "v", "mountPath": "v"}]}],
        },
    }))
    .unwrap();
    let node = NodeFacts { name: "vk-a".into(), ..NodeFacts::default() };
    let admitted = admit(&pod, &node).map_err(|refusal| refusal.to_string())?;
    let VolumeKind::Files { sources: from, default_mode } = &admitted.volumes[0].kind else { panic!("no files") };
    let token = |audience: Option<&str>, seconds| TokenRequest {
        audience: audience.map(str::to_owned),
        expiration_seconds: seconds,
    };
    let tokens = [
        (token(None, 3607), Ok("t0".to_owned())),
        (token(Some("vault"), 3600), Ok("t1".to_owned())),
        (token(Some("no"), 3600), Err("forbidden".to_owned())),
    ];
    let materials = Materials { sources, tokens: &tokens.into(), node: &node };
    let files = make("v", (from, *default_mode), &pod, materials).map_err(|error| error.to_string())?;
    let line = |(path, file): (&FilePath, &FileContent)| {
        format!("{path} {:o} {}", file.mode, String::from_utf8_lossy(&file.data))
    };
    Ok(files.iter().map(line).collect())
}

fn content(data: &[(&str, &str)]) -> Option<std::sync::Arc<Content>> {
    let data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()));
    Some(Content { data: data.collect(), ..Content::default() }.into())
}

fn sources() -> Sources {
    let mut map = Content::clone(&content(&[("k", "1"), ("k.2", "2")]).unwrap());
    map.binary.insert("bin".into(), b"b".to_vec());
    [
        (SourceRef::ConfigMap("m".into()), Some(map.into())),
        (SourceRef::Secret("s".into()), content(&[("k", "secret"), ("p", "pass")])),
        (SourceRef::ConfigMap("gone".into()), None),
        (SourceRef::Secret("gone".into()), None),
        (SourceRef::ConfigMap("kube-root-ca.crt".into()), content(&[("ca.crt", "PEM")])),
    ]
    .into()
}

#[test]
fn maps_and_secrets_become_files() {
    for (volume, expected) in [
        (json!({"configMap": {"name": "m"}}), vec!["bin 644 b", "k 644 1", "k.2 644 2"]),
        (json!({"configMap": {"name": "m", "defaultMode": 0o400}}), vec!["bin 400 b", "k 400 1", "k.2 400 2"]),
        (
            json!({"configMap": {"name": "m", "items": [{"key": "k", "path": "d/e", "mode": 0o600}, {"key": "bin", "path": "./x/"}]}}),
            vec!["d/e 600 1", "x 644 b"],
        ),
        (json!({"secret": {"secretName": "s", "defaultMode": 0o440}}), vec!["k 440 secret", "p 440 pass"]),
        (json!({"secret": {"secretName": "s", "items": [{"key": "p", "path": "..p/q"}]}}), vec![]),
        (json!({"configMap": {"name": "gone", "optional": true}}), vec![]),
        (
            json!({"configMap": {"name": "m", "optional": true, "items": [{"key": "no", "path": "no"}, {"key": "k", "path": "k"}]}}),
            vec!["k 644 1"],
        ),
    ] {
        let found = lines(volume.clone(), &sources());
        if volume.to_string().contains("..p") {
            assert!(found.unwrap_err().contains("no path within a volume"));
        } else {
            assert_eq!(found.unwrap(), expected, "{volume}");
        }
    }
}

#[test]
fn what_is_missing_is_told_as_the_kubelet_tells_it() {
    let failed = "MountVolume.SetUp failed for volume \"v\" : ";
    for (volume, reason) in [
        (json!({"configMap": {"name": "gone"}}), "configmap \"gone\" not found"),
        (json!({"configMap": {"name": "unread"}}), "configmap \"unread\" not found"),
        (json!({"secret": {"secretName": "gone"}}), "secret \"gone\" not found"),
        (
            json!({"configMap": {"name": "m", "items": [{"key": "no", "path": "no"}]}}),
            "configmap references non-existent config key: no",
        ),
        (
            json!({"secret": {"secretName": "s", "items": [{"key": "no", "path": "no"}]}}),
            "references non-existent secret key: no",
        ),
        (
            json!({"projected": {"sources": [{"configMap": {"name": "gone"}}, {"serviceAccountToken": {"path": "t", "audience": "no"}}]}}),
            "[configmap \"gone\" not found, failed to fetch token: forbidden]",
        ),
        (
            json!({"downwardAPI": {"items": [{"path": "c", "resourceFieldRef": {"containerName": "x", "resource": "limits.cpu"}}]}}),
            "container x not found",
        ),
    ] {
        assert_eq!(lines(volume.clone(), &sources()), Err(format!("{failed}{reason}")), "{volume}");
    }
}

#[test]
fn the_pod_itself_becomes_files() {
    let volume = json!({"downwardAPI": {"defaultMode": 0o444, "items": [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}, "mode": 0o400},
        {"path": "of/name", "fieldRef": {"fieldPath": "metadata.name"}},
        {"path": "mem", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Ki"}},
    ]}});
    let expected = ["annotations 400 n=\"1\\n2\"", "labels 444 a=\"x\\\"y\"\nb=\"2\"", "mem 444 3072", "of/name 444 p"];
    assert_eq!(lines(volume, &sources()).unwrap(), expected);
}

#[test]
fn projected_sources_are_laid_over_each_other() {
    // The service account's volume as the API server writes it.
    let account = json!({"projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}});
    assert_eq!(lines(account, &sources()).unwrap(), ["ca.crt 644 PEM", "namespace 644 ns", "token 644 t0"]);
    let over = json!({"projected": {"sources": [
        {"configMap": {"name": "m"}},
        {"secret": {"name": "s", "items": [{"key": "k", "path": "k", "mode": 0o400}]}},
        {"serviceAccountToken": {"path": "vault/token", "audience": "vault"}},
    ]}});
    let expected = ["bin 644 b", "k 400 secret", "k.2 644 2", "vault/token 644 t1"];
    assert_eq!(lines(over, &sources()).unwrap(), expected);
    let clash = json!({"projected": {"sources": [
        {"configMap": {"name": "m"}},
        {"secret": {"name": "s", "items": [{"key": "k", "path": "k/x/y"}]}},
    ]}});
    let told = lines(clash, &sources()).unwrap_err();
    assert!(told.ends_with("\"k\" cannot be a file and the directory of \"k/x/y\""), "{told}");
}

proptest! {
    /// Whatever is merged: the last of each path counts, nothing else is there, and no file is also a directory.
    #[test]
    fn merging_is_that_of_maps(layers in prop::collection::vec(prop::collection::vec(("[ab](/[ab]){0,2}", 0..3_usize), 0..4), 0..4)) {
        let maps: Vec<_> = layers.iter().enumerate().map(|(i, _)| {
            let values: Vec<String> = (0..3).map(|n| format!("{i}.{n}")).collect();
            let data: Vec<(&str, &str)> = ["0", "1", "2"].into_iter().zip(values.iter().map(String::as_str)).collect();
            (SourceRef::ConfigMap(format!("m{i}")), content(&data))
        }).collect();
        let projections: Vec<Value> = layers.iter().enumerate().filter(|(_, items)| !items.is_empty()).map(|(i, items)| {
            let items: Vec<Value> = items.iter().map(|(path, key)| json!({"key": key.to_string(), "path": path})).collect();
            json!({"configMap": {"name": format!("m{i}"), "items": items}})
        }).collect();
        let mut expected = BTreeMap::new();
        for (i, items) in layers.iter().enumerate() {
            for (path, key) in items {
                expected.insert(path.clone(), format!("{i}.{key}"));
            }
        }
        let clashes = expected.keys().any(|a| expected.keys().any(|b| b.starts_with(&format!("{a}/"))));
        match lines(json!({"projected": {"sources": projections}}), &maps.into_iter().collect()) {
            Ok(found) => {
                prop_assert!(!clashes);
                let expected: Vec<String> = expected.iter().map(|(path, value)| format!("{path} 644 {value}")).collect();
                prop_assert_eq!(found, expected);
            }
            Err(_) => prop_assert!(clashes),
        }
    }
}
