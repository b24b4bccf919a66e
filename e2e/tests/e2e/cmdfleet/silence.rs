//! While nothing changes, nothing is written; and what changes at once is written once. By the API server's audit log.

use serde_json::json;
use vk_cmd_e2e::audit::Entry;
use vk_cmd_e2e::wait::{self, Probe};

use crate::ground::LONG;
use crate::rough::{audit_log, rough};

/// For so long nothing must be written: longer than any pause of an operator that has nothing to wait for.
const QUIET: std::time::Duration = std::time::Duration::from_secs(8);

/// The writes about fleets and nodes from this place on, and the place behind them.
fn writes_since(place: usize) -> (Vec<String>, usize) {
    let (entries, place) = audit_log().entries_from(place).unwrap();
    let ours = |entry: &Entry| entry.is_write() && matches!(entry.resource(), "cmdfleets" | "nodes");
    (entries.iter().filter(|entry| ours(entry)).map(Entry::act).collect(), place)
}

#[tokio::test]
async fn nothing_is_written_while_nothing_changes() {
    const FLEET: &str = "cf-silent";
    let ground = rough().await;
    {
        // A test that has failed may have left it dead.
        let mut operator = ground.operator.lock().await;
        if operator.process().is_none() {
            operator.restart().unwrap();
        }
    }
    let room = ground.room(FLEET).await;
    let fleet = room.fleet(FLEET, json!({"replicas": 2})).await;
    let _site = room.nodes_of(FLEET, 2, &[]).await;
    fleet.until("to be ready", |status| status.ready_nodes == 2 && status.idle_nodes == 2).await;
    let silent = async || {
        let (_, mut place) = writes_since(0);
        let mut looked = false;
        wait::until("the operator to be silent", LONG, QUIET, async || {
            let (new, end) = writes_since(place);
            let is_silent = looked && new.is_empty();
            (place, looked) = (end, true);
            Ok(if is_silent { Probe::Ready(()) } else { Probe::not_yet(format!("{new:?}")) })
        })
        .await
        .unwrap();
        place
    };
    let place = silent().await;
    // Ten jobs that are made at once and are soon over: a write of the fleet's status a second at most, and not one for each.
    let mut jobs = Vec::new();
    for n in 0..10 {
        jobs.push(room.job(&format!("job-{n}"), json!({"target": {"fleet": FLEET}, "script": "true"})).await);
    }
    let begun = std::time::Instant::now();
    for job in &jobs {
        job.ended().await;
    }
    let took = begun.elapsed().as_secs();
    let place_then = silent().await;
    let (written, _) = writes_since(place);
    let most = usize::try_from(took).unwrap() + 3;
    assert!(
        written.len() <= most && written.iter().all(|act| act == "patch cmdfleets/status"),
        "{took} s: {written:?}"
    );
    assert!(writes_since(place_then).0.is_empty());
    // One that begins anew looks at everything, and finds nothing to write.
    ground.operator.lock().await.restart().unwrap();
    room.job("again", json!({"target": {"node": "vk-cf-silent-0"}, "suspend": true, "script": "true"}))
        .await
        .until("to have been looked at", |status| status.state == Some(vk_cmd_crds::State::Suspended))
        .await;
    silent().await;
    let (written, _) = writes_since(place_then);
    assert!(written.is_empty(), "{written:?}");
    fleet.remove().await;
}
