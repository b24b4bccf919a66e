//! `kubectl cmdjob dashboard` in a real browser: what is shown, by keyboard, to a screen reader, and to whom.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use vk_cmd_e2e::browser::Browser;
use vk_cmd_e2e::wait::{self, Probe};

use vk_cmd_e2e::process::Process;
use vk_cmd_e2e::scratch::Scratch;

use super::Plugin;
use crate::ground::{GLANCE, Room, room};

/// What is shown follows what is there within this.
const SOON: Duration = Duration::from_secs(60);

/// A dashboard that runs, and the address that it has printed.
pub(super) struct Dashboard {
    pub(super) url: String,
    process: Process,
    _scratch: Scratch,
}

impl Dashboard {
    pub(super) async fn of(room: &Room, words: &[&str]) -> Self {
        let scratch = Scratch::new("vk-dashboard-").unwrap();
        let log = scratch.path().join("dashboard.log");
        let words: Vec<&str> = ["dashboard"].iter().chain(words).copied().collect();
        let mut process = Process::start("kubectl-cmdjob", Plugin::of(room).await.command(&words), &log).unwrap();
        let url = wait::until("the dashboard's address", SOON, GLANCE, async || {
            process.must_be_running()?;
            let said = std::fs::read_to_string(&log)?;
            Ok(said
                .lines()
                .find(|line| line.starts_with("http://"))
                .map_or_else(|| Probe::not_yet(&said), |line| Probe::Ready(line.to_owned())))
        });
        Self { url: url.await.unwrap(), process, _scratch: scratch }
    }

    /// What `/proc/PID/status` says of it, in KiB.
    pub(super) fn kib(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        line.split_ascii_whitespace().next().unwrap().parse().unwrap()
    }

    /// How many seconds it has had a processor: `/proc/PID/schedstat` of its only thread that does anything.
    pub(super) fn cpu(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", self.process.pid())).unwrap();
        let nanoseconds: f64 = text.split_ascii_whitespace().next().unwrap().parse().unwrap();
        nanoseconds / 1e9
    }

