//! `fleets`.

use anyhow::Result;
use kube::api::{Api, ListParams};
use vk_cli_core::args::{ClusterFlags, Fleets};
use vk_cli_core::nodes::{FLEET_HEADINGS, fleet_row};
use vk_cli_core::output::{self, Format};
use vk_cmd_crds::{CmdFleet, labels};

use crate::cluster::Cluster;
use crate::screen::{print, print_table, print_value, say};

pub(crate) async fn run(flags: &ClusterFlags, args: Fleets) -> Result<u8> {
    let cluster = Cluster::of(flags).await?;
    let mut fleets = all(&cluster).await?;
    let name = |fleet: &CmdFleet| fleet.metadata.name.clone().unwrap_or_default();
    if let Some(missing) = args.names.iter().find(|wanted| fleets.iter().all(|fleet| name(fleet) != **wanted)) {
        anyhow::bail!("there is no CmdFleet {missing}: `kubectl cmdjob fleets` shows those that are");
    }
    fleets.retain(|fleet| args.names.is_empty() || args.names.contains(&name(fleet)));
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            print_value(format, &output::list(&fleets, args.names.len() == 1))?
        }
        Some(Format::Name) => {
            let line = |fleet: &CmdFleet| format!("cmdfleet.{}/{}\n", labels::GROUP, name(fleet));
            print(&fleets.iter().map(line).collect::<String>())?;
        }
        format @ (Some(Format::Wide) | None) => {
            if fleets.is_empty() {
                say(
                    "no CmdFleets: nodes with the label vk-cmd.io/fleet are fleets without one (`kubectl cmdjob nodes` shows them)",
                );
                return Ok(0);
            }
            let rows: Vec<Vec<String>> = fleets.iter().map(fleet_row).collect();
            print_table(&FLEET_HEADINGS, &rows, format.is_some())?;
        }
    }
    Ok(0)
}

/// The fleets, by name.
pub(crate) async fn all(cluster: &Cluster) -> Result<Vec<CmdFleet>> {
    let api: Api<CmdFleet> = Api::all(cluster.client.clone());
    let mut fleets = cluster.call("list fleets", api.list(&ListParams::default())).await?.items;
    fleets.sort_by_key(|fleet| fleet.metadata.name.clone());
    Ok(fleets)
}
