//! `vk-node support-bundle`: secrets are planted, and must not be found again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::support::{FAILED, FINE, Machine};

/// No text of what is planted may come through: each has this in it.
const MARK: &str = "hunter2";

fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name.split_once('/').unwrap().1.to_owned(), text)
    });
    entries.collect()
}

#[test]
fn no_secret_that_was_planted_comes_through() {
    let mut machine = Machine::new();
    let jwt = format!("eyJhbGciOiJSUzI1NiJ9.eyJ{MARK}.c2lnbmF0dXJl");
    let kubeconfig = machine.kubeconfig("http://127.0.0.1:9");
    let key = format!(
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG{MARK}0aGlzIGlz\n-----END PRIVATE KEY-----\n"
    );
    machine.file("hostpipe/pki/vk-a/kubelet-client-current.pem", &key);
    machine.file(
        "hostpipe/join/vk-a/bootstrap.kubeconfig",
        &format!("users:\n- name: u\n  user:\n    token: abcdef.{MARK}890abcdef\n"),
    );
    machine.file(
        "hostpipe/node.yaml",
        &format!(
            "version: 1\nnodeName: vk-a\nkubeconfig: {}\nimages:\n- match: a\n  command: [b]\n  env: {{PLAIN: image-{MARK}-value, DB_PASSWORD: {MARK}x}}\n# a note: password={MARK}\n",
            kubeconfig.display()
        ),
    );
    machine.file(
        "hostpipe/site.yaml",
        &format!("version: 1\nruntime: {{kind: docker, env: {{SIMPLE: site-{MARK}-value}}}}\n"),
    );
    std::fs::set_permissions(machine.hostpipe(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let log = machine.file(
        "some.log",
        &format!("INFO all is well\nWARN refused: Bearer {jwt}\nproxy http://me:{MARK}@proxy:3128\n{key}token=kubeconfig-{MARK}-token\nand then kubeconfig-{MARK}-token again\n"),
    );
    machine.start_pipe();
    machine.run("job", &format!("export SOME_THING={MARK}; : --password {MARK}; exec sleep 600\n"));
    let bundle = machine.home().join("bundle.tar.gz");
    let arguments =
        ["support-bundle", "--file", bundle.to_str().unwrap(), "--log-file", log.to_str().unwrap(), "-o", "json"];
    let mut command = machine.command(&arguments);
    command
        .env("MY_API_TOKEN", format!("{MARK}-of-the-environment"))
        .env("VK_NODE_JOIN", format!("vkj1.{MARK}"))
        .env("PLAIN_THING", MARK);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let files = unpacked(&bundle);
    for (name, text) in &files {
        assert!(!text.contains(MARK), "{name}: {}", text.lines().find(|line| line.contains(MARK)).unwrap());
    }
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(listed["contents"], serde_json::json!(names));
    // What is of use is there.
    for (name, words) in [
        ("config/effective.yaml", "nodeName: vk-a"),
        ("config/node.yaml", "DB_PASSWORD"),
        ("config/site.yaml", "kind: docker"),
        ("doctor.json", "\"id\": \"kernel\""),
        ("pipe/info.json", "\"hostname\""),
        ("pipe/jobs.json", "\"pod\": \"job\""),
        ("node/status.json", "no node answers"),
        ("host/environment.txt", "MY_API_TOKEN\n"),
        ("logs/0.log", "INFO all is well"),
    ] {
        assert!(
            files.get(name).is_some_and(|text| text.contains(words)),
            "{name} has no {words:?}: {:?}",
            files.get(name)
        );
    }
    let mode = std::fs::metadata(&bundle).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // One that is there is not overwritten.
    machine.says(&arguments[..3]).with(FAILED);
}

/// Also where nothing is right: that is when it is wanted.
#[test]
fn a_bundle_is_made_where_everything_is_wrong() {
    let machine = Machine::new();
    machine.file("hostpipe/node.yaml", "nonsense: [");
    let bundle = machine.home().join("b.tar.gz");
    machine.says(&["support-bundle", "--file", bundle.to_str().unwrap()]).with(FINE);
    let files = unpacked(&bundle);
    assert!(files["config/problems.txt"].contains("no YAML"), "{files:?}");
}
