//! Writes the CustomResourceDefinition and the chart's copy of it into the repository.

use std::error::Error;
use std::path::Path;

use vk_cmd_crds::crd;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate crds is not inside the repository")?;
    for (path, text) in [(crd::MANIFEST, crd::manifest()?), (crd::CHART_TEMPLATE, crd::chart_template()?)] {
        let file = root.join(path);
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, text)?;
        println!("wrote {path}");
    }
    Ok(())
}
