//! A release of programs that are given, made by the program as a process: everything but the compiler.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test says so that it failed")]

mod checkout;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use checkout::Checkout;

/// What stands behind the name of a program in those of files.
const END: &str = "-0.1.0-linux-";

fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Makes the release of a checkout with its programs, with the umask given; what the program says.
fn make(checkout: &Checkout, umask: &str, arguments: &[&str]) -> Output {
    let mut command = checkout.command("sh");
    command.args(["-c", "umask \"$0\" && exec \"$@\"", umask, env!("CARGO_BIN_EXE_vk-release")]);
    command.arg("--source").arg(checkout.source()).arg("--out").arg(checkout.out());
    command.arg("--programs").arg(checkout.programs()).args(arguments);
    command.output().unwrap()
}

fn made(checkout: &Checkout, umask: &str, arguments: &[&str]) -> PathBuf {
    let output = make(checkout, umask, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    checkout.out()
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

/// What another tar says is in an archive.
fn listed(archive: &Path) -> String {
    let mut tar = Command::new("tar");
    let output =
        tar.args(["--list", "--verbose", "--numeric-owner", "--utc", "--full-time", "--file"]).arg(archive).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_same_comes_out_wherever_it_is_made() {
    let first = Checkout::new("first");
    let one = files(&made(&first, "022", &["--url", "https://example.org/v0.1.0/"]));
    let other = Checkout::new("another/that/is/elsewhere");
    other.make_it_look_different();
    let other = files(&made(&other, "077", &["--url", "https://example.org/v0.1.0/"]));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    let unlike: Vec<_> = one.iter().filter(|(name, bytes)| other[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(unlike.is_empty(), "these differ: {unlike:?}");

    // One release is enough for all else.
    let out = first.out();
    let architecture = architecture();
    let name = |program: &str, end: &str| format!("{program}{END}{architecture}.{end}");
    let expected: BTreeSet<String> = [
        name("kubectl-cmdjob", "cdx.json"),
        name("kubectl-cmdjob", "tar.gz"),
        name("vk-node", "cdx.json"),
        name("vk-node", "oci.tar"),
        name("vk-node", "tar.gz"),
        name("vk-operator", "cdx.json"),
        name("vk-operator", "oci.tar"),
        name("vk-operator", "tar.gz"),
        "vk-cmd-0.1.0.tgz".to_owned(),
        "cmdjob.yaml".to_owned(),
        "LICENSE".to_owned(),
        "SHA256SUMS".to_owned(),
    ]
    .into();
    assert_eq!(one.keys().cloned().collect::<BTreeSet<_>>(), expected);
    sums_are_those_of_sha256sum(&out, &one);
    archives_are_laid_out(&out, &name);
    krew_can_install_it(&out, &one, &name("kubectl-cmdjob", "tar.gz"));
    for (program, crates) in [
        ("vk-node", ["tokio", "kube-client", "vk-pipe"]),
        ("vk-operator", ["tokio", "kube-runtime", "vk-relay"]),
        ("kubectl-cmdjob", ["tokio", "kube-client", "clap_mangen"]),
    ] {
        sbom_names_what_is_in_it(&one[&name(program, "cdx.json")], program, &crates);
    }
    for program in ["vk-node", "vk-operator"] {
        let image = listed(&out.join(name(program, "oci.tar")));
        assert!(image.contains(" oci-layout\n") && image.contains(" index.json\n"), "{image}");
        assert_eq!(image.matches("blobs/sha256/").count(), 4, "the directory and three blobs: {image}");
    }
}

fn sums_are_those_of_sha256sum(out: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let mut check = Command::new("sha256sum");
    let checked = check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(out).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(said.matches(": OK").count(), files.len() - 1, "{said}");
}

fn archives_are_laid_out(out: &Path, name: &impl Fn(&str, &str) -> String) {
    for program in ["vk-node", "vk-operator", "kubectl-cmdjob"] {
        let list = listed(&out.join(name(program, "tar.gz")));
        for line in list.lines() {
            assert!(line.contains(" 0/0 ") && line.contains(" 2025-01-02 03:04:05 "), "{line}");
        }
        for (mode, path) in [
            ("-rwxr-xr-x", format!("bin/{program}")),
            ("-rw-r--r--", format!("share/bash-completion/completions/{program}")),
            ("-rw-r--r--", format!("share/zsh/site-functions/_{program}")),
            ("-rw-r--r--", format!("share/fish/vendor_completions.d/{program}.fish")),
            ("-rw-r--r--", format!("share/man/man1/{program}.1")),
            ("-rw-r--r--", format!("share/doc/{program}/LICENSE")),
            ("-rw-r--r--", format!("share/doc/{program}/THIRD-PARTY-LICENSES")),
        ] {
            let found = list.lines().find(|line| line.ends_with(&format!(" {path}")));
            assert!(found.is_some_and(|line| line.starts_with(mode)), "{path}: {list}");
        }
    }
    let list = listed(&out.join(name("kubectl-cmdjob", "tar.gz")));
    assert!(list.contains(" bin/kubectl_complete-cmdjob -> kubectl-cmdjob\n"), "{list}");
    for page in ["kubectl-cmdjob-run.1", "kubectl-cmdjob-requeue.1"] {
        assert!(list.contains(page), "{page}: {list}");
    }
    let node = listed(&out.join(name("vk-node", "tar.gz")));
    assert!(node.contains("vk-node-run.1") && node.contains("vk-node-config-show.1"), "{node}");
    assert!(!node.contains("shim"), "what people do not start has no page: {node}");
    // It unpacks, and what is in it is what was given.
    let unpacked = out.join("../unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(out.join(name("vk-node", "tar.gz"))).arg("--directory").arg(&unpacked);
    assert!(tar.status().unwrap().success());
    let said = Command::new(unpacked.join("bin/vk-node")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout), "this is vk-node\n");
    let bash = unpacked.join("share/bash-completion/completions/vk-node");
    let parsed = Command::new("bash").arg("-n").arg(bash).output().unwrap();
    assert!(parsed.status.success() && parsed.stderr.is_empty(), "{parsed:?}");
    let notices = std::fs::read_to_string(unpacked.join("share/doc/vk-node/THIRD-PARTY-LICENSES")).unwrap();
    for text in ["\ntokio@", "\nring@", "\nglibc@", "Permission is hereby granted", "Apache License"] {
        assert!(notices.contains(text), "{text}: {notices}");
    }
    assert!(!notices.contains("vk-task") && !notices.contains("proptest"), "{notices}");
    let page = std::fs::read_to_string(unpacked.join("share/man/man1/vk-node-run.1")).unwrap();
    assert!(page.contains(".SH SYNOPSIS") && page.contains("node\\-name"), "{page}");
}

fn krew_can_install_it(out: &Path, files: &BTreeMap<String, Vec<u8>>, archive: &str) {
    let manifest: Value = serde_yaml_ng::from_slice(&files["cmdjob.yaml"]).unwrap();
    assert_eq!((&manifest["kind"], &manifest["metadata"]["name"]), (&"Plugin".into(), &"cmdjob".into()));
    assert_eq!(manifest["spec"]["version"], "v0.1.0");
    let [platform] = &manifest["spec"]["platforms"].as_array().unwrap()[..] else { panic!("{manifest}") };
    assert_eq!(platform["selector"]["matchLabels"], serde_json::json!({"os": "linux", "arch": architecture()}));
    assert_eq!(platform["uri"], format!("https://example.org/v0.1.0/{archive}"));
    let sums = String::from_utf8(files["SHA256SUMS"].clone()).unwrap();
    let sum = platform["sha256"].as_str().unwrap();
    assert!(sums.contains(&format!("{sum}  {archive}\n")), "{sum}: {sums}");
    // What it takes from the archive is there.
    let list = listed(&out.join(archive));
    for file in platform["files"].as_array().unwrap() {
        let from = file["from"].as_str().unwrap();
        assert!(list.contains(&format!(" {from}\n")), "{from}: {list}");
    }
}

fn sbom_names_what_is_in_it(bytes: &[u8], program: &str, crates: &[&str]) {
    let said: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(said["metadata"]["component"]["name"], program);
    let components = said["components"].as_array().unwrap();
    let scope = |name: &str| {
        let found = components.iter().find(|component| component["name"] == name);
        found.map(|component| component["scope"].as_str().unwrap().to_owned())
    };
    for name in crates.iter().chain(&["rustls", "rust-std", "glibc", "libgcc"]) {
        assert_eq!(scope(name).as_deref(), Some("required"), "{program}: {name}");
    }
    // The compiler's helpers are not in the program, nor is what only tests need.
    assert_eq!(scope("serde_derive").as_deref(), Some("excluded"), "{program}");
    for name in ["proptest", "fantoccini", "vk-release", "vk-cmd-e2e", "vk-test-clock"] {
        assert_eq!(scope(name), None, "{program}: {name}");
    }
    for component in components {
        let license = component["licenses"][0]["expression"].as_str();
        assert!(license.is_some_and(|license| !license.is_empty() && !license.contains('/')), "{component}");
        let is_ours = component["name"].as_str().unwrap().starts_with("vk-");
        assert_eq!(component["purl"].is_null(), is_ours, "{component}");
        assert!(is_ours || component["purl"].as_str().unwrap().starts_with("pkg:"), "{component}");
    }
}

#[test]
fn a_tree_that_is_not_as_committed_is_refused_or_marked() {
    let checkout = Checkout::new("dirty");
    std::fs::write(checkout.source().join("charts/vk-cmd/values.yaml.orig"), "").unwrap();
    let refused = make(&checkout, "022", &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("?? charts/vk-cmd/values.yaml.orig"), "{said}");
    assert!(said.contains("--allow-dirty") && !checkout.out().exists(), "{said}");
    let out = made(&checkout, "022", &["--allow-dirty", "--images", "registry.example.org/me"]);
    let files = files(&out);
    assert!(files.contains_key("vk-cmd-0.1.0-dirty.tgz"), "{:?}", files.keys());
    let manifest: Value = serde_yaml_ng::from_slice(&files["cmdjob.yaml"]).unwrap();
    assert_eq!(manifest["spec"]["version"], "v0.1.0-dirty");
    // Without an address it is the file.
    let uri = manifest["spec"]["platforms"][0]["uri"].as_str().unwrap();
    assert!(files.contains_key(uri), "{uri}");
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--to-stdout", "--file"]).arg(out.join("vk-cmd-0.1.0-dirty.tgz"));
    let values = tar.arg("vk-cmd/values.yaml").output().unwrap();
    assert!(String::from_utf8_lossy(&values.stdout).contains("repository: registry.example.org/me/vk-operator\n"));
    // A second one does not go over the first.
    let again = make(&checkout, "022", &["--allow-dirty"]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("is not empty"), "{said}");
}

#[test]
fn what_is_missing_is_named() {
    let checkout = Checkout::new("missing");
    let program = checkout.programs().join("vk-operator");
    std::fs::remove_file(&program).unwrap();
    let refused = make(&checkout, "022", &[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains(&program.display().to_string()), "{said}");
    assert!(!checkout.out().exists());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_ne!(mode(&checkout.programs().join("vk-node")) & 0o111, 0);
}

/// Both builds in full, which takes as long as two releases: `cargo test -p vk-release -- --ignored`.
#[test]
#[ignore = "compiles everything twice for a release"]
fn two_builds_are_the_same() {
    let verify = Command::new(env!("CARGO_BIN_EXE_vk-release")).arg("verify").output().unwrap();
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert!(
        verify.status.success() && said.contains("both are the same"),
        "{said}{}",
        String::from_utf8_lossy(&verify.stderr)
    );
}