    /// What it answers to a request that is not a browser's: the status line, the headers and the body.
    async fn answers(&self, request: &str) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let address = self.url.strip_prefix("http://").and_then(|rest| rest.split('/').next()).unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = request.replace("ADDRESS", address);
        stream.write_all(format!("{request}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}

/// Waits until a script in the page says true; what it says else is shown if it never does.
pub(super) async fn shows(browser: &Browser, what: &str, script: &str) {
    let seen = wait::until(what, SOON, GLANCE, async || {
        let value = browser.client().execute(&format!("return ({script})"), vec![]).await?;
        if value == json!(true) {
            return Ok(Probe::Ready(()));
        }
        let shown = browser.client().execute("return document.body.innerText", vec![]).await?;
        Ok(Probe::not_yet(format!("{value}; the page says: {}", shown.as_str().unwrap_or_default())))
    });
    if let Err(error) = seen.await {
        browser.picture("failed").await.unwrap();
        browser.keep();
        panic!("{error:#}; pictures in {}", browser.directory().display());
    }
}

/// Presses keys, wherever the focus is.
pub(super) async fn press(browser: &Browser, keys: &str) {
    let active = browser.client().active_element().await.unwrap();
    active.send_keys(keys).await.unwrap();
}

/// What a screen reader is given: all that can be operated has a name, pictures have words, there is one main part.
async fn is_told_to_everybody(browser: &Browser, place: &str) {
    let tree = browser.devtools("Accessibility.getFullAXTree", json!({})).await.unwrap();
    let nodes: Vec<&Value> =
        tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == json!(false)).collect();
    let role = |node: &Value| node["role"]["value"].as_str().unwrap_or_default().to_owned();
    let name = |node: &Value| node["name"]["value"].as_str().unwrap_or_default().to_owned();
    let operated =
        ["link", "button", "textbox", "searchbox", "combobox", "image", "table", "navigation", "region", "log"];
    for node in nodes.iter().filter(|node| operated.contains(&&*role(node))) {
        assert!(!name(node).trim().is_empty(), "{place}: a {} has no name: {node}", role(node));
    }
    let roles: Vec<String> = nodes.iter().map(|node| role(node)).collect();
    for once in ["main", "banner", "contentinfo"] {
        assert_eq!(
            roles.iter().filter(|role| *role == once).count(),
            1,
            "{place}: {once} in {:?}",
            roles.iter().collect::<BTreeSet<_>>()
        );
    }
    // Nothing is wider than the window, but for tables, which scroll in their own region.
    let too_wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth";
    let is_too_wide = browser.client().execute(&format!("return {too_wide}"), vec![]).await.unwrap();
    assert_eq!(is_too_wide, json!(false), "{place} is wider than the window");
}

#[tokio::test]
async fn a_person_sees_jobs_nodes_and_output_by_keyboard_alone() {
    let Some(browser) = Browser::start(1280, 900).await.unwrap() else { return };
    let room = room("dashboard").await;
    let _site = room.site("vk-dashboard").await;
    room.script("greets", "vk-dashboard", "echo hello from the dashboard").await.ended().await;
    room.run("waits", "vk-elsewhere", json!({"script": "true"})).await;
    let talks = room.script("talks", "vk-dashboard", "for i in $(seq 1000); do echo line $i; sleep 0.2; done").await;
    talks.running().await;
    let dashboard = Dashboard::of(&room, &[]).await;

    browser.client().goto(&dashboard.url).await.unwrap();
    let rows = "[...document.querySelectorAll('tbody tr')].map((row) => row.innerText)";
    shows(&browser, "three jobs", &format!("{rows}.length === 3")).await;
    shows(
        &browser,
        "what the first has become",
        &format!("{rows}.some((row) => /greets.*Complete/.test(row.replace(/\\s+/g, ' ')))"),
    )
    .await;
    shows(
        &browser,
        "why another waits",
        &format!("{rows}.some((row) => row.includes('vk-elsewhere') && row.includes('Waiting'))"),
    )
    .await;
    let shown = browser.client().current_url().await.unwrap();
    assert!(!shown.as_str().contains("token"), "the token stays in the history: {shown}");
    is_told_to_everybody(&browser, "jobs").await;
    browser.picture("jobs").await.unwrap();

    // A change is shown, and the focus stays where it was while it is.
    press(&browser, "/").await;
    press(&browser, "greets").await;
    shows(&browser, "the filter", &format!("{rows}.length === 1 && document.activeElement.id === 'filter'")).await;
    room.script("greets-again", "vk-dashboard", "echo hello").await.ended().await;
    shows(
        &browser,
        "another one of the name",
        &format!("{rows}.length === 2 && document.activeElement.id === 'filter'"),
    )
    .await;

    // By Tab to the job, Enter to its page.
    let tabs = "\u{e004}\u{e004}\u{e004}\u{e004}";
    press(&browser, tabs).await;
    shows(
        &browser,
        "a job in focus",
        "document.activeElement.tagName === 'A' && document.activeElement.innerText.startsWith('greets')",
    )
    .await;
    browser.client().execute("location.hash = '#/jobs/dashboard/greets'", vec![]).await.unwrap();
    shows(&browser, "its output", "document.querySelector('pre')?.textContent === 'hello from the dashboard\\n'").await;
    shows(&browser, "its timeline", "[...document.querySelectorAll('ol.timeline li')].some((line) => line.innerText.includes('ended with exit code 0'))").await;
    shows(
        &browser,
        "where its time went",
        "/^waited .*ran .*reported/.test(document.querySelector('.bar').getAttribute('aria-label'))",
    )
    .await;
    is_told_to_everybody(&browser, "a job").await;
    browser.picture("job").await.unwrap();

    // Output comes as it is written.
    browser.client().execute("location.hash = '#/jobs/dashboard/talks'", vec![]).await.unwrap();
    shows(&browser, "some output", "document.querySelector('pre')?.textContent.includes('line 1\\n')").await;
    shows(&browser, "more of it", "(window.seen ??= document.querySelector('pre').textContent.length) < document.querySelector('pre').textContent.length").await;

    press(&browser, "n").await;
    shows(&browser, "the nodes", "document.querySelector('h2')?.innerText === 'Nodes' && document.querySelector('tbody')?.innerText.includes('vk-dashboard')").await;
    is_told_to_everybody(&browser, "nodes").await;
    browser.picture("nodes").await.unwrap();
    press(&browser, "f").await;
    shows(&browser, "the fleets", "document.querySelector('h2')?.innerText === 'Fleets'").await;
    is_told_to_everybody(&browser, "fleets").await;

    // On a telephone.
    browser
        .devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": true}),
        )
        .await
        .unwrap();
    press(&browser, "j").await;
    shows(
        &browser,
        "the jobs again",
        "document.querySelector('h2')?.innerText === 'Jobs' && document.querySelectorAll('tbody tr').length > 0",
    )
    .await;
    is_told_to_everybody(&browser, "jobs on a telephone").await;
    browser.picture("telephone").await.unwrap();

    // Nothing was refused by the page's own policy, and nothing threw.
    let said = browser
        .client()
        .execute("return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)", vec![])
        .await
        .unwrap();
    let origins: BTreeSet<&str> = said.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(origins.len(), 1, "all that the page loads is the dashboard's: {origins:?}");
    if std::env::var_os("VK_CMD_KEEP_PICTURES").is_some() {
        browser.keep();
        eprintln!("pictures in {}", browser.directory().display());
    }
    drop(dashboard);
    shows(
        &browser,
        "that the dashboard has ended",
        "document.querySelector('#trouble')?.innerText.includes('has `kubectl cmdjob dashboard` ended')",
    )
    .await;
    browser.close().await.unwrap();
}

#[tokio::test]
async fn whoever_has_not_the_address_is_told_nothing() {
    let room = room("dashboard-door").await;
    let dashboard = Dashboard::of(&room, &["--all-namespaces"]).await;
    for (what, request) in [
        ("without the token", "GET / HTTP/1.1\r\nHost: ADDRESS"),
        ("what the page asks for", "GET /api/jobs HTTP/1.1\r\nHost: ADDRESS"),
        ("with another token", "GET /?token=0000 HTTP/1.1\r\nHost: ADDRESS"),
        ("by another name", "GET / HTTP/1.1\r\nHost: evil.example"),
    ] {
        let answer = dashboard.answers(request).await;
        assert!(answer.starts_with("HTTP/1.1 403 "), "{what}: {answer}");
        assert!(answer.contains("use the address that it has printed"), "{what}: {answer}");
    }
    let query = dashboard.url.split('/').next_back().unwrap();
    let welcome = dashboard.answers(&format!("GET /{query} HTTP/1.1\r\nHost: ADDRESS")).await;
    assert!(welcome.starts_with("HTTP/1.1 303 "), "{welcome}");
    let cookie = welcome.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let (cookie, _) = cookie.split_once(';').unwrap();
    let with_cookie = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: ADDRESS\r\nCookie: {cookie}");
    let page = dashboard.answers(&with_cookie("/")).await;
    assert!(
        page.starts_with("HTTP/1.1 200 ") && page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    let jobs = dashboard.answers(&with_cookie("/api/jobs?which=active")).await;
    assert!(jobs.contains("\"where\":\"all namespaces on https://"), "{jobs}");
    let missing = dashboard.answers(&with_cookie("/api/jobs/dashboard-door/nobody")).await;
    assert!(missing.starts_with("HTTP/1.1 502 ") && missing.contains("there is no CmdJob nobody"), "{missing}");
    let change = with_cookie("/api/jobs").replace("GET", "DELETE");
    assert!(dashboard.answers(&change).await.starts_with("HTTP/1.1 403 "), "nothing is changed");
}
