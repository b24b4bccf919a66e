//! The chart as a release has it: packed by `vk-release-core`, taken by helm as if helm had packed it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use vk_cmd_e2e::chart::directory;
use vk_cmd_e2e::exec;
use vk_cmd_e2e::scratch::Scratch;
use vk_cmd_e2e::tools::{self, Tool};
use vk_release_core::chart;
use vk_release_core::edition::{Architecture, Edition, Time, Version};

use crate::fixture::SOON;

/// A release of today's version, of no commit.
pub(super) fn edition() -> Edition {
    Edition {
        version: Version::new(env!("CARGO_PKG_VERSION"), false),
        architecture: Architecture::of_rust(std::env::consts::ARCH).unwrap(),
        revision: "0".repeat(40),
        time: Time::of_epoch(1_700_000_000),
    }
}

/// Packs the chart into this directory; where it is.
pub(super) fn pack(into: &Path) -> PathBuf {
    let mut files = BTreeMap::new();
    read(&directory(), "", &mut files);
    let path = into.join(edition().chart());
    std::fs::write(&path, chart::package(files, chart::IMAGES, &edition()).unwrap()).unwrap();
    path
}

fn read(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        match entry.file_type().unwrap().is_dir() {
            true => read(&entry.path(), &format!("{path}/"), files),
            false => drop(files.insert(path, std::fs::read(entry.path()).unwrap())),
        }
    }
}

async fn says(program: impl AsRef<std::ffi::OsStr>, arguments: &[&Path]) -> String {
    let mut command = Command::new(program);
    command.args(arguments);
    exec::text(command, SOON).await.unwrap()
}

#[tokio::test]
async fn helm_takes_the_packed_chart_for_its_own() {
    let scratch = Scratch::new("vk-packed-").unwrap();
    let packed = pack(scratch.path());
    let [word, strict, destination] = ["lint", "--strict", "--destination"].map(Path::new);
    for tool in [Tool::Helm, Tool::Helm4] {
        let helm = tools::path(tool).await.unwrap();
        says(&helm, &[word, strict, &packed]).await;
        let template = |chart: PathBuf| {
            let helm = helm.clone();
            async move { says(&helm, &[Path::new("template"), Path::new("release"), &chart]).await }
        };
        let made = template(packed.clone()).await;
        assert_eq!(made, template(directory()).await);
        // The image of the same release.
        assert!(made.contains(&format!("image: \"vk-cmd/vk-operator:{}\"", env!("CARGO_PKG_VERSION"))), "{made}");
    }
    // And the same is in it, but for the order in Chart.yaml, which helm writes anew.
    let by_helm = scratch.path().join("by-helm");
    let helm = tools::path(Tool::Helm).await.unwrap();
    says(&helm, &[Path::new("package"), &directory(), destination, &by_helm]).await;
    let mut unpacked = Vec::new();
    for archive in [packed.clone(), by_helm.join(edition().chart())] {
        let to = scratch.path().join(format!("unpacked-{}", unpacked.len()));
        std::fs::create_dir(&to).unwrap();
        let [extract, file, into] = ["--extract", "--file", "--directory"].map(Path::new);
        says("tar", &[extract, file, &archive, into, &to]).await;
        unpacked.push(to);
    }
    says("diff", &[Path::new("--recursive"), Path::new("--exclude=Chart.yaml"), &unpacked[0], &unpacked[1]]).await;
}
