//! What the page is told, of a few jobs and of many.

use serde_json::json;

use super::*;
use crate::explain;
use crate::plain::tests::job as some_job;

fn now() -> Timestamp {
    "2026-01-02T03:06:05Z".parse().unwrap()
}

fn some_jobs() -> Vec<CmdJob> {
    let mut jobs = vec![
        some_job("waits", &json!({}), &json!({"state": "Waiting", "message": "none of 4 nodes takes it now"})),
        some_job("runs", &json!({}), &json!({"state": "Running", "message": "it runs on vk-a"})),
        some_job("done", &json!({}), &json!({"state": "Complete"})),
    ];
    jobs[2].metadata.creation_timestamp.as_mut().unwrap().0 = now();
    jobs
}

fn asked(which: Which, text: &str) -> Asked {
    Asked { which, text: text.to_owned(), skip: 0 }
}

fn names(jobs: &Jobs) -> Vec<&str> {
    jobs.table.rows.iter().map(|row| row.key.as_str()).collect()
}

#[test]
fn the_newest_jobs_come_first_and_can_be_chosen_by_what_they_say() {
    let all = some_jobs();
    let shown = jobs(&all, &asked(Which::All, ""), true, now());
    assert_eq!(names(&shown), ["lab/done", "lab/runs", "lab/waits"]);
    assert_eq!(shown.summary, "3 in all: 1 Complete, 1 Running, 1 Waiting");
    assert_eq!(shown.table.headings[..3], ["NAME", "NAMESPACE", "STATE"]);
    assert_eq!(shown.table.tone, Some(2));
    let tones: Vec<Tone> = shown.table.rows.iter().map(|row| row.tone).collect();
    assert_eq!(tones, [Tone::Good, Tone::Good, Tone::Waits]);
    assert_eq!(names(&jobs(&all, &asked(Which::Active, ""), false, now())), ["lab/runs", "lab/waits"]);
    assert_eq!(names(&jobs(&all, &asked(Which::Ended, ""), false, now())), ["lab/done"]);
    assert_eq!(names(&jobs(&all, &asked(Which::All, " Nodes TAKES "), false, now())), ["lab/waits"]);
    assert!(names(&jobs(&all, &asked(Which::Ended, "takes"), false, now())).is_empty());
    assert_eq!(jobs::<CmdJob>(&[], &Asked::default(), false, now()).summary, "There are no CmdJobs.");
}

#[test]
fn there_are_never_more_than_can_be_looked_at() {
    let all: Vec<CmdJob> = (0..MOST + 3).map(|n| some_job(&format!("j{n:04}"), &json!({}), &json!(null))).collect();
    let shown = |skip| {
        let jobs = jobs(&all, &Asked { skip, ..Asked::default() }, false, now());
        (jobs.window, jobs.table.rows.len(), jobs.table.rows[0].key.clone())
    };
    let window = |first, shown| Window { first, shown, matched: MOST + 3, step: MOST };
    assert_eq!(shown(0), (window(0, MOST), MOST, "lab/j0000".to_owned()));
    assert_eq!(shown(MOST), (window(MOST, 3), 3, format!("lab/j{MOST:04}")));
    // Whoever has been told of more than there are by now sees the last of them.
    assert_eq!(shown(9 * MOST), shown(MOST));
    assert_eq!(Window::of::<u8>(9, &[]), (Window { first: 0, shown: 0, matched: 0, step: MOST }, &[][..]));
}

#[test]
fn a_job_tells_where_its_time_went_and_what_can_be_read() {
    let pod = |index: &str, attempt: &str, state: serde_json::Value| -> Pod {
        let container =
            json!({"name": "main", "image": "i", "imageID": "i", "ready": false, "restartCount": 0, "state": state});
        let pod = json!({
            "metadata": {"name": format!("p-{index}-{attempt}"), "labels": {"vk-cmd.io/index": index, "vk-cmd.io/attempt": attempt}},
            "spec": {"nodeName": "vk-a", "containers": []}, "status": {"containerStatuses": [container]},
        });
        serde_json::from_value(pod).unwrap()
    };
    let ended = json!({"terminated": {"exitCode": 5, "startedAt": "2026-01-02T03:04:15Z", "finishedAt": "2026-01-02T03:05:15Z"}});
    let pods = [pod("10", "0", json!({"waiting": {}})), pod("2", "1", ended)];
    let whole = some_job("a", &json!({}), &json!({"state": "Running"}));
    let told = json!(job(explain::story(&whole, &pods, &[]), &pods));
    assert_eq!(
        told["pods"],
        json!([
            {"name": "p-2-1", "title": "index 2, attempt 1, on vk-a", "hasBegun": true},
            {"name": "p-10-0", "title": "index 10, attempt 0, on vk-a", "hasBegun": false},
        ])
    );
    assert_eq!(told["parts"], json!([{"what": "waited", "seconds": 10, "length": "10s"}]));
    assert_eq!(told["tone"], "good");
}

#[test]
fn tables_of_nothing_say_what_to_do() {
    let none = nodes::<Node, Pod>(&[], None, 0, now());
    assert!(none.none.contains("vk-node join"), "{none:?}");
    assert_eq!(fleets::<CmdFleet>(&[], 0).table.rows.len(), 0);
}
