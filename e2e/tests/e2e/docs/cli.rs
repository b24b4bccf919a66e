//! docs/reference/cli.md: the plugin, from a first job to the doctor.

use serde_json::json;
use vk_cmd_e2e::control_plane::free_port;
use vk_cmd_e2e::site::{Settings, Site};

use super::play::{Play, Scene, all_of};

const PAGE: &str = "docs/reference/cli.md";
const NODE: &str = "vk-docs-cli";
const FLEET: &str = "docs-cli";

pub(super) const SCENE: Scene = Scene {
    parts: &[all_of(PAGE, "*")],
    words: &[
        ("vk-perlmutter-01", NODE),
        ("perlmutter", FLEET),
        // The column is as wide as the word.
        ("nid001234.docs-cli", "nid001234.perlmutter"),
        // Other tests have nodes too.
        ("kubectl cmdjob nodes", "kubectl cmdjob nodes vk-docs-cli"),
    ],
    varies: &[
        ("date", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        ("id", r"-[a-z0-9]{5}\b"),
        ("time", r"\+?\b\d+(\.\d+)?(d|h|ms|m|s)(\d+[hms])*\b"),
    ],
    codes: &[("kubectl cmdjob run old.sh", 125)],
};

/// The node of the page: large, and there for three hours more.
async fn site(play: &Play) -> Site {
    let settings = Settings::on(play.room.ground.plane, NODE).unwrap();
    let file = "version: 1\ncapacity: {cpu: 128, memory: 512Gi}\nmaxPods: 250\nwalltimeSeconds: 11000\n";
    play.machine.has_file("node.yaml", file).unwrap();
    let label = format!("vk-cmd.io/fleet={FLEET}");
    let flags = ["--config".into(), play.machine.home().join("node.yaml").into(), "--label".into(), label.into()];
    play.room.site_with(Settings { node_flags: flags.into(), ..settings }).await
}

/// A program of the page's user, at the node.
fn program(site: &Site, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = site.home().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Submits a job as the page's next command speaks of one; its name takes the place of the page's.
async fn another(play: &mut Play, arguments: &str) {
    let said = play.machine.must(&format!("kubectl cmdjob run -o name {arguments}")).await.unwrap();
    let name = said.trim().rsplit('/').next().unwrap().to_owned();
    play.word("fit-9tq4w", &name);
}

pub(super) async fn play(play: &mut Play) {
    let site = site(play).await;
    play.has_cargo();
    play.section("#kubectl-cmdjob-for-people-who-know-sbatch").await;

    // A first job, beside one that is there already.
    let resources = json!({"limits": {"cpu": "4", "memory": "8Gi"}});
    let other = play.room.run("other", NODE, json!({"script": "exec sleep 600", "resources": resources})).await;
    other.running().await;
    let host = play.machine.must("hostname -f").await.unwrap();
    play.word("nid001234.perlmutter", host.trim());
    play.section("#a-first-job").await;
    play.machine.must("kubectl delete cmdjobs --all").await.unwrap();

    // An array of which three have ended, and one more in its place each.
    let fit = "#!/bin/sh\ncase $2 in [0-2]) ;; *) until [ -e go ]; do sleep 0.05; done ;; esac\n\
               echo \"seed $2: $((17 - $2 / 4 * 5)) steps\"\n";
    program(&site, "fit", fit);
    play.file("fit.sh", PAGE, "#SBATCH --job-name=fit");
    let said = play.one("kubectl cmdjob run fit.sh").await;
    let name = said.split_whitespace().next().unwrap().rsplit('/').next().unwrap().to_owned();
    play.word("fit-9tq4w", &name);
    play.one("kubectl cmdjob list").await;
    std::fs::write(site.home().join("go"), "").unwrap();
    play.one("kubectl cmdjob logs -f").await;
    play.one("kubectl cmdjob wait").await;
    let old = format!("#!/bin/sh\n#SBATCH -A m1234\n#SBATCH --output=%j.out\n#SBATCH -w {NODE}\ntrue\n");
    play.machine.has_file("old.sh", &old).unwrap();
    play.section("#a-script").await;

    let place = format!("-w {NODE}");
    another(play, &format!("{place} -J fit -- sleep 600")).await;
    play.one("kubectl cmdjob cancel").await;
    // One that has not begun, because its node is not there.
    another(play, "-w vk-docs-cli-not-there -J fit -- true").await;
    play.section("#cancelling").await;
    another(play, &format!("-p {FLEET} -J fit -- sh -c 'exit 5'")).await;
    play.section("#what-has-become-of-it").await;
    play.word("8080", &free_port().unwrap().to_string());
    play.section("#on-a-page").await;
    play.section("#when-something-does-not-work").await;
}
