//! `top`.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};
use vk_api_client::chain;
use vk_cli_core::args::{ClusterFlags, Top};
use vk_cli_core::output::Format;
use vk_cli_core::top::{HEADINGS, PodMetricsList, rows};
use vk_cmd_crds::labels;

use crate::cluster::Cluster;
use crate::screen::{print, print_table, print_value, say};

pub(crate) async fn run(flags: &ClusterFlags, args: Top) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    let selector = match args.names.as_slice() {
        [] => labels::JOB.to_owned(),
        names => format!("{} in ({})", labels::JOB, names.join(",")),
    };
    let pods = cluster.namespaced::<Pod>();
    let pods = cluster.all("list pods", &pods, ListParams::default().labels(&selector)).await?;
    for name in &args.names {
        // One that has no pods may be none at all.
        if !pods.iter().any(|pod| pod.metadata.labels.as_ref().and_then(|all| all.get(labels::JOB)) == Some(name)) {
            cluster.job(name).await?;
        }
    }
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", cluster.namespace);
    let request = http_get(&path)?;
    let answer = cluster.call("ask the metrics API", cluster.client.request::<PodMetricsList>(request)).await;
    let metrics = match answer {
        Ok(list) => list.items,
        Err(error) => {
            // Where nobody serves the API, the answer is no Status but a page.
            let is_missing = error.status().is_some_and(|status| status.code == 404);
            say(&match is_missing {
                true => "nothing is measured: there is no metrics-server in this cluster (`kubectl top pods` asks the same one)".to_owned(),
                false => format!("nothing is measured: {}", chain(&error)),
            });
            Vec::new()
        }
    };
    let rows = rows(&pods, &metrics);
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let object = |row: &Vec<String>| -> Value {
                let fields = HEADINGS.iter().zip(row).map(|(heading, cell)| (heading.to_lowercase(), json!(cell)));
                Value::Object(fields.collect())
            };
            print_value(format, &json!({"items": rows.iter().map(object).collect::<Vec<_>>()}))?;
        }
        Some(Format::Name) => {
            print(&rows.iter().filter_map(|row| row.last()).map(|pod| format!("pod/{pod}\n")).collect::<String>())?;
        }
        format @ (Some(Format::Wide) | None) => {
            if rows.is_empty() {
                let of = if args.names.is_empty() { "any CmdJob".to_owned() } else { args.names.join(", ") };
                say(&format!("nothing of {of} runs in {} now", cluster.namespace));
                return Ok(0);
            }
            print_table(&HEADINGS, &rows, format.is_some())?;
        }
    }
    Ok(0)
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).context("cannot make a request")
}
