//! What is written for a site: `init`, `service`, and what `config` makes of it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{FAILED, FINE, Machine, NO};

#[test]
fn a_profile_is_written_once_and_is_what_a_node_reads() {
    for (profile, script) in [
        ("jlab-ifarm", None),
        ("perlmutter", Some("vk-node.sbatch")),
        ("workstation", None),
        ("slurm", Some("vk-node.sbatch")),
        ("pbs", Some("vk-node.pbs")),
    ] {
        let machine = Machine::new();
        let kubeconfig = machine.kubeconfig("https://127.0.0.1:9");
        let init =
            ["init", "--profile", profile, "--node-name", "vk-site-1", "--kubeconfig", kubeconfig.to_str().unwrap()];
        let said = machine.says(&init).with(FINE);
        assert!(said.out.contains("vk-node doctor"), "{said:?}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&machine.hostpipe()), mode(&machine.hostpipe().join("node.yaml"))), (0o700, 0o600));
        // Without being told where it is.
        machine.says(&["config", "validate"]).with(FINE);
        let shown = machine.says(&["config", "show"]).with(FINE).out;
        assert!(shown.contains("nodeName: vk-site-1") && shown.contains("hostpipe/node.yaml:"), "{shown}");
        if let Some(script) = script {
            let status = Command::new("sh").arg("-n").arg(machine.hostpipe().join(script)).status().unwrap();
            assert!(status.success(), "{profile}");
        }
        // What is there is somebody's work.
        std::fs::remove_file(machine.hostpipe().join("site.yaml")).unwrap();
        let again = machine.says(&init).with(FAILED);
        assert!(
            again.err.contains("hostpipe/node.yaml") && again.err.contains("is there already, and nothing was written"),
            "{again:?}"
        );
        assert!(!machine.hostpipe().join("site.yaml").exists());
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_is_right() {
    let machine = Machine::new();
    let node = machine.file("node.yaml", "version: 1\nnodeName: vk-a\nmaxPod: 3\n");
    let site = machine.file("site.yaml", "version: 1\nruntime: {kind: pdoman}\n");
    let arguments = ["config", "validate", "--config", node.to_str().unwrap(), "--site", site.to_str().unwrap()];
    let said = machine.says(&arguments).with(NO);
    assert!(said.out.contains("node.yaml:3: this file has no key \"maxPod\": did you mean \"maxPods\"?"), "{said:?}");
    assert!(said.out.contains("site.yaml:2: runtime.kind") && said.out.contains("did you mean podman?"), "{said:?}");
    let value = machine.says(&[&arguments[..], &["-o", "json"]].concat()).with(NO).json();
    assert_eq!((&value["valid"], &value["files"][0]["problems"][0]["line"]), (&false.into(), &3.into()));
}

#[test]
fn a_setting_is_told_with_who_says_it() {
    let machine = Machine::new();
    let file = machine.file("node.yaml", "version: 1\nnodeName: vk-file\nport: 1\nlabels: {a: file}\n");
    let mut command =
        machine.command(&["config", "show", "--config", file.to_str().unwrap(), "--kubelet-port", "2", "-o", "json"]);
    let output = command.env("JOBNAME", "vk-variable").env("JIRIAF_SITE", "here").output().unwrap();
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |path: serde_json::Value| {
        let all = value["settings"].as_array().unwrap();
        let shown = all.iter().find(|shown| shown["path"] == path).unwrap();
        (
            shown["value"].clone(),
            shown["from"]["kind"].clone(),
            shown["from"]["name"].clone(),
            shown["from"]["line"].clone(),
        )
    };
    let null = serde_json::Value::Null;
    assert_eq!(
        of(serde_json::json!(["nodeName"])),
        ("vk-variable".into(), "variable".into(), "JOBNAME".into(), null.clone())
    );
    assert_eq!(of(serde_json::json!(["port"])), (2.into(), "flag".into(), "--kubelet-port".into(), null.clone()));
    assert_eq!(of(serde_json::json!(["site"])), ("here".into(), "variable".into(), "JIRIAF_SITE".into(), null.clone()));
    assert_eq!(of(serde_json::json!(["labels", "a"])), ("file".into(), "file".into(), null.clone(), 4.into()));
    assert_eq!(of(serde_json::json!(["maxPods"])), (250.into(), "default".into(), null.clone(), null));
}

/// Systemd itself says whether the unit is right.
#[test]
fn a_unit_is_one_for_systemd() {
    let machine = Machine::new();
    let config = machine.file("a b/50%.yaml", "version: 1\n");
    let flags = ["service", "--install", "--", "--config", config.to_str().unwrap(), "--label", "a=b"];
    let said = machine.says(&flags).with(FINE);
    let unit = machine.home().join(".config/systemd/user/vk-node.service");
    assert!(said.out.contains(unit.to_str().unwrap()) && said.out.contains("enable --now vk-node.service"), "{said:?}");
    assert!(machine.says(&flags).with(FAILED).err.contains("is there already"));
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "--man=no", "verify"]).arg(&unit);
    match verify.env("HOME", machine.home()).env("XDG_RUNTIME_DIR", machine.home()).output() {
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr);
            // It looks at the units that a unit wants too, and those are the machine's.
            let about_ours: Vec<&str> = words.lines().filter(|line| line.contains("vk-node")).collect();
            assert!(output.status.success() && about_ours.is_empty(), "{output:?}");
        }
        Err(error) => {
            assert!(std::env::var_os("VK_CMD_REQUIRE_RUNTIMES").is_none(), "SKIPPED: systemd-analyze: {error}")
        }
    }
}
