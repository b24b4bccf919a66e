//! A headless Chromium of Debian's, driven by its chromedriver, for the pages that we serve.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::control_plane::ports;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::{self, Probe};
use crate::{packages, runtimes};

/// Programs and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 2] = [("chromium", "chromium"), ("chromedriver", "chromium-driver")];
/// Generous: all tests run at the same time.
const START_LIMIT: Duration = Duration::from_secs(90);
const GLANCE: Duration = Duration::from_millis(100);

/// A browser with one window. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    _driver: Process,
    scratch: Scratch,
}

impl Browser {
    /// A browser with a window of this size; `None`, after a loud word about what is missing, where it cannot be had.
    ///
    /// # Errors
    /// If it does not start.
    ///
    /// # Panics
    /// Where it cannot be had and [`runtimes::REQUIRE_VARIABLE`] is set.
    pub async fn start(width: u32, height: u32) -> Result<Option<Self>> {
        let there = packages::installed("the tests with a browser", &PROGRAMS).await;
        if runtimes::or_skipped("Chromium", there).is_none() {
            return Ok(None);
        }
        let scratch = Scratch::new("vk-browser-")?;
        let [port] = ports::free::<1>()?;
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).env("HOME", scratch.path()).env("TMPDIR", scratch.path());
        let driver = Process::start("chromedriver", driver, scratch.path().join("chromedriver.log"))?;
        // Root may have no sandbox of Chromium's; what it shows is our own page alone.
        let arguments = json!([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", scratch.path().join("profile").display()),
        ]);
        let wanted = json!({"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}});
        let Value::Object(wanted) = wanted else { anyhow::bail!("capabilities are an object") };
        let address = format!("http://127.0.0.1:{port}");
        let client = wait::until("a browser", START_LIMIT, GLANCE, async || {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            match builder.capabilities(wanted.clone()).connect(&address).await {
                Ok(client) => Ok(Probe::Ready(client)),
                Err(error) => Ok(Probe::not_yet(error.to_string())),
            }
        });
        let client = client.await.inspect_err(|_| scratch.keep())?;
        Ok(Some(Self { client, _driver: driver, scratch }))
    }

    /// What drives it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where its logs are, and what [`picture`](Self::picture) has made.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Leaves logs and pictures there for good.
    pub fn keep(&self) {
        self.scratch.keep();
    }

    /// A picture of what is shown, NAME.png.
    ///
    /// # Errors
    /// If there is none.
    pub async fn picture(&self, name: &str) -> Result<()> {
        let picture = self.client.screenshot().await.context("cannot take a picture")?;
        std::fs::write(self.scratch.path().join(format!("{name}.png")), picture).context("cannot write a picture")
    }

    /// A command of Chrome's DevTools protocol.
    ///
    /// # Errors
    /// What it says.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value> {
        let said = self.client.issue_cmd(DevTools { command: command.to_owned(), parameters }).await;
        said.with_context(|| format!("{command} has failed"))
    }

    /// Ends it.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn close(self) -> Result<()> {
        self.client.clone().close().await.context("the browser does not end")
    }
}

#[derive(Debug)]
struct DevTools {
    command: String,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"cmd": self.command, "params": self.parameters}).to_string()))
    }
}
