//! docs/how-to/release.md: all but the compiler. The programs of the release are given, and `verify`, which builds all of it twice, is only
//! asked for its help: what makes a release the same each time is shown by `release/tests`.

use serde_json::json;
use vk_cmd_e2e::{binaries, docs, runtimes};

use super::play::{Play, Scene, all_of};
use crate::chart::stage;

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of("docs/how-to/release.md", "*")],
    words: &[("COMMIT", "HEAD")],
    varies: &[],
    codes: &[],
};

/// A skopeo, which would push: it looks whether there is what it is to copy.
const SKOPEO: &str = r#"#!/bin/sh
set -eu
test "$1" = copy
archive=${2#oci-archive:}
tar -tf "$archive" | grep -q index.json
case $3 in docker://*) ;; *) exit 1 ;; esac
"#;

/// A cargo for which all is compiled.
async fn cargo(play: &Play) {
    let release = binaries::release().await.unwrap().display();
    let home = std::env::var("HOME").unwrap();
    let place = |variable: &str, usual: &str| std::env::var(variable).unwrap_or_else(|_| format!("{home}/{usual}"));
    let (cargo, rustup) = (place("CARGO_HOME", ".cargo"), place("RUSTUP_HOME", ".rustup"));
    let path = std::env::var("PATH").unwrap();
    let programs = play.machine.home().join("programs");
    let script = format!(
        "#!/bin/sh\nset -eu\ntest \"$1\" = make-release\nshift\nexport PATH='{path}' CARGO_HOME='{cargo}' RUSTUP_HOME='{rustup}'\n\
         export CARGO_NET_OFFLINE=true\n[ \"${{1:-}}\" != verify ] || exec {release} \"$@\" --help\n\
         exec {release} --programs '{}' \"$@\"\n",
        programs.display()
    );
    play.machine.has_script("cargo", &script).unwrap();
}

pub(super) async fn play(play: &mut Play) {
    let Some(runtimes) = runtimes::shared().await else { return play.skip() };
    let (architecture, target) = (std::env::consts::ARCH, play.machine.home().join("target"));
    play.word("amd64", if architecture == "aarch64" { "arm64" } else { "amd64" });
    for program in ["vk-node", "vk-operator", "kubectl-cmdjob"] {
        play.machine.has_file(&format!("programs/{program}"), &format!("#!/bin/sh\necho this is {program}\n")).unwrap();
    }
    cargo(play).await;
    play.has_runtimes(runtimes);
    play.machine.has_script("skopeo", SKOPEO).unwrap();
    play.machine.exports("CARGO_TARGET_DIR", &target.display().to_string()).unwrap();
    let from = docs::repository().canonicalize().unwrap();
    // What is committed: nothing of what somebody works at.
    let clone = format!("chmod +x programs/* && git clone --quiet --no-hardlinks {} source && cd source", from.display());
    play.machine.must(&clone).await.unwrap();
    play.one("cargo make-release").await;

    let out = target.join("release-0.1.0");
    play.machine.must(&format!("cd {}", out.display())).await.unwrap();
    for begins in ["mkdir", "tar", "podman", "docker", "skopeo"] {
        play.one(begins).await;
    }
    let said = play.machine.must("~/.local/bin/vk-node").await.unwrap();
    assert_eq!(said, "this is vk-node");
    play.one("sha256sum").await;

    // Again, of the same commit.
    play.machine.must("cd ~/source").await.unwrap();
    play.one("git checkout").await;
    play.one("cargo make-release --out mine").await;
    play.machine.must(&format!("ln -s {} theirs", out.display())).await.unwrap();
    play.one("diff").await;
    play.one("cargo make-release verify").await;

    let stage = stage().await;
    let (values, _) = stage.values(&json!({}));
    play.machine.exports("KUBECONFIG", &stage.ground().plane.kubeconfig().display().to_string()).unwrap();
    play.word("vk-cmd-0.1.0.tgz ", &format!("vk-cmd-0.1.0.tgz --values {} ", values.display()));
    play.machine.must(&format!("cd {}", out.display())).await.unwrap();
    play.one("helm install").await;
    play.machine.must("helm uninstall vk-cmd --namespace vk-cmd-system").await.unwrap();
}
