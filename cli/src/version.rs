//! `version`. Asks nobody: `doctor` does.

use anyhow::Result;
use serde_json::json;
use vk_cli_core::args;
use vk_cli_core::output::Format;

use crate::screen::{print, print_value};

pub(crate) fn run(args: &args::Version) -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    match args.output.output {
        Some(format @ (Format::Json | Format::Yaml)) => {
            let api = format!("{}/{}", vk_cmd_crds::labels::GROUP, vk_cmd_crds::labels::VERSION);
            print_value(format, &json!({"version": version, "apiVersion": api}))?;
        }
        Some(Format::Name) => print(&format!("{version}\n"))?,
        Some(Format::Wide) | None => print(&format!("kubectl-cmdjob {version}\n"))?,
    }
    Ok(0)
}
