//! `kubectl cmdjob dashboard` with very many jobs: what is sent, drawn and kept stays small.
//!
//! With 1,500 jobs it is a test; `VK_CMD_DASHBOARD_JOBS=10000` measures with more, for docs/explanation/figures.md.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vk_cmd_crds::CmdJob;
use vk_cmd_e2e::browser::Browser;

use super::dashboard::{Dashboard, press, shows};
use crate::ground::{Room, room};

/// How many jobs there are, where nothing is said.
const JOBS: usize = 1500;
/// As many as the page shows.
const ROWS: usize = 200;
/// For so many requests at a time.
const AT_ONCE: usize = 32;
/// What a table of 200 rows may have, whatever there is besides.
const MOST_BYTES: u64 = 64 << 10;
/// What an answer may have, of a table that has changed by one row.
const MOST_OF_A_CHANGE: u64 = 2 << 10;
/// How long the page is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// Jobs that no operator of ours touches, with a script as people's have one: each fifth waits, the others have ended.
async fn fill(room: &Room, many: usize) {
    let api: Api<CmdJob> = Api::namespaced(room.client.clone(), &room.namespace);
    let script = "echo a line of a script that does something\n".repeat(50);
    let make = |n: usize| {
        let (api, script) = (api.clone(), &script);
        async move {
            let name = format!("many-{n:05}");
            let spec = json!({"target": {"fleet": "nowhere"}, "script": script, "managedBy": "example.com/nobody"});
            let job =
                json!({"apiVersion": "vk-cmd.io/v1alpha1", "kind": "CmdJob", "metadata": {"name": name}, "spec": spec});
            api.create(&PostParams::default(), &serde_json::from_value(job).unwrap()).await.unwrap();
            let status = match n % 5 {
                0 => {
                    json!({"state": "Waiting", "message": "none of 4 nodes takes it now: each has as many pods as it may"})
                }
                _ => json!({"state": "Complete", "succeeded": 1, "exitCode": 0, "message": "it has succeeded"}),
            };
            set(&api, &name, status).await;
        }
    };
    futures::stream::iter((0..many).map(make)).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
}

async fn set(api: &Api<CmdJob>, name: &str, status: Value) {
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

/// The bytes of each answer with jobs since the page was opened, in their order.
async fn answers(browser: &Browser) -> Vec<u64> {
    let script = "return performance.getEntriesByType('resource').filter((e) => e.name.includes('/api/jobs')).map((e) => e.encodedBodySize)";
    let value = browser.client().execute(script, vec![]).await.unwrap();
    value.as_array().unwrap().iter().filter_map(Value::as_u64).filter(|bytes| *bytes > 0).collect()
}

#[tokio::test]
async fn thousands_of_jobs_are_light() {
    let Some(browser) = Browser::start(1280, 900).await.unwrap() else { return };
    let many = std::env::var("VK_CMD_DASHBOARD_JOBS").ok().and_then(|many| many.parse().ok()).unwrap_or(JOBS);
    let room = room("dashboard-many").await;
    fill(&room, many).await;

    let begun = Instant::now();
    let dashboard = Dashboard::of(&room, &[]).await;
    browser.client().goto(&dashboard.url).await.unwrap();
    let rows = "document.querySelectorAll('tbody tr').length";
    let caption = "document.querySelector('caption')?.innerText";
    shows(&browser, "the newest jobs", &format!("{caption} === 'CmdJobs: 1 to {ROWS} of {many}, the newest first'"))
        .await;
    let first_shown = begun.elapsed();
    let first_paint = browser
        .client()
        .execute("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null", vec![])
        .await
        .unwrap();
    shows(&browser, "no more rows than are read", &format!("{rows} === {ROWS}")).await;
    let first = answers(&browser).await[0];
    assert!(first <= MOST_BYTES, "the first answer has {first} bytes");

    // What one change costs, while the page is watched. Ages change once a minute, and a few answers have all of them: the one in the
    // middle is what counts.
    let api: Api<CmdJob> = Api::namespaced(room.client.clone(), &room.namespace);
    let newest = browser.client().execute("return document.querySelector('tbody a').innerText", vec![]).await.unwrap();
    let newest = newest.as_str().unwrap();
    let (before, cpu) = (answers(&browser).await.len(), dashboard.cpu());
    browser.client().execute("window.drawn = 0; new MutationObserver((seen) => { window.drawn += seen.length }).observe(document.querySelector('tbody'), {subtree: true, childList: true, characterData: true})", vec![]).await.unwrap();
    let watched = Instant::now();
    for n in 0.. {
        if watched.elapsed() > WATCHED {
            break;
        }
        let words = format!("change {n} at {}", Timestamp::now());
        set(&api, newest, json!({"state": "Waiting", "message": words})).await;
        shows(&browser, "the change", &format!("document.querySelector('tbody tr').innerText.includes('{words}')"))
            .await;
    }
    let (cpu, seconds) = (dashboard.cpu() - cpu, watched.elapsed().as_secs_f64());
    let mut updates = answers(&browser).await.split_off(before);
    updates.sort_unstable();
    let middle = updates[updates.len() / 2];
    let drawn = browser.client().execute("return window.drawn", vec![]).await.unwrap();
    eprintln!(
        "{many} jobs: shown after {first_shown:.1?} (first paint {first_paint} ms), first answer {first} bytes, {} updates of {middle} \
         bytes (largest {:?}), {drawn} changes drawn, {:.1} % of a processor, dashboard {} MiB, at most {} MiB, page's heap {} KiB",
        updates.len(),
        updates.last(),
        cpu / seconds * 100.0,
        dashboard.kib("VmRSS") >> 10,
        dashboard.kib("VmHWM") >> 10,
        browser.client().execute("return Math.round(performance.memory.usedJSHeapSize / 1024)", vec![]).await.unwrap(),
    );
    assert!(middle <= MOST_OF_A_CHANGE, "a change of one row has {middle} bytes: {updates:?}");

    // By page, to the end and back; a filter begins at its first.
    let turn = |words: &str| {
        format!(
            "[...document.querySelectorAll('.pager button')].find((one) => one.innerText === '{words}').click(); return true"
        )
    };
    browser.client().execute(&turn("Next"), vec![]).await.unwrap();
    shows(
        &browser,
        "the next page",
        &format!("{caption}.startsWith('CmdJobs: {} to {} of ') && {rows} === {ROWS}", ROWS + 1, 2 * ROWS),
    )
    .await;
    press(&browser, "/").await;
    press(&browser, "many-0000").await;
    shows(
        &browser,
        "what the filter means",
        &format!(
            "{caption} === 'CmdJobs: 10, the newest first' && {rows} === 10 && document.querySelector('.pager').hidden"
        ),
    )
    .await;
    browser.close().await.unwrap();
}
