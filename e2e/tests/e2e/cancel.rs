//! Deleting a job ends all of its processes: TERM, the grace, KILL. Its pod goes only after them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use vk_cmd_e2e::site::Site;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::{GLANCE, Job, LONG, Room, room};

/// A tree of a main process, a child, a grandchild in a session of its own, and one whose parents are gone. Each
/// writes down its process id, and sleeps in a process of its own name.
const TREE: &str = r#"
note() { echo "$1" >> "$PIDS"; }
note $$
sleep 1000 & note $!
setsid sh -c "$HANDLER"' echo $$ >> "$PIDS"; while :; do sleep 0.1; done' &
( ( sh -c "$HANDLER"' echo $$ >> "$PIDS"; while :; do sleep 0.1; done' & ) & )
until test $(wc -l < "$PIDS") -ge 4; do sleep 0.02; done
touch "$PIDS.complete"
eval "$HANDLER"
while :; do sleep 0.1; done
"#;

struct Tree {
    job: Job,
    pids: PathBuf,
    term: PathBuf,
}

impl Tree {
    async fn start(room: &Room, site: &Site, name: &str, handler: &str, grace: u32) -> Self {
        let pids = site.home().join(format!("{name}.pids"));
        let term = site.home().join(format!("{name}.term"));
        let spec = json!({
            "script": TREE, "terminationGracePeriodSeconds": grace,
            "env": [
                {"name": "PIDS", "value": pids}, {"name": "TERM_SEEN", "value": term},
                {"name": "HANDLER", "value": handler},
            ],
        });
        let job = room.run(name, site.node_name(), spec).await;
        let complete = pids.with_extension("pids.complete");
        let whole = wait::until("the tree to be whole", LONG, GLANCE, async || {
            Ok(if complete.exists() { Probe::Ready(()) } else { Probe::not_yet("not yet") })
        });
        whole.await.unwrap();
        Self { job, pids, term }
    }

    fn alive(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(&self.pids).unwrap();
        let pids: Vec<i32> = text.lines().map(|line| line.trim().parse().unwrap()).collect();
        assert_eq!(pids.len(), 4, "{text:?}");
        pids.into_iter().filter(|pid| is_alive(*pid)).collect()
    }

    async fn delete(&self) {
        self.job.api.delete(&self.job.name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the pod object is gone, and sees that its processes were gone before it.
    async fn gone(&self) {
        let gone = wait::until("the pod to be gone", LONG, GLANCE, async || {
            if !self.job.pods().await.is_empty() {
                return Ok(Probe::not_yet("it is there"));
            }
            assert_eq!(self.alive(), Vec::<i32>::new(), "the pod went before its processes");
            Ok(Probe::Ready(()))
        });
        gone.await.unwrap();
    }
}

/// Whether a process has this id and is no zombie.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

#[tokio::test]
async fn who_heeds_term_is_not_killed() {
    let room = room("cancel-term").await;
    let site = room.site("vk-cancel-term").await;
    let heed = r#"trap 'echo TERM >> "$TERM_SEEN"; exit 0' TERM;"#;
    let tree = Tree::start(&room, &site, "heeds", heed, 60).await;
    assert_eq!(tree.alive().len(), 4);
    let asked = Instant::now();
    tree.delete().await;
    tree.gone().await;
    assert!(asked.elapsed() < Duration::from_secs(50), "it took the whole grace: {:?}", asked.elapsed());
    // The main process, the one in another session and the orphan.
    assert_eq!(std::fs::read_to_string(&tree.term).unwrap(), "TERM\nTERM\nTERM\n");
}

#[tokio::test]
async fn who_ignores_term_is_killed_after_the_grace() {
    let room = room("cancel-kill").await;
    let site = room.site("vk-cancel-kill").await;
    let tree = Tree::start(&room, &site, "ignores", "trap '' TERM;", 2).await;
    let asked = Instant::now();
    tree.delete().await;
    tree.gone().await;
    assert!(asked.elapsed() >= Duration::from_secs(2), "the grace was {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_job_deleted_while_its_node_is_away_is_ended_when_it_is_back() {
    let room = room("cancel-away").await;
    let mut site = room.site("vk-cancel-away").await;
    let tree = Tree::start(&room, &site, "away", "trap '' TERM;", 1).await;
    site.kill_node().unwrap();
    tree.delete().await;
    asked_to_go(&room).await;
    assert_eq!(tree.alive().len(), 4, "nobody has ended them yet");
    site.start_node().unwrap();
    tree.gone().await;
}

/// Waits until the garbage collector has asked for the deletion of the room's pods.
async fn asked_to_go(room: &Room) {
    let pods = room.pods();
    let asked = wait::until("the pod to be deleted", LONG, GLANCE, async || {
        let list = pods.list(&ListParams::default()).await?;
        let is_asked = list.items.iter().all(|pod| pod.metadata.deletion_timestamp.is_some());
        Ok(if is_asked { Probe::Ready(()) } else { Probe::not_yet("not yet") })
    });
    asked.await.unwrap();
}

#[tokio::test]
async fn a_pod_deleted_by_force_while_its_node_is_away_is_ended_when_it_is_back() {
    let room = room("cancel-force").await;
    let mut site = room.site("vk-cancel-force").await;
    let tree = Tree::start(&room, &site, "forced", "trap '' TERM;", 1).await;
    site.kill_node().unwrap();
    room.says(&["delete", "cmdjob", "forced", "--cascade=orphan"]).await;
    room.says(&["delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false"]).await;
    assert_eq!(tree.alive().len(), 4, "nobody has ended them yet");
    site.start_node().unwrap();
    let ended = wait::until("the processes to be ended", LONG, GLANCE, async || {
        let alive = tree.alive();
        Ok(if alive.is_empty() { Probe::Ready(()) } else { Probe::not_yet(format!("{alive:?}")) })
    });
    ended.await.unwrap();
}
