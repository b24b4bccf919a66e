//! Applying the examples, as a user would.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::ResourceExt;
use kube::api::ListParams;
use kube::{Api, Client};
use vk_cmd_crds::CmdJob;

use super::screen::Screen;
use super::stage::{NAMESPACE, Stage};
use crate::exec;

/// How an example says that it is meant to end otherwise than `Complete`.
const EXPECT_ANNOTATION: &str = "demo.vk-cmd.io/expect";
const LIMIT: Duration = Duration::from_secs(60);

/// Where the examples are.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The jobs in the examples' namespace.
pub(super) fn api(client: &Client) -> Api<CmdJob> {
    Api::namespaced(client.clone(), NAMESPACE)
}

/// Makes the namespace and applies the examples; gives the names of their jobs.
pub(super) async fn apply(stage: &Stage, screen: &Screen) -> Result<Vec<String>> {
    screen.line("");
    let node = stage.site.node_name().to_owned();
    let work = async {
        stage.make_namespace().await?;
        let mut kubectl = stage.kubectl();
        kubectl.args(["apply", "-f", "-"]);
        let said = exec::text_with_input(kubectl, examples(&node)?.as_bytes(), LIMIT).await?;
        said.lines().for_each(|line| screen.line(&format!("  {line}")));
        let made = api(&stage.client).list(&ListParams::default()).await.context("cannot list CmdJobs")?;
        Ok(made.items.iter().map(ResourceExt::name_any).collect())
    };
    screen.step("kubectl apply -f e2e/examples", work).await
}

/// How the job should end.
pub(super) fn expected_state(job: &CmdJob) -> &str {
    job.annotations().get(EXPECT_ANNOTATION).map_or("Complete", String::as_str)
}

/// The examples, in the order of their names, for the node at hand, as one YAML stream.
fn examples(node: &str) -> Result<String> {
    let directory = directory();
    let why = || format!("cannot read the examples in {}", directory.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(why)? {
        let path = entry.with_context(why)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let texts = paths.iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(texts.join("---\n").replace("node: vk-demo", &format!("node: {node}")))
}
