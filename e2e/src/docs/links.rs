//! Where links of the docs lead: to files that are there, and headings that are on them.

use super::{all, repository};

#[test]
fn every_link_leads_somewhere() {
    let (root, pages) = (repository().canonicalize().unwrap(), all().unwrap());
    let mut wrong = Vec::new();
    let mut seen = 0;
    for page in &pages {
        for (line, link) in &page.links {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let here = root.join(&page.path);
            let target = if file.is_empty() { here } else { here.parent().unwrap().join(file) };
            let Ok(target) = target.canonicalize() else {
                wrong.push(format!("{}:{line}: {link} is not there", page.path));
                continue;
            };
            let path = target.strip_prefix(&root).map(|path| path.display().to_string()).unwrap_or_default();
            let has = |page: &super::Page| page.path != path || page.anchors.iter().any(|known| known == anchor);
            if path.is_empty() && target != root {
                wrong.push(format!("{}:{line}: {link} leads out of the repository", page.path));
            } else if !anchor.is_empty() && !pages.iter().all(has) {
                wrong.push(format!("{}:{line}: {link}: {path} has no such heading", page.path));
            }
        }
    }
    assert!(seen >= 100, "{seen} links");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
