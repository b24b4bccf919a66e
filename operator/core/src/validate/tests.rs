use super::*;

fn job(spec: &str) -> CmdJob {
    let yaml = format!(
        "{{apiVersion: vk-cmd.io/v1alpha1, kind: CmdJob, metadata: {{namespace: lab, name: hello, uid: \
         1a2b3c4d-5e6f-4000-8000-000000000000}}, spec: {{{spec}}}}}"
    );
    serde_yaml_ng::from_str(&yaml).unwrap()
}

#[test]
fn says_what_is_run() {
    let valid = |spec: &str| {
        let job = job(spec);
        format!("{:?}", validate(&job).unwrap().run)
    };
    let node = "target: {node: vk-a}";
    assert_eq!(valid(&format!("{node}, script: x")), r#"Shell { shell: "/bin/sh", text: "x" }"#);
    assert_eq!(valid(&format!("{node}, script: '#!x', shell: /b")), r##"Shell { shell: "/b", text: "#!x" }"##);
    assert_eq!(valid(&format!("{node}, script: '#!x'")), r##"Shebang { text: "#!x" }"##);
    assert_eq!(valid(&format!("{node}, command: [a], args: [b]")), r#"Command { command: ["a"], args: ["b"] }"#);
}

#[test]
fn says_all_that_is_wrong_at_once() {
    for (spec, problems) in [
        ("target: {}", vec!["name the node", "nothing to run"]),
        ("target: {node: a}, script: x, command: [x]", vec!["does not begin with \"vk-\"", "both script and command"]),
        (
            "target: {node: vk-a}, script: '', args: [x], shell: b",
            vec!["spec.args", "spec.shell \"b\"", "spec.script is empty"],
        ),
        ("target: {node: vk-a}, command: [''], shell: /b", vec!["spec.shell belongs", "first entry"]),
        (
            "target: {node: vk-a}, script: \"\\0\", env: [{name: A, value: \"\\0\"}]",
            vec!["spec.script contains a NUL", "value of A"],
        ),
        (
            "target: {node: vk-a}, script: x, volumes: [{name: v, hostPath: {path: v}}], \
             volumeMounts: [{name: w, mountPath: ''}]",
            vec!["path \"v\"", "mountPath is empty", "the volume \"w\""],
        ),
        (
            "target: {node: vk-a}, script: x, completionMode: Indexed, completions: 100001, parallelism: 100001, \
             backoffLimitPerIndex: 1, maxFailedIndexes: 100001",
            vec![
                "parallelism of an Indexed job is at most 100000",
                "maxFailedIndexes is at most completions",
                "maxFailedIndexes must be set, to 10000",
                "parallelism is at most 10000",
            ],
        ),
        (
            "target: {node: vk-a}, script: x, maxFailedIndexes: 1, successPolicy: {rules: []}, podFailurePolicy: {rules: \
             [{action: FailIndex, onExitCodes: {operator: In, values: [1]}}]}",
            vec!["maxFailedIndexes needs", "successPolicy is for", "FailIndex"],
        ),
        ("target: {node: vk-a}, script: x, volumes: [{name: v}]", vec!["the volume \"v\" must be exactly one"]),
        (
            "target: {node: vk-a}, script: x, completionMode: Indexed, completions: 3, successPolicy: {rules: \
             [{succeededIndexes: '2,1'}, {succeededIndexes: '1-3'}, {succeededIndexes: '0,2', succeededCount: 3}]}",
            vec!["rules[0].succeededIndexes: 1 comes after 2", "there is no index 3", "succeededCount is 3"],
        ),
        ("target: {node: vk-a}, script: x, image: ''", vec!["spec.image is empty"]),
        (
            "target: {node: vk-a}, script: x, backoffLimit: -1, activeDeadlineSeconds: -1, ttlSecondsAfterFinished: -1, \
             terminationGracePeriodSeconds: 0",
            vec!["backoffLimit is -1", "GracePeriodSeconds is 0", "DeadlineSeconds is -1", "AfterFinished is -1"],
        ),
    ] {
        let job = job(spec);
        let invalid = validate(&job).unwrap_err();
        assert_eq!(invalid.0.len(), problems.len(), "{spec}: {invalid}");
        let said = invalid.to_string();
        for problem in problems {
            assert!(said.contains(problem), "{spec}: {said:?} does not contain {problem:?}");
        }
    }
}

#[test]
fn wants_an_object_from_an_api_server() {
    let mut job = job("target: {node: vk-a}, script: x");
    job.metadata.uid = Some("short".into());
    job.metadata.namespace = None;
    let said = validate(&job).unwrap_err().to_string();
    assert!(said.contains("metadata.namespace is missing") && said.contains("hexadecimal"), "{said}");
}
