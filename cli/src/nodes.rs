//! `nodes`.

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams};
use vk_cli_core::args::{ClusterFlags, Nodes};
use vk_cli_core::nodes::{HEADINGS, row, used};
use vk_cli_core::output::{self, Format};
use vk_cmd_crds::amounts::Amounts;
use vk_cmd_crds::labels;

use crate::cluster::Cluster;
use crate::screen::{print, print_table, print_value, say};

pub(crate) async fn run(flags: &ClusterFlags, args: Nodes) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    let mut nodes = of_vk_cmd(&cluster, args.fleet.as_deref()).await?;
    let missing: Vec<&String> =
        args.names.iter().filter(|name| nodes.iter().all(|node| node.metadata.name.as_ref() != Some(name))).collect();
    if let Some(name) = missing.first() {
        anyhow::bail!("there is no vk-node {name}: `kubectl cmdjob nodes` shows those that are");
    }
    nodes.retain(|node| {
        args.names.is_empty() || node.metadata.name.as_ref().is_some_and(|name| args.names.contains(name))
    });
    let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            print_value(format, &output::list(&nodes, args.names.len() == 1))?
        }
        Some(Format::Name) => print(&nodes.iter().map(|node| format!("node/{}\n", name(node))).collect::<String>())?,
        format @ (Some(Format::Wide) | None) => {
            if nodes.is_empty() {
                say("no vk-nodes: `vk-node join --run` at a site starts one");
                return Ok(0);
            }
            // Whoever may not see all pods may see the nodes all the same.
            let pods: Api<Pod> = Api::all(cluster.client.clone());
            let running = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
            let pods = cluster.all("list pods", &pods, running).await;
            let used = pods.ok().map(|pods| used(&pods));
            let nothing = Amounts::default();
            let now = Timestamp::now();
            let rows: Vec<Vec<String>> = nodes
                .iter()
                .map(|node| row(node, used.as_ref().map(|used| used.get(&name(node)).unwrap_or(&nothing)), now))
                .collect();
            print_table(&HEADINGS, &rows, format.is_some())?;
        }
    }
    Ok(0)
}

/// The vk-nodes, of a fleet or all, by name.
pub(crate) async fn of_vk_cmd(cluster: &Cluster, fleet: Option<&str>) -> Result<Vec<Node>> {
    let mut selector = format!("{}={}", labels::NODE_TYPE, labels::NODE_TYPE_VALUE);
    if let Some(fleet) = fleet {
        selector.push_str(&format!(",{}={fleet}", labels::FLEET));
    }
    let api: Api<Node> = Api::all(cluster.client.clone());
    let mut nodes = cluster.all("list nodes", &api, ListParams::default().labels(&selector)).await?;
    nodes.retain(|node| {
        node.metadata.name.as_deref().is_some_and(|name| name.starts_with(vk_cmd_crds::names::NODE_PREFIX))
    });
    nodes.sort_by_key(|node| node.metadata.name.clone());
    Ok(nodes)
}
