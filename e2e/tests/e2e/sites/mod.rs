//! The three kinds of site that vk-cmd was made for, each with a real runtime: the node in a container, the pipe on the
//! host, and commands that run in containers, by hand through the FIFO and by a job's `image`.
//!
//! | site | node runs in | `$HOME` in it | pipe bound by | host network | host environment |
//! |---|---|---|---|---|---|
//! | Jiriaf2301 | docker (here: podman) | no | `-v $HOME/hostpipe:/root/hostpipe` | `--network=host` | no: `-e JOBNAME=vk-…` |
//! | ifarm | Apptainer (here: Charliecloud) | yes | not needed | yes | yes |
//! | Perlmutter | Shifter (here: Charliecloud) | yes | not needed | yes | yes |
//!
//! The same job runs at all three, and only the site's own file names its runtime.

mod ifarm;
mod jiriaf;
mod perlmutter;

use std::ffi::OsString;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use vk_cmd_e2e::runtimes::{IMAGE, IMAGE_MARK, Runtimes};
use vk_cmd_e2e::site::{NodeIn, Settings, Site};
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, LONG, Room};
use crate::plain_pods::{phase, placed};

/// A value that every way of passing variables has an idea of its own about.
const GREETING: &str = "hello, 'you' \"there\" $HOME `x` ; ü";

/// A site whose pipe finds the runtimes and stand-ins on its PATH, and whose node is in a container.
async fn site(room: &Room, runtimes: &Runtimes, node: &str, node_in: NodeIn, site_file: &str) -> Site {
    let path = std::env::var("PATH").unwrap();
    let path = OsString::from(format!("{}:{path}", runtimes.bin().display()));
    let settings = Settings {
        node_in,
        site_file: Some(site_file.to_owned()),
        environment: vec![("PATH".into(), path)],
        ..Settings::on(room.ground.plane, node).unwrap().with_separate_pipe()
    };
    let site = room.site_with(settings).await;
    std::fs::create_dir(site.home().join("data")).unwrap();
    std::fs::write(site.home().join("data/in"), "from the host\n").unwrap();
    site
}

/// How the stand-ins were called, one after the other: `[program][argument]…`.
fn calls(site: &Site) -> String {
    std::fs::read_to_string(site.home().join("argv.log")).unwrap_or_default()
}

