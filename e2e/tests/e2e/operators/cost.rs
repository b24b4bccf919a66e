//! What a job costs the API server, by its own audit log: as many requests of the operator as docs/explanation/figures.md says.

use std::collections::BTreeMap;

use vk_cmd_e2e::wait::{self, Probe};

use super::silence::Requests;
use crate::ground::{GLANCE, LONG};
use crate::rough::{audit_log, rough};

/// So many are run, one after the other.
const JOBS: u32 = 10;

#[tokio::test]
async fn a_job_of_one_pod_costs_the_operator_five_writes_and_two_events() {
    let ground = rough().await;
    let room = ground.room("cost").await;
    let _site = room.site("vk-cost").await;
    let requests = Requests::of(audit_log(), &room);
    for n in 0..JOBS {
        room.script(&format!("job-{n}"), "vk-cost", "exit 0").await.ended().await;
    }
    // The last of them is held by nobody any more.
    let counts = wait::until("the operator to have let all jobs go", LONG, GLANCE, async || {
        let counts = requests.counted();
        let let_go = counts.get("patch cmdjobs").copied().unwrap_or_default();
        Ok(if let_go >= 2 * JOBS { Probe::Ready(counts) } else { Probe::not_yet(format!("{counts:?}")) })
    })
    .await
    .unwrap();
    println!("{JOBS} jobs: {counts:?}");
    // It is held and let go, its pod is made and let go; its status is written once, and before that for each state that lasted.
    let status = counts.get("patch cmdjobs/status").copied().unwrap_or_default();
    assert!((JOBS..=3 * JOBS).contains(&status), "{counts:?}");
    // A second look whose cache is behind the first may want to let a job go once more: that is refused, and writes nothing.
    let others = |(what, _): &(&String, &u32)| {
        !what.contains(" (refused: ") && !what.ends_with(" events") && *what != "patch cmdjobs/status"
    };
    let found: BTreeMap<&str, u32> = counts.iter().filter(others).map(|(what, n)| (&**what, *n)).collect();
    assert_eq!(found, BTreeMap::from([("create pods", JOBS), ("patch cmdjobs", 2 * JOBS), ("patch pods", JOBS)]));
    assert!(counts.get("create events").copied().unwrap_or_default() <= 2 * JOBS, "{counts:?}");
}
