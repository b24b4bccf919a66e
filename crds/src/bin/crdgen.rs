//! Writes the CustomResourceDefinitions and the chart's copies of them into the repository.

use std::error::Error;
use std::path::Path;

use vk_cmd_crds::crd::Kind;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the crate crds is not inside the repository")?;
    let files = |kind: Kind| {
        let manifest = (kind.manifest_path(), kind.manifest()?);
        Ok::<_, Box<dyn Error>>([manifest, (kind.chart_template_path(), kind.chart_template()?)])
    };
    for kind in Kind::ALL {
        for (path, text) in files(kind)? {
            let file = root.join(&path);
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(file, text)?;
            println!("wrote {path}");
        }
    }
    Ok(())
}
