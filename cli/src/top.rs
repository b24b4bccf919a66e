//! `top`.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};
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
    let pods = cluster.call("list pods", pods.list(&ListParams::default().labels(&selector))).await?.items;
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", cluster.namespace);
    let request = http_get(&path)?;
    let answer = cluster.call("ask the metrics API", cluster.client.request::<PodMetricsList>(request)).await;
    let metrics = match answer {
        Ok(list) => list.items,
        Err(error) => {
            say(&format!("{error} (is metrics-server there? `kubectl top pods` asks the same)"));
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
                say(&format!("nothing of a CmdJob runs in {}", cluster.namespace));
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