/// A job whose command is run in the image, with the host's `data` as `/data`.
fn in_image(site: &Site, script: &str) -> Value {
    json!({
        "image": IMAGE, "script": script, "workingDir": "/tmp",
        "env": [{"name": "GREETING", "value": GREETING}],
        "volumes": [{"name": "data", "hostPath": {"path": site.home().join("data")}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    })
}

/// A pod writes to the FIFO what a user would type at this site.
async fn by_hand(room: &Room, site: &Site, line: &str, expected: &str) {
    let script =
        format!("echo '{line} > $HOME/out.txt && ls -l $HOME/out.txt && touch $HOME/done' > $HOME/hostpipe/vk-cmd");
    let job = room.script("by-hand", site.node_name(), &script).await;
    assert_eq!(job.ended().await.exit_code, Some(0));
    let done = site.home().join("done");
    let run = wait::until("the line to be run", LONG, GLANCE, async || {
        let shown = || ["pipeline.out", "pipeline.err"].map(|name| std::fs::read_to_string(site.hostpipe().join(name)));
        Ok(if done.exists() { Probe::Ready(()) } else { Probe::not_yet(format!("{:?}", shown())) })
    });
    run.await.unwrap();
    assert_eq!(std::fs::read_to_string(site.home().join("out.txt")).unwrap(), expected);
    let listed = wait::until("what it shows to be in pipeline.out", LONG, GLANCE, async || {
        let out = std::fs::read_to_string(site.hostpipe().join("pipeline.out")).unwrap_or_default();
        Ok(if out.contains("/out.txt") { Probe::Ready(()) } else { Probe::not_yet(out) })
    });
    listed.await.unwrap();
}

/// The job that runs at every site: its output, exit code, variables, directory and mounts.
async fn by_image(room: &Room, site: &Site, name: &str) {
    let script =
        "echo \"$GREETING from $(cat /etc/vk-image) in $(pwd)\"; cat /data/in; echo written > /data/out; exit 7";
    let job = room.run(name, site.node_name(), in_image(site, script)).await;
    let ended = job.ended().await;
    let logs = room.says(&["logs", &ended.attempt().pod]).await;
    assert_eq!(ended.exit_code, Some(7), "{ended:?}: {logs}");
    assert_eq!(logs, format!("{GREETING} from {IMAGE_MARK} in /tmp\nfrom the host\n"));
    assert_eq!(std::fs::read_to_string(site.home().join("data/out")).unwrap(), "written\n");
    // A program without a shell.
    let spec = json!({"image": IMAGE, "command": ["/bin/cat"], "args": ["/etc/vk-image"]});
    let ended = room.run(&format!("{name}-program"), site.node_name(), spec).await.ended().await;
    assert_eq!(
        (ended.exit_code, room.says(&["logs", &ended.attempt().pod]).await),
        (Some(0), format!("{IMAGE_MARK}\n"))
    );
}

/// Volumes in an image: what comes from the API server, and scratch. `with_token`: the pod is one like any other, and so has
/// its service account's volume.
async fn by_pod(room: &Room, site: &Site, name: &str, with_token: bool) {
    room.apply(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "of the map"}}),
    )
    .await;
    let mut spec = placed(site.node_name());
    spec["restartPolicy"] = json!("Never");
    spec["automountServiceAccountToken"] = json!(with_token);
    spec["volumes"] = json!([{"name": "map", "configMap": {"name": name}}, {"name": "scratch", "emptyDir": {}}]);
    spec["containers"] = json!([{
        "name": "c", "image": IMAGE,
        "command": ["/bin/sh", "-euc", "cat /mnt/key; echo; echo mine > /data/file; cat /data/file; cat /etc/vk-image"],
        "volumeMounts": [{"name": "map", "mountPath": "/mnt"}, {"name": "scratch", "mountPath": "/data", "subPath": "part"}],
    }]);
    room.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})).await;
    let ended = room.pod(name, "to end", |pod| matches!(phase(pod), "Succeeded" | "Failed")).await;
    assert_eq!(phase(&ended), "Succeeded", "{:?}", ended.status);
    assert_eq!(room.says(&["logs", name]).await, format!("of the map\nmine\n{IMAGE_MARK}\n"));
}

/// The site's node says which runtime its images are run by.
async fn says_runtime(room: &Room, site: &Site, runtime: &str) {
    let path = r#"jsonpath={.status.conditions[?(@.type=="vk-cmd.io/PipeReady")].message}"#;
    let said = room.says(&["get", "node", site.node_name(), "-o", path]).await;
    assert!(said.contains(&format!("images by {runtime}")), "{said}");
}

/// A deleted job: its command in the container gets TERM and its grace.
async fn deleted(room: &Room, site: &Site) {
    let script = "trap 'echo TERM > /data/term; exit 0' TERM; echo ready > /data/ready; while :; do sleep 0.1; done";
    let job = room.run("deleted", site.node_name(), in_image(site, script)).await;
    let data = site.home().join("data");
    let ready = wait::until("the command to be ready", LONG, GLANCE, async || {
        let status = job.api.get(&job.name).await?.status;
        Ok(if data.join("ready").exists() { Probe::Ready(()) } else { Probe::not_yet(format!("{status:?}")) })
    });
    ready.await.unwrap();
    job.api.delete(&job.name, &DeleteParams::default()).await.unwrap();
    let gone = wait::until("the pod to be gone", LONG, GLANCE, async || {
        Ok(if job.pods().await.is_empty() { Probe::Ready(()) } else { Probe::not_yet("it is there") })
    });
    gone.await.unwrap();
    assert_eq!(std::fs::read_to_string(data.join("term")).unwrap(), "TERM\n");
}
