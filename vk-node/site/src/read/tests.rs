use super::*;
use crate::{Kind, PortForward, Runtime};

fn problems(text: &str) -> Vec<String> {
    match Site::parse(text) {
        Ok(_) => Vec::new(),
        Err(Problems(problems)) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn the_documented_example_is_right() {
    let site = Site::parse(include_str!("../../../../docs/reference/site.yaml")).unwrap();
    assert!(site.policy.namespaces.permits("team-a") && !site.policy.namespaces.permits("team-guests"));
    assert_eq!(site.limits.max.memory_bytes, Some(64 << 30));
    assert_eq!((site.limits.default_nice, site.limits.nice_at_least), (Some(10), Some(5)));
    assert!(!site.policy.exec.namespaces.permits("other"));
    assert!(matches!(&site.runtime, Runtime::Named(named) if named.kind == Kind::Podman));
    assert_eq!(site.records, Records::default());
    assert_eq!(site.audit.keep_files, Some(12));
}

#[test]
fn the_documented_runtime_of_ones_own_is_right() {
    let text = include_str!("../../../../docs/reference/site.md");
    let yaml = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let site = Site::parse(&format!("version: 1\n{yaml}")).unwrap();
    assert_eq!(site.runtime.name(None).as_deref(), Some("box"));
}

#[test]
fn a_file_that_says_nothing_changes_nothing() {
    assert_eq!(Site::parse("version: 1").unwrap(), Site::default());
    assert_eq!(Site::parse("version: 1\npolicy: {}\nlimits: {}\nruntime: {}\n").unwrap(), Site::default());
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_line() {
    let text = r#"policy:
  namespace: {allow: [a]}
  fifo: on
  users: {allow: ["system:serviceaccount:a:b"]}
  images: {deny: ["[a"]}
  hostPaths: [{path: scratch, access: readwrite}]
limits:
  max: {memoryBytes: 4GB, wallSeconds: 10}
  default: {wallSeconds: 20, nice: 40}
runtime: {kind: pdoman}
audit: {file: audit.log, colour: red}
"#;
    assert_eq!(
        problems(text),
        [
            "line 1: there is no version: write `version: 1`",
            "line 2: policy has no key \"namespace\": did you mean \"namespaces\"?",
            "line 3: policy.fifo: this is text, and true or false is wanted",
            "line 4: policy.users.allow[0]: \"system:serviceaccount:a:b\" names no ServiceAccount: write it as \
             namespace:name, \"a:b\" say",
            "line 5: policy.images.deny[0]: \"[a\" is no pattern: unclosed character class; missing ']'",
            "line 6: policy.hostPaths[0].path: \"scratch\" is no absolute path",
            "line 6: policy.hostPaths[0].access: \"readwrite\" is none of ReadOnly, ReadWrite (did you mean \
             ReadWrite?)",
            "line 8: limits.max.memoryBytes: \"4GB\" is no number of bytes: write 1048576, 512Mi or 64G, say",
            "line 9: limits.default.nice: 40 is no niceness: write -20 to 19",
            "line 9: limits.default: wallSeconds is 20, which is more than the maximum, 10",
            "line 10: runtime.kind: \"pdoman\" is none of auto, none, docker, podman, apptainer, singularity, shifter, \
             charliecloud, custom (did you mean podman?)",
            "line 11: audit has no key \"colour\": write one of file, rotateBytes, keepFiles",
            "line 11: audit.file: audit.log is no absolute path",
        ]
    );
}

#[test]
fn which_ports_are_forwarded_is_said_in_words() {
    let forward = |text: &str| Site::parse(&format!("version: 1\npolicy: {text}")).unwrap().policy.port_forward;
    assert_eq!(forward("{}"), PortForward::Own);
    assert_eq!(forward("{portForward: own}"), PortForward::Own);
    assert_eq!(forward("{portForward: any}"), PortForward::Any);
    assert_eq!(forward("{portForward: false}"), PortForward::Never);
    assert_eq!(
        problems("version: 1\npolicy: {portForward: true}"),
        ["line 2: policy.portForward: true does not say which ports may be reached: write own or any"]
    );
    assert!(problems("version: 1\npolicy: {portForward: all}")[0].contains("is none of own, any"));
    assert!(!Site::parse("version: 1\npolicy: {mountNamespaces: false}").unwrap().policy.mount_namespaces);
}

#[test]
fn what_is_no_yaml_or_no_site_is_told() {
    assert!(problems("a: [")[0].starts_with("line "));
    assert_eq!(problems(""), ["line 1: the file is empty: write at least `version: 1`, or remove it"]);
    assert!(problems("[]")[0].contains("a mapping with version"));
    assert!(problems("version: 1\nversion: 1")[0].contains("duplicate"), "{:?}", problems("version: 1\nversion: 1"));
    assert!(problems("version: 2")[0].contains("this vk-node knows version 1"));
    assert!(problems("version: 1\n---\nversion: 1")[0].contains("second document"));
    assert!(problems("version: 1\nruntime: {kind: auto, runArgs: [a]}")[0].contains("no key \"runArgs\""));
}

#[test]
fn a_custom_runtime_is_checked_as_a_whole() {
    let text = r#"version: 1
runtime:
  kind: custom
  run: ["box/run", "--id={id}", "{mounts...}", "x{command...}", "{imge}", "{"]
"#;
    assert_eq!(
        problems(text),
        [
            "line 4: runtime.run[0]: \"box/run\" is no program: write its name, or an absolute path",
            "line 4: runtime.run: \"x{command...}\": {command...} stands for any number of words, and must be a word of \
             its own",
            "line 4: runtime.run: \"{imge}\": there is no {imge} here, only {image}, {id}, {name}, {workdir...}, \
             {env...}, {mounts...}, {gpus...}, {stdin...}, {terminal...}, {command...}; write {{ for a brace",
            "line 4: runtime.run: \"{\": a brace is alone; write {{ or }} for one",
        ]
    );
    let text = r#"version: 1
runtime:
  kind: custom
  run: ["box", "{mounts...}"]
  each: {env: ["--env={variable}"]}
"#;
    assert_eq!(
        problems(text),
        [
            "line 4: runtime.run: {command...} must stand in it once: it is what is run",
            "line 4: runtime.run: {image} must stand in it",
            "line 4: runtime.run: `each` says what {env...} is, and it does not stand in `run`",
            "line 4: runtime.run: {mounts...} stands in it, and `each` does not say what that is",
        ]
    );
}

proptest::proptest! {
    #[test]
    fn garbage_is_no_panic(text in "[ -~\n]{0,200}") {
        let _ = Site::parse(&text);
    }

    #[test]
    fn a_site_of_garbage_is_no_panic(key in "(policy|limits|runtime|records|audit)", value in "[ -~]{0,60}") {
        let _ = Site::parse(&format!("version: 1\n{key}: {value}\n"));
    }
}
